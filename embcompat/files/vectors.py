"""Columns of vectors: between arrays and Arrow, and the space that a schema names. Imports pyarrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.errors import FileFormatError
from embcompat.spaces import SpaceVersion

SPACE_KEY = b"embcompat.space"
"""Schema-metadata key under which a Parquet file keeps its space, as JSON."""

ROW_GROUP_ROWS = 65_536


def embeddings_schema(space: SpaceVersion, *, labels: bool, texts: bool = False) -> pa.Schema:
    """Return the Arrow schema of embeddings in ``space``."""
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("vector", vector_type(space.dim)),
    ]
    if labels:
        fields.append(pa.field("label", pa.string()))
    if texts:
        fields.append(pa.field("text", pa.string()))
    return pa.schema(fields, metadata={SPACE_KEY: space.to_json().encode()})


def vector_type(dim: int) -> pa.FixedSizeListType:
    """Return the Arrow type of vectors: no number may be missing, which lets Parquet read them nearly twice as fast."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), dim)


def vectors_to_arrow(vectors: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """Wrap an array (n, dim) as Arrow without copying it."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=vector_type(vectors.shape[1]))


def vectors_from_arrow(
    column: pa.Array, dim: int, *, where: str, first_row: int = 0, copy: bool = True
) -> NDArray[np.float32]:
    """Read an Arrow list column as an array (n, dim).

    Args:
        column: fixed_size_list or list of floats.
        dim: The length that every vector must have.
        where: File and column, for the errors.
        first_row: Row number of the first value, for the errors.
        copy: Whether the array must be writable; otherwise it is a read-only view of a float32 column.

    Raises:
        FileFormatError: On another type, a missing vector or one of another length; names the first bad row.
    """
    if not (pa.types.is_fixed_size_list(column.type) or _is_list(column.type)) or not pa.types.is_floating(
        column.type.value_type
    ):
        raise FileFormatError(f"{where} must be a list of float32. Got {column.type}.")
    if column.null_count:
        row = first_row + column.is_null().to_numpy(zero_copy_only=False).argmax()
        raise FileFormatError(f"{where} must hold a vector in every row. Row {row} is missing.")
    if pa.types.is_fixed_size_list(column.type):
        if column.type.list_size != dim:
            raise FileFormatError(f"{where} must hold vectors of length {dim}. Got {column.type.list_size}.")
    else:
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if (lengths != dim).any():
            row = int(np.argmax(lengths != dim))
            raise FileFormatError(
                f"{where} must hold vectors of length {dim}. Row {first_row + row} has length {lengths[row]}."
            )
    flat = column.flatten()  # unlike .values it honours the offset of a slice
    if flat.null_count:
        row = first_row + int(flat.is_null().to_numpy(zero_copy_only=False).argmax()) // dim
        raise FileFormatError(f"{where} must not hold missing numbers. Row {row} does.")
    return np.asarray(flat.to_numpy(zero_copy_only=not copy), dtype=np.float32).reshape(-1, dim)


def space_of(schema: pa.Schema, where: str) -> SpaceVersion | None:
    """Return the space that an Arrow schema names, or None."""
    text = (schema.metadata or {}).get(SPACE_KEY)
    if text is None:
        return None
    return SpaceVersion.from_json(text, where=f"{where}: schema metadata {SPACE_KEY.decode()}")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
