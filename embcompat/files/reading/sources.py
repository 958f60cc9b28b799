"""Sources of rows: streams of Arrow record batches that begin at any row. Imports pyarrow."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol, final

import numpy as np
import pyarrow as pa

from embcompat.errors import FileFormatError
from embcompat.files.objects import Location


class Source(Protocol):
    """Rows of a file.

    Attributes:
        rows: Number of rows.
        schema: Schema of the rows; its metadata is the file's own.
    """

    rows: int
    schema: pa.Schema

    @property
    def path(self) -> Location:
        """The file, folder or pattern."""

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read some columns from row ``start`` to the end, at most ``size`` rows at a time.

        Raises:
            FileFormatError: If the file is damaged.
        """


INDEX_COLUMN: Final = "__index_level_0__"
"""Name that pandas gives to the column of an index without a name."""


@final
class TableSource:
    """An Arrow table, in memory or mapped."""

    def __init__(self, path: Location, table: pa.Table) -> None:
        self.path, self._table = path, table
        self.rows: int = len(table)
        self.schema: pa.Schema = table.schema

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` to the end."""
        yield from self._table.select(list(columns)).slice(start).to_batches(max_chunksize=size)


@final
class ArraySource:
    """Arrays of the same number of rows, sliced as they are read.

    Args:
        path: Where they come from.
        arrays: Column name → array (n,) or (n, dim), or anything that returns one when it is sliced.
    """

    def __init__(self, path: Path, arrays: Mapping[str, Any]) -> None:
        self.path, self._arrays = path, dict(arrays)
        self.rows: int = len(next(iter(self._arrays.values())))
        empty = {name: array_to_arrow(array[:0], str(path), name) for name, array in self._arrays.items()}
        self.schema = pa.schema([pa.field(name, column.type) for name, column in empty.items()])

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` to the end."""
        for first in range(start, self.rows, size):
            rows = slice(first, min(first + size, self.rows))
            parts = [array_to_arrow(self._arrays[name][rows], str(self.path), name) for name in columns]
            yield pa.RecordBatch.from_arrays(parts, names=list(columns))


@final
class WithColumns:
    """A source with columns that come from other files, in place of its own of the same name."""

    def __init__(self, source: Source, columns: Mapping[str, pa.Array]) -> None:
        self._source, self._columns = source, dict(columns)
        self.path, self.rows = source.path, source.rows
        schema = source.schema
        for name, column in self._columns.items():
            if len(column) != self.rows:
                raise FileFormatError(
                    f"{name}s must have one entry for each of the {self.rows} rows of {self.path}. Got {len(column)}."
                )
            place = schema.get_field_index(name)
            field = pa.field(name, column.type)
            schema = schema.append(field) if place < 0 else schema.set(place, field)
        self.schema: pa.Schema = schema

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` to the end."""
        inner = [name for name in columns if name not in self._columns]
        if not inner:
            table = pa.table({name: self._columns[name] for name in columns})
            yield from TableSource(self.path, table).batches(start, size, columns)
            return
        for batch in self._source.batches(start, size, inner):
            parts = [
                self._columns[name].slice(start, len(batch)) if name in self._columns else batch.column(name)
                for name in columns
            ]
            yield pa.RecordBatch.from_arrays(parts, names=list(columns))
            start += len(batch)


@final
class RowRange:
    """Consecutive rows of a source.

    Args:
        source: All rows.
        start: The first row.
        rows: Number of rows.
    """

    def __init__(self, source: Source, start: int, rows: int) -> None:
        if not 0 <= start <= start + rows <= source.rows:
            raise FileFormatError(f"{source.path} must have rows {start} to {start + rows}. It has {source.rows}.")
        self._source, self.start, self.rows = source, start, rows
        self.path, self.schema = source.path, source.schema

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` of the range to its end."""
        rest = self.rows - start
        if rest <= 0:
            return
        with closing(self._source.batches(self.start + start, size, columns)) as batches:
            for batch in batches:
                yield batch.slice(0, rest)
                rest -= len(batch)
                if rest <= 0:
                    return


def with_pandas_range(source: Source) -> Source:
    """Add pandas' index as a column where it is a range that is not just row numbers: it is not stored otherwise."""
    index_columns = json.loads((source.schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    ranges = [entry for entry in index_columns if isinstance(entry, dict) and entry.get("kind") == "range"]
    if not ranges or (ranges[0]["start"], ranges[0]["step"]) == (0, 1):
        return source
    index = pa.array(np.arange(ranges[0]["start"], ranges[0]["stop"], ranges[0]["step"]))
    return WithColumns(source, {INDEX_COLUMN: index}) if len(index) == source.rows else source


def array_to_arrow(array: Any, where: str, name: str) -> pa.Array:
    """Return an array (n,) or (n, dim) as an Arrow column; numbers of one row stay together in a list.

    Raises:
        FileFormatError: If it has more axes, or holds something other than numbers and strings.
    """
    values = np.asarray(array)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if (
        values.dtype.kind not in "biufSUTO"
        or values.ndim not in (1, 2)
        or (values.ndim == 2 and values.dtype.kind not in "biuf")
    ):
        raise FileFormatError(
            f"{where}: {name} must hold numbers of shape (n, dim), or one value for each row. "
            f"Got {values.dtype} of shape {values.shape}."
        )
    if values.ndim == 2:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    entries = values.tolist() if values.dtype.kind in "OTU" else values
    if values.dtype.kind == "O":
        entries = [entry.decode() if isinstance(entry, bytes) else entry for entry in entries]
    return pa.array(entries, pa.string() if len(values) == 0 and values.dtype.kind in "OTUS" else None)
