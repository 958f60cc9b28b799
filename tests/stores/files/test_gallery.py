from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError, SpaceMismatchError, StoreError
from embcompat.migration import abort, cut_over, drop_old, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion
from embcompat.stores import open_store
from embcompat.testing.stores.check import (
    SOURCE_DIM,
    Gallery,
    StoreBench,
    StoreCheck,
    StoreHarness,
    converted,
    in_service,
    store_bench,
)
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_random_kills


class ParquetHarness(StoreHarness):
    """An application that keeps a gallery in a Parquet file."""

    text_column = "note"

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {"string": [f"item {number} ü" for number in range(count)]}

    def create(self, gallery: Gallery) -> str:
        path = self.fresh_path("gallery.parquet")
        self.save(path, gallery)
        return str(path)

    def save(self, path: Path, gallery: Gallery) -> None:
        flat = pa.array(np.array(list(gallery.values()), np.float32).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, len(flat) // len(gallery))
        table = pa.table({"note": [f"note {key}" for key in gallery], "id": list(gallery), "vector": vectors})
        pq.write_table(table, f"{path}.new")
        Path(f"{path}.new").replace(path)

    def put(self, url: str, gallery: Gallery) -> None:
        self.save(Path(url), self.get(url) | gallery)

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        self.save(Path(url), {key: vector for key, vector in self.get(url).items() if key not in keys})

    def get(self, url: str) -> Gallery:
        table = pq.ParquetFile(url).read()
        vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        return dict(zip(table["id"].to_pylist(), vectors, strict=True))

    def notes(self, url: str) -> dict[Any, str]:
        table = pq.ParquetFile(url).read()
        return dict(zip(table["id"].to_pylist(), table["note"].to_pylist(), strict=True))

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        table = pq.ParquetFile(url).read()
        column = [notes.get(key, note) for key, note in self.notes(url).items()]
        pq.write_table(table.set_column(0, "note", pa.array(column)), f"{url}.new")
        Path(f"{url}.new").replace(url)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    folder = tmp_path_factory.mktemp("parquet")
    return store_bench(ParquetHarness(folder), folder)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)


def test_the_new_file_says_its_space(bench: StoreBench, tmp_path: Path) -> None:
    source, target = bench.same.artifact.source, bench.same.artifact.target
    vectors = np.random.default_rng(0).standard_normal((30, SOURCE_DIM)).astype(np.float32)
    path = tmp_path / "old.parquet"
    Embeddings(vectors, [f"item-{row}" for row in range(30)], source, labels=["x"] * 30).save(path)
    migrate(bench.same, path)
    embeddings = Embeddings.load(path)
    assert embeddings.space == target
    assert set(embeddings.labels.tolist()) == {"x"}
    np.testing.assert_allclose(embeddings.vectors, bench.same.transform(vectors), rtol=1e-4, atol=1e-4)
    other = SpaceVersion(name="other", version="1", dim=SOURCE_DIM)
    path = tmp_path / "other.parquet"
    Embeddings(vectors, embeddings.ids, other).save(path)
    with pytest.raises(SpaceMismatchError, match="'other@1'"):
        migrate(bench.same, path)


def test_an_array_is_migrated_as_a_whole(bench: StoreBench, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, SOURCE_DIM)).astype(np.float32)
    path = tmp_path / "vectors.npy"
    np.save(path, vectors)
    migrate(bench.shrink, path)
    np.testing.assert_allclose(np.load(path), bench.shrink.transform(vectors), rtol=1e-4, atol=1e-4)
    vectors[3] = 0
    np.save(path, vectors)
    with pytest.raises(StoreError, match="First run migrate drop-old with that artifact"):
        migrate(bench.same, path)
    with closing(open_store(str(path))) as store:
        drop_old(bench.shrink, store)
    with pytest.raises(StoreError, match="ids of this file are places in it"):
        migrate(bench.same, path, max_failures=1)
    with closing(open_store(str(path))) as store, pytest.raises(StoreError, match="is a row number"):
        store.read_target(None, ["one"])  # type: ignore[arg-type]


def migrate(aligner: OnnxAligner, path: Path, *, max_failures: int = 0) -> None:
    with closing(open_store(str(path))) as store:
        run_migration(aligner, store)
        cut_over(aligner, store, max_failures=max_failures)


def test_files_that_are_no_galleries(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        open_store(str(tmp_path / "none.parquet"))
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "ids.parquet")
    with pytest.raises(FileFormatError, match="must have a column of vectors: vector, embedding,"):
        open_store(str(tmp_path / "ids.parquet"))
    pq.write_table(pa.table({"x0": [1.0], "x1": [2.0]}), tmp_path / "wide.parquet")
    with pytest.raises(FileFormatError, match="must have a column of ids and one of vectors, as lists of numbers"):
        open_store(str(tmp_path / "wide.parquet"))
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    with pytest.raises(InputError, match="a .npy file has no columns to name after #"):
        open_store(f"{tmp_path / 'x.npy'}#vector")
    np.save(tmp_path / "flat.npy", np.ones(3))
    with pytest.raises(FileFormatError, match="must hold floats of shape"):
        open_store(str(tmp_path / "flat.npy"))


def test_of_two_migrations_at_the_same_time_one_is_cut_over(bench: StoreBench) -> None:
    old = bench.gallery(50)
    url = bench.harness.create(old)
    with bench.store(url) as store:
        for aligner in (bench.same, bench.shrink):
            run_migration(aligner, store)
        cut_over(bench.same, store)
        with pytest.raises(SpaceMismatchError):
            cut_over(bench.shrink, store)
        drop_old(bench.same, store)
        with pytest.raises(SpaceMismatchError):
            cut_over(bench.shrink, store)
        abort(bench.shrink, store)
    in_service(bench, url, converted(bench.same, old), "the first one")
