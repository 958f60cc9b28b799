"""A gallery as it is, block by block: also one that no other command would accept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError
from embcompat.spaces import SpaceVersion

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 8_192


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of a gallery.

    Attributes:
        ids: The n ids as they are, None where one is missing; row numbers where the gallery has none.
        lengths: How many numbers each row holds (n,), −1 where there is no vector.
        vectors: Array (n, dim) float32; NaN where a row has another length.
    """

    ids: list[Any]
    lengths: NDArray[np.int64]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Gallery:
    """A gallery to examine: embeddings, a Parquet file with the columns id and vector, or a ``.npy`` file.

    Attributes:
        origin: The embeddings or the file.
        stated: The space that it says it is in, or None.
        dim: Length that its vectors should have: what the space says, else what the file's type or first vector says.
    """

    origin: Embeddings | Path
    stated: SpaceVersion | None
    dim: int

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in order.

        Raises:
            FileFormatError: If the file is damaged or holds something else.
        """
        if isinstance(self.origin, Embeddings):
            yield from _array_blocks(self.origin.vectors, self.origin.ids.tolist(), self.dim)
        elif self.origin.suffix == ".npy":
            yield from _array_blocks(_npy(self.origin), None, self.dim)
        else:
            yield from _parquet_blocks(self.origin, self.dim)

    def ids_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the ids of some rows, given in ascending order, as text."""
        found: list[str] = []
        first = 0
        for ids in self._id_blocks():
            if len(found) == len(rows):
                break
            upto = int(np.searchsorted(rows, first + len(ids)))
            found += [str(ids[row - first]) for row in rows[len(found) : upto].tolist()]
            first += len(ids)
        return found

    def _id_blocks(self) -> Iterator[list[Any]]:
        if isinstance(self.origin, Embeddings):
            yield self.origin.ids.tolist()
        elif self.origin.suffix == ".npy":
            yield list(range(len(_npy(self.origin))))
        else:
            first = 0
            for batch in _batches(self.origin, ["id"]):
                yield _ids(batch, first)
                first += batch.num_rows


def open_gallery(origin: str | Path | Embeddings, *, space: SpaceVersion | None = None) -> Gallery:
    """Open a gallery without judging it.

    Args:
        origin: Embeddings, or the path of a Parquet or ``.npy`` file.
        space: The space that it should be in, for a file that does not say it.

    Raises:
        FileFormatError: If the file is missing, damaged, or has no column of vectors.
    """
    if isinstance(origin, Embeddings):
        return Gallery(origin, origin.space, origin.space.dim)
    path = Path(origin)
    if path.suffix == ".npy":
        return Gallery(path, space, _npy(path).shape[1] if space is None else space.dim)
    from embcompat.files.parquet import open_parquet, read_space

    column = open_parquet(path).schema_arrow
    stated = read_space(path) or space
    if "vector" not in column.names:
        raise FileFormatError(f"{path} must have a column vector. Got {', '.join(column.names) or 'none'}.")
    if stated is not None:
        return Gallery(path, stated, stated.dim)
    return Gallery(path, None, _dim_of(path, column.field("vector").type))


def _npy(path: Path) -> NDArray[Any]:
    from embcompat.files.npy import read_npy

    array = read_npy(path)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise FileFormatError(f"{path} must hold floats of shape (n, dim). Got {array.dtype} of shape {array.shape}.")
    return array


def _array_blocks(vectors: NDArray[Any], ids: list[str] | None, dim: int) -> Iterator[Block]:
    for start in range(0, len(vectors), BLOCK_ROWS):
        part = np.asarray(vectors[start : start + BLOCK_ROWS])
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(part, dtype=np.float32)
        if rows.shape[1] != dim:
            rows = np.full((len(part), dim), np.nan, dtype=np.float32)
        names = list(range(start, start + len(part))) if ids is None else ids[start : start + len(part)]
        yield Block(names, np.full(len(part), part.shape[1], dtype=np.int64), rows)


def _parquet_blocks(path: Path, dim: int) -> Iterator[Block]:
    first = 0
    for batch in _batches(path, ["id", "vector"]):
        lengths, vectors = _vectors(batch.column("vector"), dim, str(path))
        yield Block(_ids(batch, first), lengths, vectors)
        first += batch.num_rows


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    from embcompat.files.parquet import open_parquet

    file = open_parquet(path)
    present = [name for name in columns if name in file.schema_arrow.names]
    try:
        yield from file.iter_batches(BLOCK_ROWS, columns=present)
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} is damaged: {error}") from error


def _ids(batch: pa.RecordBatch, first: int) -> list[Any]:
    if "id" not in batch.schema.names:
        return list(range(first, first + batch.num_rows))
    return list(batch.column("id").to_pylist())


def _vectors(column: pa.Array, dim: int, where: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the length of every row, −1 for none, and the rows (n, dim), NaN where the length is another."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise FileFormatError(f"{where}: column vector must be a list of floats. Got {kind}.")
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = column.flatten().to_numpy(zero_copy_only=False)  # drops missing rows; missing numbers become NaN
    with np.errstate(over="ignore"):
        numbers = np.asarray(flat, dtype=np.float32)
    if (lengths == dim).all():
        return lengths, numbers.reshape(-1, dim)
    vectors = np.full((len(lengths), dim), np.nan, dtype=np.float32)
    held = np.maximum(lengths, 0)
    starts = np.cumsum(held) - held
    good = np.flatnonzero(lengths == dim)
    vectors[good] = numbers[starts[good][:, np.newaxis] + np.arange(dim)]
    return lengths, vectors


def _dim_of(path: Path, kind: pa.DataType) -> int:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    for batch in _batches(path, ["vector"]):
        lengths = _vectors(batch.column("vector"), 0, str(path))[0]
        if (lengths > 0).any():
            return int(np.bincount(lengths[lengths > 0]).argmax())
    raise FileFormatError(f"{path} must hold at least one vector to know its dimension. Got none. Pass the space.")
