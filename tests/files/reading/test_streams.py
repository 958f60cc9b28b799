"""One block of a file: the same rows as in a stream of all, and little is decoded beyond them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embcompat.files.columns import Columns, find_roles
from embcompat.files.reading.opening import open_vectors
from embcompat.files.reading.sources import Source, TableSource
from embcompat.files.reading.streams import VectorFile
from embcompat.files.vectors import vectors_to_arrow
from embcompat.spaces import SpaceVersion

SPACE = SpaceVersion(name="old", version="1", dim=4, similarity="dot")
VECTORS = np.random.default_rng(0).standard_normal((9_000, 4)).astype(np.float32)
IDS = [f"item-{row}" for row in range(len(VECTORS))]


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", VECTORS)
    return folder / "a.npy"


def parquet(folder: Path) -> Path:
    table = pa.table({"id": IDS, "vector": vectors_to_arrow(VECTORS)})
    pq.write_table(table, folder / "a.parquet", row_group_size=700)
    return folder / "a.parquet"


@pytest.mark.parametrize("write", [npy, parquet])
@pytest.mark.parametrize(("start", "size"), [(0, 1), (650, 100), (699, 2), (3_000, 64), (0, 9_000), (8_990, 64)])
def test_one_block_holds_the_rows_that_a_stream_has_there(
    write: Callable[[Path], Path], start: int, size: int, tmp_path: Path
) -> None:
    file = open_vectors(write(tmp_path), space=SPACE)
    for part, first in ((file, 0), (file.part(5, len(VECTORS) - 5), 5)):
        block = part.block_at(start, size)
        rows = slice(first + start, first + start + size)
        assert block.start == start
        np.testing.assert_array_equal(block.vectors, VECTORS[rows])
        if block.others is not None:
            assert part.ids(block) == IDS[rows]


def test_one_block_of_a_file_without_rows_is_empty(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VECTORS[:0])
    block = open_vectors(tmp_path / "a.npy", space=SPACE).block_at(0, 64)
    assert block.vectors.shape == (0, 4)


class CountingSource:
    """A source that counts the rows that it hands out."""

    def __init__(self, source: Source) -> None:
        self.source, self.path, self.rows, self.schema = source, source.path, source.rows, source.schema
        self.count = 0

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        for batch in self.source.batches(start, size, columns):
            self.count += len(batch)
            yield batch


def test_one_block_decodes_few_rows_beyond_its_own() -> None:
    table = pa.table({"id": IDS, "vector": vectors_to_arrow(VECTORS)})
    source = CountingSource(TableSource(Path("a.arrow"), table))
    roles = find_roles(table.schema, Columns(), where="a.arrow")
    block = VectorFile(source, roles, SPACE).block_at(2_000, 64)
    assert (len(block), source.count) == (64, 512)
