"""Columns and keys of a Lance table: names, types, and values as its filters write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.stores.keys import KeyKind

PROVENANCE: Final = {"space": pa.string(), "artifact": pa.string(), "source": pa.int64(), "digest": pa.int64()}
"""Columns beside a vector column, by the end of their name."""


def family(column: str) -> list[str]:
    """Return the names of a vector column and its provenance columns."""
    return [column, *(f"{column}__{name}" for name in PROVENANCE)]


def renames(columns: dict[str, str], names: list[str]) -> list[dict[str, str]]:
    """Return the alterations that rename vector columns, and those of their provenance columns that there are."""
    pairs = [pair for old, new in columns.items() for pair in zip(family(old), family(new), strict=True)]
    return [{"path": old, "rename": new} for old, new in pairs if old in names]


def storage_type(kind: pa.DataType) -> pa.FixedSizeListType:
    """Return the type of the vectors of a column, hidden or not."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def vector_type(schema: pa.Schema, column: str, keys: Sequence[str], *, where: str) -> pa.FixedSizeListType:
    """Return the type of the vectors of a column.

    Raises:
        InputError: If the column or one of the key columns is missing, or it does not hold vectors of one length.
    """
    for name in (column, *keys):
        if name not in schema.names:
            raise InputError(f"{where}: there is no column {name!r}. Columns: {', '.join(schema.names)}.")
    kind = storage_type(schema.field(column).type)
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
        raise InputError(f"{where}: column {column!r} must be a fixed_size_list of floats. Got {kind}.")
    return kind


def hiding(dim: int) -> dict[str, str]:
    """Return the field metadata that hides a column of vectors from queries that do not name theirs.

    Such a query takes the only column of vectors that it sees; with two it fails. Arrow reads a field with this
    metadata as tensors, which LanceDB searches and indexes as before where the column is named.
    """
    shape = json.dumps({"shape": [dim]}, separators=(",", ":"))
    return {"ARROW:extension:name": "arrow.fixed_shape_tensor", "ARROW:extension:metadata": shape}


def visibility(visible: str, hidden: str, dim: int) -> list[dict[str, Any]]:
    """Return the update of field metadata that shows one column of vectors and hides another one of length ``dim``."""
    return [{"path": visible, "metadata": dict.fromkeys(hiding(dim))}, {"path": hidden, "metadata": hiding(dim)}]


def to_column(vectors: NDArray[np.float32], kind: pa.FixedSizeListType) -> pa.FixedSizeListArray:
    """Return vectors as a column of a type.

    Raises:
        ValueError: If a number is too large for it.
    """
    numbers = vectors.reshape(-1).astype(kind.value_type.to_pandas_dtype())
    if not np.isfinite(numbers).all():
        raise ValueError(f"a number is too large for {kind.value_type}")
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), kind.list_size)


def vectors_of(column: pa.Array) -> NDArray[np.float32]:
    """Return a column without NULLs as an array (n, dim); numbers that are NULL become NaN."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(-1, column.type.list_size)


def texts_of(column: pa.Array) -> list[str]:
    """Return a column of texts; a row without one has the empty text."""
    return [text or "" for text in column.to_pylist()]


def key_kind(field: pa.Field, *, where: str) -> KeyKind:
    """Return which kind of key a column holds.

    Raises:
        InputError: If it holds no keys that can be written as ids without loss.
    """
    if pa.types.is_integer(field.type):
        return "int"
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return "str"
    if field.type == pa.binary(16):
        return "uuid"
    raise InputError(
        f"{where}: a key must be integer, string or 16-byte binary (UUID). Column {field.name!r} is {field.type}."
    )


def stored(values: list[Any], kind: KeyKind) -> list[Any]:
    """Return key values as Lance stores them."""
    return [value.bytes for value in values] if kind == "uuid" else values


def native(values: list[Any], kind: KeyKind) -> list[Any]:
    """Return key values from what Lance stores."""
    return [UUID(bytes=value) for value in values] if kind == "uuid" else values


def quoted(name: str) -> str:
    """Return a column name as a filter writes it."""
    return "`" + name.replace("`", "``") + "`"


def literal(value: Any) -> str:
    """Return a key value as a filter writes it."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, UUID):
        return f"X'{value.hex}'"
    return "'" + str(value).replace("'", "''") + "'"
