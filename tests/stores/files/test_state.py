"""Files as galleries: what the files that are there say about a migration, and what is kept of them."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embcompat.aligners import AffineAligner
from embcompat.embeddings import split_pairs
from embcompat.errors import StoreError
from embcompat.export import save_artifact
from embcompat.migration import (
    RunOptions,
    abort,
    cut_over,
    drop_old,
    job_of,
    plan_migration,
    roll_back,
    run_migration,
    sweep,
)
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store
from embcompat.testing import make_pairs

DIM = 12


class KilledError(Exception):
    """Stands for SIGKILL: nothing after it runs."""


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    synthetic = make_pairs(200, source_dim=DIM, target_dim=DIM)
    artifact = save_artifact(
        AffineAligner(synthetic.matrix, synthetic.offset),
        tmp_path_factory.mktemp("artifact") / "old-to-new",
        source=synthetic.pairs.source.space,
        target=synthetic.pairs.target.space,
        split=split_pairs(synthetic.pairs),
    )
    return OnnxAligner(artifact, threads=1)


def save(path: Path, rows: int, *, seed: int = 0, kind: str = "float32", notes: list[str] | None = None) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    column = pa.array(vectors.astype(np.float64).tolist(), pa.list_(getattr(pa, kind)(), DIM))
    table = pa.table({"id": [f"item-{row}" for row in range(rows)], "vector": column, "note": notes or ["n"] * rows})
    pq.write_table(table, f"{path}.new")
    Path(f"{path}.new").replace(path)
    return vectors


def vectors_in(path: Path) -> np.ndarray:
    return np.array(pq.ParquetFile(path).read()["vector"].to_pylist(), np.float32)


@pytest.mark.parametrize("call", ["link", "replace"])
@pytest.mark.parametrize("step", ["cutover", "rollback", "cutover again"])
def test_the_file_in_service_says_how_far_a_migration_is(
    step: str, call: str, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step dies before or after whatever rename, state, vectors in service and the next step agree."""
    old = save(tmp_path / "a.parquet", 30)
    job, path, original = job_of(aligner.artifact), tmp_path / "a.parquet", getattr(os, call)
    for number in range(1, 5):
        for after in (False, True):
            with closing(open_store(str(path))) as store:
                run_migration(aligner, store)
                if step != "cutover":
                    cut_over(aligner, store)
                if step == "cutover again":
                    roll_back(aligner, store)
            calls = 0

            def dying(*names: Path, number: int = number, after: bool = after) -> None:
                nonlocal calls
                calls += 1
                if calls == number and not after:
                    raise KilledError
                original(*names)
                if calls == number:
                    raise KilledError

            try:
                with monkeypatch.context() as patch, closing(open_store(str(path))) as store:
                    patch.setattr(os, call, dying)
                    roll_back(aligner, store) if step == "rollback" else cut_over(aligner, store)
            except KilledError:
                pass
            with closing(open_store(str(path))) as store:
                phase = store.state(job).phase
                new = phase == "cut_over"
                np.testing.assert_allclose(
                    vectors_in(path), aligner.transform(old) if new else old, rtol=1e-4, atol=1e-4
                )
                if new:
                    assert roll_back(aligner, store) == 0
                np.testing.assert_array_equal(vectors_in(path), old)
                abort(aligner, store)
            assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]


def test_a_file_that_was_replaced_after_a_killed_switch_is_not_taken_for_the_new_one(
    aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    save(path, 30)
    original = os.link

    def killed(*names: Path) -> None:
        original(*names)
        raise KilledError

    with closing(open_store(str(path))) as store:
        run_migration(aligner, store)
        monkeypatch.setattr(os, "link", killed)
        with pytest.raises(KilledError):
            cut_over(aligner, store)
        monkeypatch.undo()
    now = save(path, 31, seed=1)
    with closing(open_store(str(path))) as store:
        assert store.state(job_of(aligner.artifact)).phase == "prepared"
        cut_over(aligner, store)
        drop_old(aligner, store)
    np.testing.assert_allclose(vectors_in(path), aligner.transform(now), rtol=1e-4, atol=1e-4)


def test_what_a_kill_leaves_of_files_being_written_goes_with_the_job(aligner: OnnxAligner, tmp_path: Path) -> None:
    path, suffix = tmp_path / "a.parquet", aligner.artifact.id[:12]
    save(path, 30)
    torn = [
        f".a.parquet.{suffix}.abcd1234.part",
        "..a.parquet.embcompat.json.abcd1234.part",
        ".a.parquet.x_y_z_0a.part",
    ]
    for name in torn:
        (tmp_path / name).write_text("torn")
    with closing(open_store(str(path))) as store:
        run_migration(aligner, store)
        assert not any((tmp_path / name).exists() for name in torn)
        for name in torn:
            (tmp_path / name).write_text("torn")
        cut_over(aligner, store)
        drop_old(aligner, store)
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "a.parquet",
        ".a.parquet.embcompat.json",
        f".a.parquet.{suffix}.rows",
    }


