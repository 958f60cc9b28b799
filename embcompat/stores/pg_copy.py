"""PostgreSQL's binary COPY format, to and from arrays.

Rows are laid out with the columns of fixed width first, so that they are one NumPy record each, and texts behind them
(PostgreSQL documentation, COPY, "Binary Format"; the layout of vectors is pgvector's ``vector_send``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

Kind = Literal["int2", "int4", "int8", "uuid", "text", "vector", "halfvec"]

_FIXED: Final = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "uuid": "V16"}
_FLOATS: Final = {"vector": ">f4", "halfvec": ">f2"}


@dataclass(frozen=True)
class Column:
    """A column of the data.

    Attributes:
        kind: Its type.
        dim: Length of a vector; 0 for other types.
    """

    kind: Kind
    dim: int = 0


def order(columns: Sequence[Column]) -> list[int]:
    """Return the columns in the order in which they must be copied: texts last."""
    return sorted(range(len(columns)), key=lambda index: columns[index].kind == "text")


def decode(data: bytes, columns: Sequence[Column]) -> list[Any]:
    """Read rows that were copied out.

    Args:
        data: Everything that COPY gave, header and trailer included; no NULLs.
        columns: The columns, texts last.

    Returns:
        For each column a float32 array (n, dim), or a list of int, `UUID` or str.
    """
    record = _record(columns)
    texts = sum(column.kind == "text" for column in columns)
    body = memoryview(data)[len(HEADER) : -len(TRAILER)]
    values: list[list[str]] = [[] for _ in range(texts)]
    if texts:
        pieces, position, width = [], 0, record.itemsize
        while position < len(body):
            pieces.append(body[position : position + width])
            position += width
            for index in range(texts):
                length = int.from_bytes(body[position : position + 4], "big")
                values[index].append(str(body[position + 4 : position + 4 + length], "utf-8"))
                position += 4 + length
        body = memoryview(b"".join(pieces))
    rows = np.frombuffer(body, dtype=record)
    fixed = [_read(rows[f"value{index}"], column) for index, column in enumerate(columns) if column.kind != "text"]
    return [*fixed, *values]


def encode(values: Sequence[Any], columns: Sequence[Column], count: int) -> bytes:
    """Write rows to be copied in; the reverse of `decode`."""
    record = _record(columns)
    rows = np.zeros(count, dtype=record)
    rows["fields"] = len(columns)
    for index, column in enumerate(columns):
        if column.kind == "text":
            continue
        rows[f"length{index}"] = record[f"value{index}"].itemsize + (4 if column.dim else 0)
        if column.dim:
            rows[f"dim{index}"] = column.dim
        given = values[index]
        if column.kind == "uuid":
            given = np.frombuffer(b"".join(value.bytes for value in given), dtype="V16")
        with np.errstate(over="ignore"):  # the server refuses what does not fit half precision
            rows[f"value{index}"] = given
    texts = [values[index] for index, column in enumerate(columns) if column.kind == "text"]
    if not texts:
        return HEADER + rows.tobytes() + TRAILER
    fixed, width = rows.tobytes(), record.itemsize
    pieces = [HEADER]
    for row, fields in enumerate(zip(*texts, strict=True)):
        pieces.append(fixed[row * width : (row + 1) * width])
        for text in fields:
            encoded = text.encode()
            pieces += (len(encoded).to_bytes(4, "big"), encoded)
    return b"".join([*pieces, TRAILER])


def _record(columns: Sequence[Column]) -> np.dtype[Any]:
    """One row up to its first text."""
    fields: list[Any] = [("fields", ">i2")]
    for index, column in enumerate(columns):
        if column.kind == "text":
            continue
        fields.append((f"length{index}", ">i4"))
        if column.dim:
            fields += [(f"dim{index}", ">i2"), (f"flags{index}", ">i2")]
            fields.append((f"value{index}", _FLOATS[column.kind], (column.dim,)))
        else:
            fields.append((f"value{index}", _FIXED[column.kind]))
    return np.dtype(fields)


def _read(values: NDArray[Any], column: Column) -> Any:
    if column.dim:
        return values.astype(np.float32)
    if column.kind == "uuid":
        return [UUID(bytes=value.tobytes()) for value in values]
    return values.tolist()
