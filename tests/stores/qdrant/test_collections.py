"""What a Qdrant collection holds besides the vector that is converted."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embcompat.aligners import AffineAligner
from embcompat.embeddings import normalize_rows, split_pairs
from embcompat.errors import InputError, StoreError
from embcompat.export import save_artifact
from embcompat.migration import cut_over, drop_old, job_of, roll_back, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store
from embcompat.stores.qdrant.points import point_id
from embcompat.testing import make_pairs

DIM = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


def make_aligner(path: Path, *, normalized: bool) -> OnnxAligner:
    synthetic = make_pairs(200, source_dim=DIM, target_dim=16, normalized=normalized)
    source, target = synthetic.pairs.source.space, synthetic.pairs.target.space
    aligner = AffineAligner(synthetic.matrix, synthetic.offset, normalize=normalized)
    artifact = save_artifact(
        aligner, path, source=source, target=target, split=split_pairs(synthetic.pairs), overwrite=True
    )
    return OnnxAligner(artifact, threads=1)


@pytest.fixture(scope="module")
def aligner(folder: Path) -> OnnxAligner:
    return make_aligner(folder / "unit", normalized=True)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[QdrantClient]:
    """A client whose folder the tests open again once it is closed."""
    with closing(QdrantClient(path=str(tmp_path))) as client:
        yield client


def alias(client: QdrantClient, collection: str) -> None:
    create = models.CreateAlias(collection_name=collection, alias_name="live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])


def vectors(count: int = 6) -> np.ndarray:
    return normalize_rows(np.random.default_rng(0).standard_normal((count, DIM)).astype(np.float32))


def test_other_vectors_and_payload_are_carried_over_and_kept_in_step(
    client: QdrantClient, aligner: OnnxAligner, tmp_path: Path
) -> None:
    rows = vectors()
    client.create_collection(
        "docs",
        vectors_config={
            "old": models.VectorParams(size=DIM, distance=models.Distance.COSINE),
            "picture": models.VectorParams(size=2, distance=models.Distance.DOT),
        },
        sparse_vectors_config={"words": models.SparseVectorParams()},
        metadata={"mine": 1},
    )
    words = models.SparseVector(indices=[3, 5], values=[0.5, 1.5])
    client.upsert(
        "docs",
        [
            models.PointStruct(
                id=row, vector={"old": vector.tolist(), "picture": [1.0, row], "words": words}, payload={"n": [row]}
            )
            for row, vector in enumerate(rows)
        ],
    )
    alias(client, "docs")
    client.close()
    url = f"qdrant+local://{tmp_path}#live.old"
    with closing(open_store(url)) as store:
        assert store.index_kind() is None
        run_migration(aligner, store)
    with closing(QdrantClient(path=str(tmp_path))) as client:
        client.set_payload("live", {"late": True}, points=[2])
        client.update_vectors("live", [models.PointVectors(id=3, vector={"picture": [7.0, 7.0]})])
    with closing(open_store(url)) as store:
        cut_over(aligner, store)
    with closing(QdrantClient(path=str(tmp_path))) as client:
        points, _ = client.scroll("live", with_vectors=True)
        metadata = client.get_collection("live").config.metadata
    assert metadata is not None
    assert metadata["mine"] == 1
    expected = aligner.transform(rows)
    for row, point in enumerate(points):
        assert isinstance(point.vector, dict)
        np.testing.assert_allclose(point.vector["old"], expected[row], rtol=1e-4, atol=1e-5)
        assert point.vector["picture"] == ([7.0, 7.0] if row == 3 else [1.0, row])
        assert point.vector["words"] == words
        assert point.payload is not None
        assert point.payload["n"] == [row]
        assert ("late" in point.payload) == (row == 2)
        assert point.payload["embcompat"]["space"] == "made-new@1"


def test_what_came_in_after_the_cutover_comes_back_without_its_vector(
    client: QdrantClient, aligner: OnnxAligner, tmp_path: Path
) -> None:
    rows = vectors()
    client.create_collection("docs", models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    client.upsert(
        "docs", [models.PointStruct(id=row, vector=vector.tolist(), payload={}) for row, vector in enumerate(rows)]
    )
    alias(client, "docs")
    client.close()
    url = f"qdrant+local://{tmp_path}#live"
    with closing(open_store(url)) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    native = {"embcompat": {"space": "made-new@1"}, "fresh": True}
    with closing(QdrantClient(path=str(tmp_path))) as client:
        unit = [1.0] + [0.0] * 15
        client.upsert("live", [models.PointStruct(id=row, vector=unit, payload=native) for row in (1, 50)])
        client.delete("live", models.PointIdsList(points=[4]))
        client.set_payload("live", {"touched": 1}, points=[5])
    with closing(open_store(url)) as store:
        assert roll_back(aligner, store) == 2
        assert store.state(job_of(aligner.artifact)).phase == "prepared"
    with closing(QdrantClient(path=str(tmp_path))) as client:
        points = {point.id: point for point in client.scroll("live", limit=100, with_vectors=True)[0]}
    assert sorted(points) == [0, 1, 2, 3, 5, 50]
    assert {key for key, point in points.items() if not point.vector} == {1, 50}
    np.testing.assert_allclose(points[5].vector, rows[5], rtol=1e-5)
    assert [points[key].payload for key in (0, 5, 50)] == [{}, {"touched": 1}, {"fresh": True}]
    with closing(open_store(url)) as store:
        cut_over(aligner, store)
        drop_old(aligner, store)
    with closing(QdrantClient(path=str(tmp_path))) as client:
        points = {point.id: point for point in client.scroll("live", limit=100, with_vectors=True)[0]}
        assert [entry.name for entry in client.get_collections().collections] == [f"docs__{aligner.artifact.id[:12]}"]
    assert points[50].vector == unit
    assert points[1].vector == unit


def test_a_collection_that_keeps_no_norms_needs_unit_vectors(
    client: QdrantClient, folder: Path, tmp_path: Path
) -> None:
    client.create_collection("docs", models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    alias(client, "docs")
    client.close()
    raw = make_aligner(folder / "raw", normalized=False)
    with (
        closing(open_store(f"qdrant+local://{tmp_path}#live")) as store,
        pytest.raises(StoreError, match="keeps unit vectors only"),
    ):
        run_migration(raw, store)


def test_addresses_that_lead_nowhere(client: QdrantClient, tmp_path: Path) -> None:
    client.create_collection("docs", {"v": models.VectorParams(size=DIM, distance=models.Distance.COSINE)})
    alias(client, "docs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client leaves its lock file open
        with pytest.raises(StoreError, match="already accessed by another instance"):
            open_store(f"qdrant+local://{tmp_path}#live.v")
        gc.collect()
    client.close()
    for name, message in (
        ("docs.v", "'docs' is a collection, and Qdrant switches only aliases. Add .target=vector"),
        ("none", "there is no alias 'none'. Aliases: live"),
        ("live", r"there is no vector '\(unnamed\)'. Vectors: v"),
        ("live.w", "there is no vector 'w'. Vectors: v"),
        ("a.b.c", "the address of a Qdrant gallery has the form"),
        ("none.v?target=vector", "there is no collection 'none'. Collections: docs"),
        ("docs.w?target=vector", "there is no vector 'w'. Vectors: v"),
        ("docs.v?target=table", "target must be collection or vector. Got 'table'"),
    ):
        with pytest.raises(InputError, match=message):
            open_store(f"qdrant+local://{tmp_path}#{name}")
    with pytest.raises(InputError, match="there is no Qdrant folder"):
        open_store("qdrant+local:///nowhere#live")
    with pytest.raises(StoreError, match="the server cannot be reached: .*refused"):
        open_store("qdrant+http://127.0.0.1:9#live")


def test_ids_are_numbers_or_uuids() -> None:
    with pytest.raises(StoreError, match="a Qdrant id is a number or a UUID. Got 'seven'"):
        point_id("seven")
