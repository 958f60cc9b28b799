"""A new named vector in the same collection, for applications that use no alias."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embcompat.aligners import AffineAligner
from embcompat.embeddings import normalize_rows, split_pairs
from embcompat.errors import MigrationError, StoreError
from embcompat.export import save_artifact
from embcompat.migration import abort, cut_over, drop_old, job_of, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.stores.qdrant.vector.gallery import VectorGallery
from embcompat.testing import make_pairs

DIM = 16


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    known = make_pairs(200, source_dim=DIM, target_dim=8, normalized=True)
    artifact = save_artifact(
        AffineAligner(known.matrix, known.offset, normalize=True),
        tmp_path_factory.mktemp("unit") / "artifact",
        source=known.pairs.source.space,
        target=known.pairs.target.space,
        split=split_pairs(known.pairs),
    )
    return OnnxAligner(artifact, threads=1)


class Application:
    """A collection that is used by its own name."""

    def __init__(self, folder: Path, name: str = "text") -> None:
        self.folder, self.name = folder, name
        self.vectors = normalize_rows(np.random.default_rng(0).standard_normal((30, DIM)).astype(np.float32))
        params = models.VectorParams(size=DIM, distance=models.Distance.DOT)

        def create(client: QdrantClient) -> None:
            client.create_collection("docs", {name: params} if name else params, metadata={"mine": 1})
            client.upsert("docs", [self.point(row, row) for row in range(30)])

        self.do(create)

    def point(self, identifier: int, row: int, **payload: Any) -> models.PointStruct:
        values: Any = self.vectors[row].tolist()
        return models.PointStruct(id=identifier, vector={self.name: values} if self.name else values, payload=payload)

    def do(self, action: Callable[[QdrantClient], Any]) -> Any:
        with closing(QdrantClient(path=str(self.folder))) as client:
            return action(client)

    def opened(self) -> closing[GalleryStore]:
        vector = f".{quote(self.name).replace('.', '%2E')}" if self.name else ""
        return closing(open_store(f"qdrant+local://{self.folder}#docs{vector}?target=vector"))

    def first(self, vector: np.ndarray, using: str | None) -> int:
        result = self.do(lambda client: client.query_points("docs", vector.tolist(), using=using, limit=1))
        return int(result.points[0].id)


@pytest.mark.parametrize("name", ["text", "te.xt ü", ""])
def test_both_vectors_answer_until_the_old_one_is_dropped(name: str, tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path, name)
    old, new = application.vectors, aligner.transform(application.vectors)
    target = f"{name or 'vector'}__{aligner.artifact.id[:12]}"
    for step in (run_migration, cut_over, roll_back, cut_over):
        with application.opened() as store:
            step(aligner, store)
        assert application.first(old[7], name or None) == application.first(new[7], target) == 7
    metadata = application.do(lambda client: client.get_collection("docs").config.metadata)
    assert metadata["embcompat"]["serving"] == {name: target}
    assert metadata["mine"] == 1
    with application.opened() as store:
        drop_old(aligner, store)
    assert application.first(new[7], target) == 7
    assert set(application.do(lambda client: client.get_collection("docs").config.params.vectors)) == {target}


def test_points_that_are_written_whole_lose_the_new_vector_and_get_another_one(
    tmp_path: Path, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = Application(tmp_path)
    with application.opened() as store:
        run_migration(aligner, store)
    payload = application.do(lambda client: client.retrieve("docs", [3])[0].payload)
    application.do(lambda client: client.upsert("docs", [application.point(3, 9, **payload)]))
    serve = VectorGallery._serve

    def late(store: VectorGallery, vector: str, known: dict[str, Any]) -> None:
        store._client.upsert("docs", [application.point(100, 5), application.point(4, 8)])
        store._client.delete("docs", models.PointIdsList(points=[6]))
        serve(store, vector, known)

    with application.opened() as store, monkeypatch.context() as patch:
        patch.setattr(VectorGallery, "_serve", late)
        cut_over(aligner, store)
        assert list(sweep(aligner, store)) == []
    target = f"text__{aligner.artifact.id[:12]}"
    points = application.do(lambda client: client.scroll("docs", limit=100, with_vectors=True))[0]
    actual = {point.id: point.vector[target] for point in points}
    assert sorted(actual) == [key for key in range(30) if key != 6] + [100]
    expected = aligner.transform(application.vectors)
    for key, row in ((3, 9), (100, 5), (4, 8), (20, 20)):
        np.testing.assert_allclose(actual[key], expected[row], rtol=1e-4, atol=1e-5)


def test_sweep_finds_old_vectors_and_leaves_native_ones(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path)
    with application.opened() as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    target = f"text__{aligner.artifact.id[:12]}"
    native = {"embcompat": {target: {"space": aligner.artifact.target.id}}}
    unit = [1.0] + [0.0] * 7

    def change(client: QdrantClient) -> None:
        client.upsert("docs", [application.point(7, 8)])
        client.upsert("docs", [models.PointStruct(id=50, vector={target: unit}, payload=native)])
        client.upsert("docs", [models.PointStruct(id=51, vector={target: unit}, payload={})])

    application.do(change)
    with application.opened() as store:
        assert sorted(sweep(aligner, store)) == ["51", "7"]
        assert roll_back(aligner, store) == 2


def test_an_abort_leaves_collection_and_payload_as_they_were(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path)
    with application.opened() as store:
        run_migration(aligner, store)
        assert abort(aligner, store) == [f"vector text__{aligner.artifact.id[:12]}"]
    points = application.do(lambda client: client.scroll("docs", limit=100, with_vectors=True))[0]
    assert all(set(point.vector) == {"text"} and not (point.payload or {}).get("embcompat") for point in points)


def test_a_later_migration_goes_on_from_the_vector_in_service(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path)
    known = make_pairs(200, source_dim=8, target_dim=8, normalized=True)
    artifact = save_artifact(
        AffineAligner(known.matrix, known.offset, normalize=True),
        tmp_path / "next",
        source=aligner.artifact.target,
        target=aligner.artifact.target.model_copy(update={"version": "3"}),
    )
    following = OnnxAligner(artifact, threads=1)
    with application.opened() as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        with pytest.raises(StoreError, match="The old side of an earlier migration"):
            run_migration(following, store)
        drop_old(aligner, store)
        run_migration(following, store)
        cut_over(following, store)
        assert store.state(job_of(aligner.artifact)).phase == "finished"
        with pytest.raises(MigrationError, match="the migration is finished"):
            abort(aligner, store)
        drop_old(following, store)
    vectors = application.do(lambda client: client.get_collection("docs").config.params.vectors)
    assert set(vectors) == {f"text__{following.artifact.id[:12]}"}
