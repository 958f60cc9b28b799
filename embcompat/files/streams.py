"""Files of vectors, read as a stream of blocks: Parquet and .npy. Imports pyarrow."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import FileFormatError, InputError
from embcompat.files.npy import read_npy
from embcompat.files.parquet import open_parquet, read_space
from embcompat.files.validation import validate_vectors
from embcompat.files.vectors import vectors_from_arrow
from embcompat.spaces import SpaceVersion, require_space

SUFFIXES = (".parquet", ".npy")

_TAIL_BYTES = 65_536
_DECODE_ROWS = 8_192
_READ_BYTES = 1 << 20  # not a row group at once: some files have one of a gigabyte


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a file.

    Attributes:
        start: Row number of the first row.
        vectors: Array (n, dim), float32, valid in the file's space.
        others: Every other column of these rows, in the file's order; None where the file has only vectors.
    """

    start: int
    vectors: NDArray[np.float32]
    others: pa.Table | None

    def __len__(self) -> int:
        return len(self.vectors)


class VectorFile(Protocol):
    """A file of vectors that can be read from any row on.

    Attributes:
        path: The file.
        space: The space of its vectors.
        rows: Number of rows.
    """

    path: Path
    space: SpaceVersion
    rows: int

    def blocks(self, start: int, size: int) -> Generator[Block]:
        """Read from row ``start`` to the end, ``size`` rows at a time; the last block may be shorter.

        A file without rows gives one empty block.

        Raises:
            FileFormatError: At the first bad row; names the file, the column and the row.
        """


def open_vectors(path: Path, *, space: SpaceVersion | None = None) -> ParquetVectors | NpyVectors:
    """Open a Parquet or .npy file of vectors.

    Args:
        path: The file.
        space: The space of its vectors; needed for .npy, and for a Parquet file that does not say it.

    Raises:
        InputError: If the ending is another one, or nothing says the space.
        FileFormatError: If the file is missing, damaged, or does not hold vectors.
        SpaceMismatchError: If the file says another space than ``space``.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"a file of vectors must end in {' or '.join(SUFFIXES)}. Got {path}.")
    stated = read_space(path) if path.suffix == ".parquet" else None
    if stated is not None and space is not None:
        require_space(stated, space, what=str(path))
    space = space or stated
    if space is None:
        raise InputError(f"{path} does not name its space. Say which one it is (--old-space name@version).")
    if path.suffix == ".npy":
        return NpyVectors(path, space, read_npy(path))
    return ParquetVectors(path, space, open_parquet(path))


def file_identity(path: Path) -> dict[str, JsonValue]:
    """Say which file this is: its size, time of change, and the digest of its last 64 KiB."""
    status = path.stat()
    with path.open("rb") as stream:
        stream.seek(max(0, status.st_size - _TAIL_BYTES))
        digest = hashlib.sha256(stream.read()).hexdigest()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "tail_sha256": digest}


@final
class ParquetVectors:
    """A Parquet file with the columns ``id`` and ``vector`` and any others."""

    def __init__(self, path: Path, space: SpaceVersion, file: pq.ParquetFile) -> None:
        self.path, self.space = path, space
        self.rows: int = file.metadata.num_rows
        self.schema: pa.Schema = file.schema_arrow
        for name in ("id", "vector"):
            if name not in self.schema.names:
                raise FileFormatError(
                    f"{path} must have the columns id and vector. Got {', '.join(self.schema.names) or 'none'}."
                )
        self._groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]

    def blocks(self, start: int, size: int) -> Generator[Block]:
        """Read from row ``start`` to the end, ``size`` rows at a time."""
        pending: list[pa.RecordBatch] = []
        held, first = 0, start
        for batch in self._batches(start, max(size, _DECODE_ROWS)):
            pending.append(batch)
            held += len(batch)
            while held >= size:
                taken, pending = _split(pending, size)
                yield self._block(taken, first)
                held, first = held - size, first + size
        if held:
            yield self._block(pending, first)
        elif self.rows == 0:
            yield Block(0, np.empty((0, self.space.dim), np.float32), self.schema.empty_table().drop_columns("vector"))

    def _batches(self, start: int, size: int) -> Iterator[pa.RecordBatch]:
        first, skip = 0, start
        while first < len(self._groups) and skip >= self._groups[first]:
            skip -= self._groups[first]
            first += 1
        groups = list(range(first, len(self._groups)))
        if not groups:
            return
        with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=_READ_BYTES) as file:
            batches = file.iter_batches(size, row_groups=groups, use_threads=False)
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, OSError) as error:
                    raise FileFormatError(f"{self.path} is damaged: {error}") from error
                if batch is None:
                    return
                if skip < len(batch):
                    yield batch.slice(skip)
                skip = max(0, skip - len(batch))

    def _block(self, batches: list[pa.RecordBatch], start: int) -> Block:
        table = pa.Table.from_batches(batches)
        where = f"{self.path}: column vector"
        chunks = table.column("vector").chunks
        column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)  # one piece is not copied
        vectors = vectors_from_arrow(column, self.space.dim, where=where, first_row=start, copy=False)
        return Block(start, _checked(vectors, self.space, where, start), table.drop_columns("vector"))


@final
class NpyVectors:
    """A .npy file that holds an array (n, dim)."""

    def __init__(self, path: Path, space: SpaceVersion, array: NDArray[np.floating]) -> None:
        self.path, self.space = path, space
        if array.ndim != 2 or array.shape[1] != space.dim or array.dtype.kind != "f":
            raise FileFormatError(
                f"{path} must hold floats of shape (n, {space.dim}) for space {space.id!r}. "
                f"Got {array.dtype} of shape {array.shape}."
            )
        self.rows = len(array)
        self._array = array

    def blocks(self, start: int, size: int) -> Generator[Block]:
        """Read from row ``start`` to the end, ``size`` rows at a time."""
        with self.path.open("rb") as stream:
            stream.seek(_npy_header_bytes(stream.read(12)) + start * self.space.dim * self._array.itemsize)
            for first in range(start, self.rows, size) or (0,) * (self.rows == 0):
                count = min(size, self.rows - first)
                if self._array.flags.c_contiguous:  # read, not mapped: mapped pages would pile up in memory
                    flat = np.fromfile(stream, self._array.dtype, count * self.space.dim)
                    vectors = flat.reshape(count, self.space.dim)
                else:
                    vectors = self._array[first : first + count]
                yield Block(first, _checked(vectors, self.space, str(self.path), first), None)


def _npy_header_bytes(head: bytes) -> int:
    """Return where the array starts, from the first 12 bytes (NumPy, ``numpy.lib.format``)."""
    if head[6] == 1:
        return 10 + int.from_bytes(head[8:10], "little")
    return 12 + int.from_bytes(head[8:12], "little")


def _split(batches: list[pa.RecordBatch], size: int) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    taken: list[pa.RecordBatch] = []
    for index, batch in enumerate(batches):
        if size <= len(batch):
            rest = [batch.slice(size)] if size < len(batch) else []
            return [*taken, batch.slice(0, size)], rest + batches[index + 1 :]
        taken.append(batch)
        size -= len(batch)
    return taken, []


def _checked(vectors: NDArray[np.floating], space: SpaceVersion, what: str, start: int) -> NDArray[np.float32]:
    try:
        return validate_vectors(vectors, space, what=what, first_row=start)
    except InputError as error:
        raise FileFormatError(str(error)) from error
