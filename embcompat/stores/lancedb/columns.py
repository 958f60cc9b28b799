"""Columns and keys of a Lance table: names, types, and values as its filters write them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import lancedb.index
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.errors import InputError, StoreError
from embcompat.spaces import Similarity
from embcompat.stores.keys import KeyKind

_DISTANCES: Final = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}
_INDEXES: Final = {"IVF_FLAT": "IvfFlat", "IVF_PQ": "IvfPq", "IVF_SQ": "IvfSq", "IVF_RQ": "IvfRq"} | {
    "IVF_HNSW_PQ": "HnswPq",
    "IVF_HNSW_SQ": "HnswSq",
}

PROVENANCE: Final = {"space": pa.string(), "artifact": pa.string(), "source": pa.int64(), "digest": pa.int64()}
"""Columns beside a vector column, by the end of their name."""


def family(column: str) -> list[str]:
    """Return the names of a vector column and its provenance columns."""
    return [column, *(f"{column}__{name}" for name in PROVENANCE)]


def renames(columns: dict[str, str], names: list[str]) -> list[dict[str, str]]:
    """Return the alterations that rename vector columns, and those of their provenance columns that there are."""
    pairs = [pair for old, new in columns.items() for pair in zip(family(old), family(new), strict=True)]
    return [{"path": old, "rename": new} for old, new in pairs if old in names]


def vectors_of(column: pa.FixedSizeListArray) -> NDArray[np.float32]:
    """Return a column without NULLs as an array (n, dim); numbers that are NULL become NaN."""
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(-1, column.type.list_size)


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


def create_index(table: Any, column: str, kind: str, similarity: Similarity, *, where: str) -> None:
    """Build an index of a kind on a column, replacing the one that is there.

    Raises:
        StoreError: If it is of a kind that is not known.
    """
    if kind not in _INDEXES:
        raise StoreError(f"{where}: an index of kind {kind} cannot be built again. Known: {', '.join(_INDEXES)}.")
    config = getattr(lancedb.index, _INDEXES[kind])(distance_type=_DISTANCES[similarity])
    table.create_index(column, config=config, name=f"{column}_idx")
