"""Parquet: one file, read as a stream, and the space that it names. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from embcompat.errors import FileFormatError
from embcompat.files.objects import Location, ObjectPath, object_error
from embcompat.files.vectors import space_of
from embcompat.spaces import SpaceVersion

_READ_BYTES = 1 << 20  # not a row group at once: some files have one of a gigabyte
_REQUEST_BYTES = 8 << 20  # of an object store, where each read is a request [ours]


def read_space(path: Location) -> SpaceVersion | None:
    """Read the space that a Parquet file of embeddings names, without reading its vectors."""
    return space_of(open_parquet(path).schema_arrow, str(path))


def open_parquet(path: Location) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        FileFormatError: If it is missing, truncated or not Parquet.
    """
    if not path.exists():
        raise FileFormatError(f"{path} does not exist.")
    if not path.is_file():
        raise FileFormatError(f"{path} is a folder. Pass a Parquet file.")
    try:
        return pq.ParquetFile(_input(path))
    except (pa.ArrowInvalid, OSError) as error:
        incomplete = FileFormatError(f"{path} is not a complete Parquet file: {error}")
        raise object_error(path, error) or incomplete from error


def _input(path: Location) -> Any:
    return path.open() if isinstance(path, ObjectPath) else path


@final
class ParquetSource:
    """A Parquet file."""

    def __init__(self, path: Location) -> None:
        file = open_parquet(path)
        self.path = path
        self.rows: int = file.metadata.num_rows
        self.schema: pa.Schema = file.schema_arrow
        self._groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` to the end."""
        first, skip = 0, start
        while first < len(self._groups) and skip >= self._groups[first]:
            skip -= self._groups[first]
            first += 1
        groups = list(range(first, len(self._groups)))
        if not groups:
            return
        size_bytes = _REQUEST_BYTES if isinstance(self.path, ObjectPath) else _READ_BYTES
        with pq.ParquetFile(_input(self.path), pre_buffer=False, buffer_size=size_bytes) as file:
            stream = file.iter_batches(size, row_groups=groups, columns=list(columns), use_threads=False)
            while True:
                try:
                    batch = next(stream, None)
                except (pa.ArrowException, OSError) as error:
                    damaged = FileFormatError(f"{self.path} is damaged: {error}")
                    raise object_error(self.path, error) or damaged from error
                if batch is None:
                    return
                if skip < len(batch):
                    yield batch.slice(skip).select(list(columns))
                skip = max(0, skip - len(batch))
