"""The one reader of files of vectors: any format, as a stream of checked blocks. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import FileFormatError, InputError
from embcompat.files.columns import Roles, strings_from_arrow
from embcompat.files.reading.sources import RowRange, Source
from embcompat.files.validation import validate_vectors
from embcompat.files.vectors import (
    decoded,
    is_text,
    is_vector_type,
    lengths_and_vectors,
    parse_vectors,
    stack_columns,
    vectors_from_arrow,
)
from embcompat.spaces import SpaceVersion

SEQUENTIAL_ROWS: Final = 65_536
"""Rows in a block where a whole file is read."""

_DECODE_ROWS = 8_192
"""Rows that are decoded at a time where blocks are smaller."""

_FEW_ROWS = 512
"""The same where a single block is read."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a file.

    Attributes:
        start: Row number of the first row.
        vectors: Array (n, dim), float32, valid in the file's space.
        others: The requested other columns of these rows, in the file's order; None if there are none.
    """

    start: int
    vectors: NDArray[np.float32]
    others: pa.Table | None

    def __repr__(self) -> str:
        return f"Block(start={self.start}, rows={len(self)})"

    def __len__(self) -> int:
        return len(self.vectors)


@final
class VectorFile:
    """A file of vectors that can be read from any row on.

    Attributes:
        path: The file, folder or pattern.
        source: Its rows as they are.
        roles: The roles of its columns.
        space: The space of its vectors: the one that the file names, or the one passed; None if there is neither.
        rows: Number of rows.
        first_row: Number of the first row in the whole file; 0 unless this is a range of its rows.
        dim: Length of the vectors.
    """

    def __init__(self, source: Source, roles: Roles, space: SpaceVersion | None) -> None:
        self.path, self.source, self.roles, self.space = source.path, source, roles, space
        self.rows = source.rows
        self.first_row = source.start if isinstance(source, RowRange) else 0
        self.dim = _dim_of(source, roles) if space is None else space.dim

    def __repr__(self) -> str:
        space = None if self.space is None else self.space.id
        return f"VectorFile({str(self.path)!r}, rows={self.rows}, dim={self.dim}, space={space!r})"

    def part(self, start: int, rows: int) -> VectorFile:
        """Return a range of the rows as a file of its own; rows without ids keep their numbers."""
        return VectorFile(RowRange(self.source, start, rows), self.roles, self.space)

    def extent(self) -> dict[str, JsonValue]:
        """Return which rows of the file these are; nothing for all of them."""
        return {"first_row": self.first_row, "rows": self.rows} if isinstance(self.source, RowRange) else {}

    @property
    def schema(self) -> pa.Schema:
        """Schema of the rows."""
        return self.source.schema

    def others(self) -> list[str]:
        """Return the names of all columns but the vectors."""
        return [name for name in self.schema.names if name not in self.roles.vectors]

    def copy_schema(self) -> pa.Schema:
        """Return the schema of a copy: every other column, ids at least, and one column of vectors at its place."""
        fields: list[pa.Field] = [] if self.roles.id else [pa.field("id", pa.string(), nullable=False)]
        for field in self.schema:
            if field.name == self.roles.vectors[0]:
                fields.append(pa.field(self.copy_vector, pa.list_(pa.float32())))
            elif field.name not in self.roles.vectors:
                fields.append(field)
        return pa.schema(fields, metadata={**(self.schema.metadata or {}), **self.roles.metadata()})

    @property
    def copy_vector(self) -> str:
        """Name of the column of vectors in a copy."""
        return "vector" if len(self.roles.vectors) > 1 else self.roles.vectors[0]

    def copy_others(self, block: Block) -> pa.Table:
        """Return the other columns of a block as a copy has them: with ids."""
        table = block.others
        if self.roles.id is not None and table is not None:
            return table
        ids = pa.array(self.ids(block), pa.string())
        return pa.table({"id": ids}) if table is None else table.add_column(0, "id", ids)

    def blocks(self, start: int, size: int, columns: Iterable[str] | None = None) -> Generator[Block]:
        """Read from row ``start`` to the end, ``size`` rows at a time; the last block may be shorter.

        A file without rows gives one empty block.

        Args:
            start: The first row.
            size: Rows in a block.
            columns: Other columns to read; all when None.

        Raises:
            FileFormatError: At the first bad row; names the file, the column and the row.
        """
        others = self.others() if columns is None else list(columns)
        yield from self._stream(start, size, others, _DECODE_ROWS)

    def block_at(self, start: int, size: int) -> Block:
        """Read at most ``size`` rows from row ``start`` on, with all columns, and little beyond them.

        Args:
            start: The first row.
            size: Rows in the block; fewer at the end of the file, which may have no rows.

        Raises:
            FileFormatError: At the first bad row, as `blocks`.
        """
        with closing(self._stream(start, size, self.others(), _FEW_ROWS)) as blocks:
            return next(blocks)

    def _stream(self, start: int, size: int, others: list[str], decode_rows: int) -> Generator[Block]:
        names = [*others, *self.roles.vectors]
        pending: list[pa.RecordBatch] = []
        waiting, first = 0, start
        for batch in self.source.batches(start, max(size, decode_rows), names):
            pending.append(batch)
            waiting += len(batch)
            while waiting >= size:
                head, pending = _split(pending, size)
                yield self._block(head, first, others)
                waiting, first = waiting - size, first + size
        if waiting:
            yield self._block(pending, first, others)
        elif self.rows == 0:
            schema = pa.schema([self.schema.field(name) for name in others])
            yield Block(0, np.empty((0, self.dim), np.float32), schema.empty_table() if others else None)

    def ids(self, block: Block) -> list[str]:
        """Return the ids of a block as strings; row numbers where the file has none."""
        if self.roles.id is None:
            return [str(row) for row in range(self.first_row + block.start, self.first_row + block.start + len(block))]
        return self._strings(block, self.roles.id)

    def labels(self, block: Block) -> list[str] | None:
        """Return the labels of a block as strings, or None."""
        return None if self.roles.label is None else self._strings(block, self.roles.label)

    def texts(self, block: Block) -> list[str] | None:
        """Return the texts of a block, empty where one is missing, or None."""
        if self.roles.text is None or block.others is None:
            return None
        column = decoded(block.others.column(self.roles.text))
        if not (is_text(column.type) or pa.types.is_null(column.type)):
            row = self.first_row + block.start
            raise FileFormatError(f"{self.path}: column {self.roles.text} must hold strings. Row {row} is {column[0]}.")
        return ["" if text is None else text for text in column.to_pylist()]

    def _strings(self, block: Block, name: str) -> list[str]:
        if block.others is None:
            return []
        column = block.others.column(name)
        return strings_from_arrow(column, where=f"{self.path}: column {name}", first_row=self.first_row + block.start)

    def _block(self, batches: list[pa.RecordBatch], start: int, others: Sequence[str]) -> Block:
        table = pa.Table.from_batches(batches)
        where = f"{self.path}: column {self.roles.vectors[0]}"
        first_row = self.first_row + start
        columns = [_whole(table.column(name)) for name in self.roles.vectors]
        if len(columns) == 1 and (is_vector_type(columns[0].type) or is_text(columns[0].type)):
            vectors = vectors_from_arrow(columns[0], self.dim, where=where, first_row=first_row)
        elif len(columns) == 1:
            raise FileFormatError(f"{where} must be a list of float32. Got {columns[0].type}.")
        else:
            vectors = stack_columns(columns, where=where, first_row=first_row)
        if self.space is not None:
            vectors = _checked(vectors, self.space, where, first_row)
        return Block(start, vectors, table.select(list(others)) if others else None)


def declared_dim(source: Source, roles: Roles) -> int | None:
    """Return the length that the type of the vectors fixes, or None."""
    if len(roles.vectors) > 1:
        return len(roles.vectors)
    kind = source.schema.field(roles.vectors[0]).type
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else None


def _dim_of(source: Source, roles: Roles) -> int:
    """Return the length of the vectors: that of their type, or else the most frequent one of the first rows."""
    declared = declared_dim(source, roles)
    if declared is not None:
        return declared
    name = roles.vectors[0]
    where = f"{source.path}: column {name}"
    for batch in source.batches(0, _DECODE_ROWS, [name]):
        column = decoded(batch.column(0))
        if is_text(column.type):
            column = parse_vectors(column.drop_null().slice(0, 1), where, 0)
        lengths = lengths_and_vectors([column], 0, where)[0]
        if (lengths > 0).any():
            return int(np.bincount(lengths[lengths > 0]).argmax())
    raise FileFormatError(f"{source.path} must hold at least one vector, so that its dimension is known. Got none.")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)  # one piece is not copied


def _split(batches: list[pa.RecordBatch], size: int) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    head: list[pa.RecordBatch] = []
    for index, batch in enumerate(batches):
        if size <= len(batch):
            rest = [batch.slice(size)] if size < len(batch) else []
            return [*head, batch.slice(0, size)], rest + batches[index + 1 :]
        head.append(batch)
        size -= len(batch)
    return head, []


def _checked(vectors: NDArray[np.floating], space: SpaceVersion, what: str, start: int) -> NDArray[np.float32]:
    try:
        return validate_vectors(vectors, space, what=what, first_row=start)
    except InputError as error:
        raise FileFormatError(str(error)) from error
