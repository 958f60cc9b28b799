"""The engine on a real store; what holds for every store is in the suite of the stores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from embcompat.aligners import AffineAligner
from embcompat.artifact import Artifact
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import GateError, InputError, MigrationError, SpaceMismatchError, StoreError
from embcompat.export import save_artifact
from embcompat.migration import RunOptions, cut_over, job_of, plan_migration, roll_back, run_migration, verify_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, Job, open_store


@pytest.fixture
def aligner(artifact: Artifact) -> OnnxAligner:
    return OnnxAligner(artifact, threads=1)


@pytest.fixture
def store(gallery: Embeddings, tmp_path: Path) -> GalleryStore:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(gallery.vectors.reshape(-1)), 12)
    table = pa.table({"id": gallery.ids.tolist(), "vector": vectors})
    lancedb.connect(str(tmp_path)).create_table("docs", table)
    return open_store(f"lancedb://{tmp_path}#docs.vector")


def test_an_aligner_at_chance_level_converts_nothing_unless_forced(
    artifact: Artifact, split: PairSplit, store: GalleryStore, tmp_path: Path
) -> None:
    right = artifact.weights()
    turned = AffineAligner(np.roll(right["weight"], 3, axis=0), right["bias"])
    marked = save_artifact(turned, tmp_path / "marked", source=artifact.source, target=artifact.target, split=split)
    aligner = OnnxAligner(marked, threads=1)
    with pytest.raises(GateError, match="must do better than chance"):
        run_migration(aligner, store)
    assert store.state(job_of(marked)).phase == "untouched"
    with pytest.raises(MigrationError, match="the canary must find its pairs"):
        run_migration(aligner, store, force=True)


def test_a_map_that_goes_wrong_on_the_way_stops_the_run(
    aligner: OnnxAligner, store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = OnnxAligner.transform_canary
    calls = 0

    def wrong_later(self: OnnxAligner, vectors: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return right(self, vectors) if calls < 3 else -right(self, vectors)

    monkeypatch.setattr(OnnxAligner, "transform_canary", wrong_later)
    with pytest.raises(MigrationError, match="the canary must find its pairs"):
        run_migration(aligner, store, options=RunOptions(batch_size=100))
    assert store.state(job_of(aligner.artifact)).phase == "prepared"
    assert store.coverage(job_of(aligner.artifact)).converted == 200


def test_a_store_that_keeps_something_else_is_found_after_the_first_batch(
    aligner: OnnxAligner, store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store.write

    def lossy(job: Job, ids: Sequence[str], vectors: np.ndarray, digests: np.ndarray) -> None:
        write(job, ids, np.round(vectors, 1), digests)

    monkeypatch.setattr(store, "write", lossy)
    with pytest.raises(MigrationError, match="vectors read back must be what the artifact gives"):
        run_migration(aligner, store, options=RunOptions(batch_size=100))
    assert store.coverage(job_of(aligner.artifact)).converted == 100


def test_a_run_keeps_to_its_rate(aligner: OnnxAligner, store: GalleryStore) -> None:
    start = time.perf_counter()
    run_migration(aligner, store, options=RunOptions(batch_size=100, max_rows_per_second=1000.0))
    assert time.perf_counter() - start >= 0.9


def test_threads_make_no_difference(aligner: OnnxAligner, store: GalleryStore, gallery: Embeddings) -> None:
    report = run_migration(aligner, store, options=RunOptions(batch_size=64, threads=3))
    pairs = store.read(job_of(aligner.artifact), gallery.ids[::9].tolist())
    expected = dict(zip(gallery.ids, aligner.transform(gallery.vectors), strict=True))
    assert report.rows == 1000
    assert len(pairs.ids) == 112
    for identifier, result in zip(pairs.ids, pairs.target, strict=True):
        np.testing.assert_allclose(result, expected[identifier], rtol=1e-4, atol=1e-5)


def test_steps_out_of_order_are_refused(aligner: OnnxAligner, store: GalleryStore) -> None:
    for step in (verify_migration, cut_over, roll_back):
        with pytest.raises(MigrationError, match=r"not begun \(migrate run\)"):
            step(aligner, store)


def test_vectors_of_another_length_are_refused_by_the_plan(
    aligner: OnnxAligner, gallery: Embeddings, tmp_path: Path
) -> None:
    lancedb.connect(str(tmp_path)).create_table(
        "short", pa.table({"id": ["a"], "v": pa.array([[1.0]], pa.list_(pa.float32(), 1))})
    )
    with pytest.raises(InputError, match="must hold vectors of length 12, as space .* has. Got 1"):
        plan_migration(aligner, open_store(f"lancedb://{tmp_path}#short.v"))


def test_a_store_that_says_another_space_is_refused(
    aligner: OnnxAligner, store: GalleryStore, gallery: Embeddings, tmp_path: Path
) -> None:
    other = gallery.space.model_copy(update={"version": "7"})
    table = lancedb.connect(str(tmp_path)).open_table("docs")
    table.update_field_metadata({"path": "vector", "metadata": {"embcompat.space": other.to_json()}})
    for step in (plan_migration, run_migration):
        with pytest.raises(SpaceMismatchError, match="'made-old@7'"):
            step(aligner, store)


def test_the_index_is_built_again_for_the_new_space(aligner: OnnxAligner, store: GalleryStore, tmp_path: Path) -> None:
    from lancedb.index import IvfFlat

    table = lancedb.connect(str(tmp_path)).open_table("docs")
    table.create_index("vector", config=IvfFlat(distance_type="l2", num_partitions=4))
    chosen = RunOptions(metric="cosine")
    plan = plan_migration(aligner, store, options=chosen)
    assert plan.index == "IVF_FLAT"
    (estimate,) = plan.index_estimates
    assert (estimate.index, estimate.rows, estimate.sample_rows) == ("IvfFlat", 1000, 1000)
    assert plan.total_seconds_high is not None
    assert 0 < (estimate.seconds_low or 0) < plan.total_seconds_low < plan.total_seconds_high
    report = run_migration(aligner, store, options=chosen)
    assert report.index_seconds is not None
    cut_over(aligner, store, options=chosen)
    table.checkout_latest()
    indexes = {index.columns[0]: table.index_stats(index.name) for index in table.list_indices()}
    assert (indexes["vector"].index_type, indexes["vector"].distance_type) == ("IVF_FLAT", "cosine")
    assert indexes["vector"].num_indexed_rows == 1000


@pytest.mark.parametrize(
    ("ids", "message"), [(["a", "a"], "keys must be unique. id repeats"), (["a", None], "a key must not be NULL")]
)
def test_keys_that_do_not_tell_rows_apart_are_refused(
    aligner: OnnxAligner, tmp_path: Path, ids: list[str | None], message: str
) -> None:
    vectors = pa.array([[1.0] * 12, [2.0] * 12], pa.list_(pa.float32(), 12))
    lancedb.connect(str(tmp_path)).create_table("docs", pa.table({"id": ids, "vector": vectors}))
    with pytest.raises(StoreError, match=message):
        run_migration(aligner, open_store(f"lancedb://{tmp_path}#docs.vector"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("none.vector", "there is no table 'none'"),
        ("docs.none", "there is no column 'none'"),
        ("docs.id", "must be a fixed_size_list of floats"),
        ("docs.vector?key=none", "there is no column 'none'"),
        ("docs.vector?key=vector", "a key must be integer, string or 16-byte binary"),
    ],
)
def test_addresses_that_lead_nowhere(store: GalleryStore, tmp_path: Path, address: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_store(f"lancedb://{tmp_path}#{address}")


def test_a_plan_tries_writing_somewhere_else(aligner: OnnxAligner, store: GalleryStore, tmp_path: Path) -> None:
    original = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    plan = plan_migration(aligner, store)
    assert plan.write_seconds is not None
    assert plan.write_seconds > 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == original
    run_migration(aligner, store)
    assert plan_migration(aligner, store).write_seconds == 0
