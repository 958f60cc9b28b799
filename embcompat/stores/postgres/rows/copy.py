"""Rows in PostgreSQL's binary forms, to and from arrays.

They are written in the format of COPY, laid out with the columns of fixed width first, so that these are one NumPy
record each, and texts behind them (PostgreSQL documentation, COPY, "Binary Format"; the layout of vectors is pgvector's
``vector_send``). They are read as the same records without lengths, many in one piece: a row at a time would take
Python longer than the server needs to find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
SENDERS: Final = {
    "int2": "int2send",
    "int4": "int4send",
    "int8": "int8send",
    "xid": "xidsend",
    "uuid": "uuid_send",
    "vector": "vector_send",
    "halfvec": "halfvec_send",
}
"""The server's function that gives the binary form of a value."""

BLOCK_ROWS: Final = 2_048
"""Rows that are written at a time [ours]."""

Kind = Literal["int2", "int4", "int8", "xid", "uuid", "text", "vector", "halfvec"]

_FIXED: Final = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "xid": ">i4", "uuid": "V16"}
_FLOATS: Final = {"vector": ">f4", "halfvec": ">f2"}


@dataclass(frozen=True)
class Column:
    """A column of the data.

    Attributes:
        kind: Its type.
        dim: Length of a vector; 0 for other types.
        constant: The text that stands in every row; None for other columns.
    """

    kind: Kind
    dim: int = 0
    constant: str | None = None

    @property
    def varies(self) -> bool:
        """Whether its values are of different lengths."""
        return self.kind == "text" and self.constant is None

    def rounded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return vectors (n, dim) as the column holds them: in half precision where it is a halfvec."""
        if self.kind != "halfvec":
            return vectors
        with np.errstate(over="ignore"):
            return vectors.astype(np.float16).astype(np.float32)


def order(columns: Sequence[Column]) -> list[int]:
    """Return the columns in the order in which they must be copied: texts last."""
    return sorted(range(len(columns)), key=lambda index: columns[index].varies)


def decode(data: bytes, columns: Sequence[Column]) -> list[Any]:
    """Read the binary forms of the columns of rows, one behind the other.

    Args:
        data: What the `SENDERS` of the columns gave.
        columns: The columns, none of them text.

    Returns:
        For each column a float32 array (n, dim) of vectors, an int64 array (n,) of numbers, or a list of `UUID`.
    """
    if not columns:
        return []
    fields: list[Any] = []
    for index, column in enumerate(columns):
        if column.dim:
            fields += [(f"head{index}", "V4"), (f"value{index}", _FLOATS[column.kind], (column.dim,))]
        else:
            fields.append((f"value{index}", _FIXED[column.kind]))
    rows = np.frombuffer(data, dtype=np.dtype(fields))
    return [_read(rows[f"value{index}"], column) for index, column in enumerate(columns)]


def encode(values: Sequence[Any], columns: Sequence[Column], count: int) -> Iterator[bytes]:
    """Write rows to be copied in, some at a time, so that the server is at work meanwhile.

    Args:
        values: ``count`` values of each column; those of a constant are not looked at.
        columns: The columns, texts last.
        count: Number of rows.
    """
    yield HEADER
    for start in range(0, count, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, count))
        yield _encode_block([None if each is None else each[rows] for each in values], columns, rows.stop - start)
    yield TRAILER


def _encode_block(values: Sequence[Any], columns: Sequence[Column], count: int) -> bytes:
    record = _record(columns)
    rows = np.zeros(count, dtype=record)
    rows["fields"] = len(columns)
    for index, column in enumerate(columns):
        if column.varies:
            continue
        rows[f"length{index}"] = record[f"value{index}"].itemsize + (4 if column.dim else 0)
        if column.dim:
            rows[f"dim{index}"] = column.dim
        field = values[index]
        if column.kind == "uuid":
            field = np.frombuffer(b"".join(value.bytes for value in field), dtype="V16")
        if column.constant is not None:
            field = np.void(column.constant.encode())
        with np.errstate(over="ignore"):  # the server refuses what does not fit half precision
            rows[f"value{index}"] = field
    texts = [values[index] for index, column in enumerate(columns) if column.varies]
    fixed, width = rows.tobytes(), record.itemsize
    if not texts:
        return fixed
    pieces = []
    for row, fields in enumerate(zip(*texts, strict=True)):
        pieces.append(fixed[row * width : (row + 1) * width])
        for text in fields:
            encoded = text.encode()
            pieces += (len(encoded).to_bytes(4, "big"), encoded)
    return b"".join(pieces)


def _record(columns: Sequence[Column]) -> np.dtype[Any]:
    """One row up to its first text."""
    fields: list[Any] = [("fields", ">i2")]
    for index, column in enumerate(columns):
        if column.varies:
            continue
        fields.append((f"length{index}", ">i4"))
        if column.dim:
            fields += [(f"dim{index}", ">i2"), (f"flags{index}", ">i2")]
            fields.append((f"value{index}", _FLOATS[column.kind], (column.dim,)))
        else:
            constant = column.constant
            kind = _FIXED[column.kind] if constant is None else f"V{len(constant.encode())}"
            fields.append((f"value{index}", kind))
    return np.dtype(fields)


def _read(values: NDArray[Any], column: Column) -> Any:
    if column.dim:
        return values.astype(np.float32)
    if column.kind == "uuid":
        return [UUID(bytes=value.tobytes()) for value in values]
    return values.astype(np.int64)
