"""Columns of vectors: between arrays and Arrow, and the space that a schema names. Imports pyarrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embcompat.errors import FileFormatError
from embcompat.spaces import SpaceVersion

SPACE_KEY = b"embcompat.space"
"""Schema-metadata key under which a Parquet file keeps its space, as JSON."""

ROW_GROUP_ROWS = 65_536

_FLOAT32 = pa.float32()

_SEPARATORS = str.maketrans(",;|", "   ")


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


def vector_type(dim: int, numbers: pa.DataType = _FLOAT32) -> pa.FixedSizeListType:
    """Return the Arrow type of vectors: no number may be missing, which lets Parquet read them nearly twice as fast."""
    return pa.list_(pa.field("element", numbers, nullable=False), dim)


def vectors_to_arrow(vectors: NDArray[np.float32], numbers: pa.DataType = _FLOAT32) -> pa.FixedSizeListArray:
    """Wrap an array (n, dim) as Arrow, without copying it unless its numbers become another type of floats."""
    values = vectors.reshape(-1).astype(numbers.to_pandas_dtype(), copy=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), type=vector_type(vectors.shape[1], numbers))


def vectors_from_arrow(column: pa.Array, dim: int, *, where: str, first_row: int = 0) -> NDArray[np.float32]:
    """Read an Arrow list column as an array (n, dim): a read-only view of a column of float32, a copy of any other.

    Args:
        column: fixed_size_list or list of numbers, or strings: JSON or numbers separated by blanks or commas.
        dim: The length that every vector must have.
        where: File and column, for the errors.
        first_row: Row number of the first value, for the errors.

    Raises:
        FileFormatError: On another type, a missing vector or one of another length; names the first bad row.
    """
    column = decoded(column)
    if is_text(column.type):
        column = parse_vectors(column, where, first_row)
    if not is_vector_type(column.type):
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
    # Not to_numpy: it imports pandas, where that is installed, which takes half a second.
    return np.asarray(np.from_dlpack(flat), dtype=np.float32).reshape(-1, dim)


def space_of(schema: pa.Schema, where: str) -> SpaceVersion | None:
    """Return the space that an Arrow schema names, or None."""
    text = (schema.metadata or {}).get(SPACE_KEY)
    if text is None:
        return None
    return SpaceVersion.from_json(text, where=f"{where}: schema metadata {SPACE_KEY.decode()}")


def lengths_and_vectors(columns: list[pa.Array], dim: int, where: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the length of every row (n,), −1 for none, and the rows (n, dim), NaN where the length differs.

    Nothing is checked: so galleries can be read that no other command accepts.
    """
    if len(columns) > 1:
        numbers = np.stack([pc.cast(column, pa.float32()).to_numpy(zero_copy_only=False) for column in columns], axis=1)
        return np.full(len(numbers), dim, dtype=np.int64), np.ascontiguousarray(numbers)
    column = decoded(columns[0])
    if is_text(column.type):
        column = parse_vectors(column, where, 0)
    if not is_vector_type(column.type):
        raise FileFormatError(f"{where} must be a list of floats. Got {column.type}.")
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = column.flatten().to_numpy(zero_copy_only=False)  # drops missing rows; missing numbers become NaN
    with np.errstate(over="ignore"):
        numbers = np.asarray(flat, dtype=np.float32)
    if dim and (lengths == dim).all():
        return lengths, numbers.reshape(-1, dim)
    vectors = np.full((len(lengths), dim), np.nan, dtype=np.float32)
    sizes = np.maximum(lengths, 0)
    starts = np.cumsum(sizes) - sizes
    good = np.flatnonzero(lengths == dim)
    vectors[good] = numbers[starts[good][:, np.newaxis] + np.arange(dim)]
    return lengths, vectors


def stack_columns(columns: list[pa.Array], *, where: str, first_row: int = 0) -> NDArray[np.float32]:
    """Read one column of numbers for each dimension as an array (n, dim).

    Raises:
        FileFormatError: If a column holds something else, or a number is missing; names the first bad row.
    """
    arrays = []
    for column in columns:
        try:
            numbers = column.cast(pa.float32(), safe=False)
        except pa.ArrowException as error:
            raise FileFormatError(f"{where} must hold numbers: {error}") from error
        if numbers.null_count:
            row = first_row + int(numbers.is_null().to_numpy(zero_copy_only=False).argmax())
            raise FileFormatError(f"{where} must not hold missing numbers. Row {row} does.")
        arrays.append(numbers.to_numpy(zero_copy_only=False))
    return np.stack(arrays, axis=1)


def is_vector_type(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is a list of numbers, in any of its forms."""
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (is_list or _is_view(kind)):
        return False
    element = kind.value_type
    return bool(pa.types.is_floating(element) or pa.types.is_integer(element) or pa.types.is_decimal(element))


def decoded(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return a column in its plain form: no dictionary, runs or views; vectors of decimals become float64."""
    if isinstance(column.type, pa.BaseExtensionType) and is_vector_type(column.type):
        column = column.cast(column.type.storage_type)
    if pa.types.is_dictionary(column.type):
        column = pc.dictionary_decode(column)
    elif pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    elif _is_view(column.type):  # pyarrow's cast of views gives a damaged array
        column = pa.array(column.to_pylist(), pa.list_(column.type.value_type))
    if is_vector_type(column.type) and pa.types.is_decimal(column.type.value_type):
        fixed = pa.types.is_fixed_size_list(column.type)
        column = column.cast(pa.list_(pa.float64(), column.type.list_size) if fixed else pa.list_(pa.float64()))
    return column


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type holds strings, plain or dictionary-encoded."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def parse_vectors(column: pa.Array, where: str, first_row: int) -> pa.Array:
    """Read a column of strings as lists of numbers."""
    return pa.array(
        [
            None if text is None else parse_vector(text, where, first_row + row)
            for row, text in enumerate(column.to_pylist())
        ],
        pa.list_(pa.float32()),
    )


def parse_vector(text: str, where: str, row: int) -> NDArray[np.float32]:
    """Read the numbers of one vector from a string."""
    if "..." in text:
        raise FileFormatError(
            f"{where}: row {row} was shortened with '...' when it was printed, so its numbers are lost. "
            "Write the vectors as Parquet, or as JSON (vector.tolist())."
        )
    if "," in text and ("|" in text or ";" in text):
        raise FileFormatError(
            f"{where} must separate numbers in one way. Row {row} also has commas: {text[:60]!r}. Write "
            "decimals with a point."
        )
    words = text.strip().strip("[](){}").translate(_SEPARATORS).split()
    try:
        return np.array(words, dtype=np.float32)
    except ValueError as error:
        raise FileFormatError(f"{where} must hold numbers. Row {row} is {text[:60]!r}.") from error
