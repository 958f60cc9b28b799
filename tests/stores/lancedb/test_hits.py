"""What a search brings along is what the store would read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner
from embcompat.backfill import LazyBackfill
from embcompat.embeddings import Embeddings, split_pairs
from embcompat.errors import InputError
from embcompat.export import save_artifact
from embcompat.migration import cut_over, job_of, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, Job, TargetRows, open_store
from embcompat.stores.lancedb import target_rows
from embcompat.testing import make_pairs

ROWS, DEPTH = 60, 20
COLUMNS = ["vector", "vector__space", "vector__artifact"]
KEYS: dict[str, tuple[str, ...]] = {"text": ("id",), "uuid": ("id",), "two columns": ("tenant", "number")}


class GalleryInService:
    """A converted table in service, and the application's search of it."""

    def __init__(self, folder: Path, keys: str) -> None:
        pairs = make_pairs(ROWS, source_dim=8, target_dim=12, normalized=True)
        artifact = save_artifact(
            AffineAligner(pairs.matrix, pairs.offset, normalize=True),
            folder / "artifact",
            source=pairs.pairs.source.space,
            target=pairs.pairs.target.space,
            split=split_pairs(pairs.pairs),
        )
        columns: dict[str, Any] = {
            "text": {"id": [f"it's {row}" for row in range(ROWS)]},
            "uuid": {"id": pa.array([UUID(int=row).bytes for row in range(ROWS)], pa.binary(16))},
            "two columns": {"tenant": ["a", "b"] * (ROWS // 2), "number": list(range(ROWS))},
        }[keys]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(pairs.pairs.source.vectors.reshape(-1)), 8)
        database = lancedb.connect(folder / "db", read_consistency_interval=timedelta(0))
        database.create_table("docs", pa.table({**columns, "vector": vectors}))
        self.keys, self.job, self.queries = KEYS[keys], job_of(artifact), pairs.pairs.target.vectors[:5]
        self.store: GalleryStore = open_store(f"lancedb://{folder}/db#docs.vector?key={','.join(self.keys)}")
        run_migration(OnnxAligner(artifact, threads=1), self.store)
        cut_over(OnnxAligner(artifact, threads=1), self.store)
        self.table = database.open_table("docs")

    def hits(self, query: NDArray[np.float32], k: int) -> pa.Table:
        search = self.table.search(query).distance_type("cosine").limit(k)
        return search.select([*self.keys, "_distance", *COLUMNS]).to_arrow()

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any], TargetRows]:
        hits = [self.hits(query, k) for query in queries]
        rows = target_rows(pa.concat_tables(hits), self.job, keys=self.keys)
        ids = np.array(rows.ids, dtype=object).reshape(len(queries), k)
        return np.stack([1 - each.column("_distance").to_numpy() for each in hits]), ids, rows


@pytest.fixture(params=KEYS)
def gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GalleryInService]:
    gallery = GalleryInService(tmp_path, request.param)
    with closing(gallery.store):
        yield gallery


def by_id(rows: TargetRows) -> dict[str, tuple[list[float], bool]]:
    return dict(zip(rows.ids, zip(rows.vectors.tolist(), rows.native.tolist(), strict=True), strict=True))


def test_hits_are_the_rows_that_the_store_reads(gallery: GalleryInService) -> None:
    ids = target_rows(gallery.hits(gallery.queries[0], ROWS), gallery.job, keys=gallery.keys).ids
    gallery.store.write_native(gallery.job, ids[:3], np.eye(3, 12, dtype=np.float32))
    rows = target_rows(gallery.hits(gallery.queries[0], ROWS), gallery.job, keys=gallery.keys)
    assert by_id(rows) == by_id(gallery.store.read_target(gallery.job, ids))
    assert (len(rows), rows.native.sum()) == (ROWS, 3)
    chunks = pa.concat_tables([gallery.hits(query, DEPTH) for query in gallery.queries])
    assert by_id(target_rows(chunks, gallery.job, keys=gallery.keys)).items() <= by_id(rows).items()


def test_rows_of_another_space_are_left_out(gallery: GalleryInService) -> None:
    hits = gallery.hits(gallery.queries[0], 4)
    place = hits.column_names.index("vector__space")
    spaces = [gallery.job.target.id, gallery.job.source.id, None, gallery.job.target.id]
    mixed = hits.set_column(place, "vector__space", pa.array(spaces))
    ids = list(target_rows(hits, gallery.job, keys=gallery.keys).ids)
    assert list(target_rows(mixed, gallery.job, keys=gallery.keys).ids) == [ids[0], ids[3]]
    assert len(target_rows(hits.slice(0, 0), gallery.job, keys=gallery.keys)) == 0


def test_a_lazy_backfill_ranks_what_the_search_brings_along_and_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = GalleryInService(tmp_path, "text")

    def embed(ids: Any) -> Embeddings:
        vectors = np.random.default_rng(0).standard_normal((len(ids), 12)).astype(np.float32)
        return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), list(ids), gallery.job.target)

    with LazyBackfill(gallery.search, embed, gallery.store, gallery.job, depth=DEPTH) as lazy:
        for _ in range(ROWS):
            embedded = lazy.counters.rows_embedded
            lazy.search(gallery.queries, k=5)
            lazy.flush()
            if lazy.counters.rows_embedded == embedded:
                break
        assert lazy.counters.rows_embedded <= ROWS
        reads: list[Any] = []
        monkeypatch.setattr(gallery.store, "read_target", lambda *request: reads.append(request))
        with_rows = lazy.search(gallery.queries, k=5)
        assert reads == []
    monkeypatch.undo()

    def bare(queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return gallery.search(queries, k)[:2]

    with LazyBackfill(bare, embed, gallery.store, gallery.job, depth=DEPTH) as lazy:
        without = lazy.search(gallery.queries, k=5)
    gallery.store.close()
    assert np.array_equal(with_rows[0], without[0])
    assert with_rows[1].tolist() == without[1].tolist()


def test_a_missing_column_is_named() -> None:
    hits = pa.table({"id": ["a"], "vector": [[1.0]], "vector__space": ["new@1"]})
    job = Job("a" * 64, *(make_pairs(4, source_dim=2, target_dim=2).pairs.source.space,) * 2)
    with pytest.raises(InputError, match=r"vector__artifact is missing: add it to select"):
        target_rows(hits, job)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pa.list_(pa.float32()), r"column 'vector' must be a fixed_size_list of floats. Got list"),
        (pa.list_(pa.int32(), 2), r"column 'vector' must be a fixed_size_list of floats. Got fixed_size_list"),
        (pa.list_(pa.float32(), 4), r"column 'vector' must hold vectors of length 2.* Got 4"),
    ],
)
def test_what_is_no_vector_of_the_target_space_is_refused(kind: pa.DataType, message: str) -> None:
    space = make_pairs(4, source_dim=2, target_dim=2).pairs.target.space
    rows = pa.array([[1, 2, 3, 4][: getattr(kind, "list_size", 2)]] * 2, kind)
    hits = pa.table({"id": ["a", "b"], "vector": rows, "vector__space": [space.id] * 2, "vector__artifact": ["x"] * 2})
    with pytest.raises(InputError, match=message):
        target_rows(hits, Job("a" * 64, space, space))