@pytest.mark.parametrize("ending", ["npy", "parquet"])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_numbers_keep_their_type(kind: str, ending: str, aligner: OnnxAligner, tmp_path: Path) -> None:
    path, job = tmp_path / f"a.{ending}", job_of(aligner.artifact)
    if ending == "npy":
        old = np.random.default_rng(0).standard_normal((20, DIM)).astype(kind)
        np.save(path, old)
    else:
        old = save(path, 20, kind=kind).astype(kind)
    with closing(open_store(str(path))) as store:
        plan = plan_migration(aligner, store)
        assert not plan.obstacles
        assert (plan.neighbours_kept is not None) == (kind == "float16")
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert not list(sweep(aligner, store))
        assert store.coverage(job).converted == 20
        ids = [str(row) if ending == "npy" else f"item-{row}" for row in (3, 5)]
        native = np.full((2, DIM), 0.1, np.float32)
        assert store.write_native(job, ids, native) == 2
        assert not list(sweep(aligner, store))
        assert store.coverage(job).native == 2
    if ending == "npy":
        vectors = np.load(path)
    else:
        table = pq.ParquetFile(path).read()
        assert table.schema.field("vector").type.value_type == pa.from_numpy_dtype(kind)
        vectors = np.array(table["vector"].to_pylist(), kind)
    assert vectors.dtype == kind
    expected = aligner.transform(old.astype(np.float32)).astype(kind)
    expected[[3, 5]] = native
    np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-3)


def test_a_number_that_the_type_of_the_file_cannot_hold_is_a_failed_row(aligner: OnnxAligner, tmp_path: Path) -> None:
    vectors = np.ones((20, DIM), np.float16)
    vectors[7] = 65_000
    np.save(tmp_path / "a.npy", vectors)
    with closing(open_store(str(tmp_path / "a.npy"))) as store:
        (failure,) = run_migration(aligner, store).failures
        assert failure.id == "7"
        assert "too large for float16" in failure.reason


def test_a_column_of_another_type_is_planned_and_needs_a_word(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    old = np.random.default_rng(0).integers(-9, 9, (20, DIM)).astype(np.float32)
    column = pa.array(old.astype(np.int8).tolist(), pa.list_(pa.int8()))
    pq.write_table(pa.table({"id": [f"item-{row}" for row in range(20)], "vector": column}), path)
    with closing(open_store(str(path))) as store:
        (obstacle,) = plan_migration(aligner, store).obstacles
        assert obstacle.acceptable
        with pytest.raises(StoreError, match="Column vector holds int8; the converted vectors are float"):
            run_migration(aligner, store)
        options = RunOptions(accept_changes=True)
        run_migration(aligner, store, options=options)
        cut_over(aligner, store, options=options)
    np.testing.assert_allclose(vectors_in(path), aligner.transform(old), rtol=1e-4, atol=1e-4)


def test_a_text_that_changes_is_found_where_texts_are_read(aligner: OnnxAligner, tmp_path: Path) -> None:
    path, job = tmp_path / "a.parquet", job_of(aligner.artifact, RunOptions(text_column="note"))
    save(path, 4, notes=["a", "b", "c", "d"])
    with closing(open_store(str(path))) as store:
        store.prepare(job)
        for rows in store.scan(job, batch_size=10, missing_only=True):
            assert rows.texts == ["a", "b", "c", "d"]
            store.write(job, rows.ids, aligner.transform(rows.vectors), rows.digests())
        assert store.read(job, ["item-2"]).texts == ["c"]
        assert not list(store.scan(job, batch_size=10, missing_only=False))
        save(path, 4, notes=["a", "b", "changed", "d"])
        (again,) = store.scan(job, batch_size=10, missing_only=False)
        assert (again.ids, again.texts) == (["item-2"], ["changed"])
    np.save(tmp_path / "a.npy", np.ones((2, DIM), np.float32))
    with (
        closing(open_store(str(tmp_path / "a.npy"))) as store,
        pytest.raises(StoreError, match="There is no column 'note' with texts"),
    ):
        store.prepare(job)


def test_a_kill_while_native_vectors_replace_the_file_in_service_loses_no_row(
    aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, job = tmp_path / "a.parquet", job_of(aligner.artifact)
    save(path, 20)
    ids = [f"item-{row}" for row in range(20)]
    with closing(open_store(str(path))) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)

    replace, calls = os.replace, 0
    for number in range(4):  # before each rename of the replacement, and once not at all

        def counted(source: Path, target: Path, number: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls == number + 1:
                raise KeyboardInterrupt
            replace(source, target)

        calls = 0
        with closing(open_store(str(path))) as store, monkeypatch.context() as patch:
            patch.setattr(os, "replace", counted)
            with suppress(KeyboardInterrupt):
                store.write_native(job, ids[:3], np.full((3, DIM), 0.1 * (number + 1), np.float32))
        with closing(open_store(str(path))) as store:
            assert list(store.read_target(job, ids).ids) == ids
            assert store.coverage(job).converted == 20
            assert not list(sweep(aligner, store))
    assert calls > 2
