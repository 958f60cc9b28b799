"""The files that embeddings live in: Parquet, .npy and Hugging Face datasets. Imports pyarrow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embcompat.embeddings.values import Embeddings, validate_strings, validate_vectors
from embcompat.errors import FileFormatError, InputError, MissingExtraError
from embcompat.spaces import SpaceVersion, require_space

if TYPE_CHECKING:
    import datasets

SPACE_KEY = b"embcompat.space"
"""Schema-metadata key under which a Parquet file keeps its space, as JSON."""

ROW_GROUP_ROWS = 65_536


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; move it there when the block ends well, remove it otherwise.

    Raises:
        InputError: If the folder does not exist.
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist. Create it first.")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def embeddings_schema(space: SpaceVersion, *, labels: bool) -> pa.Schema:
    """Return the Arrow schema of embeddings in ``space``."""
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("vector", vector_type(space.dim)),
    ]
    if labels:
        fields.append(pa.field("label", pa.string()))
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


def write_parquet(embeddings: Embeddings, path: Path) -> None:
    """Write embeddings as Parquet; the file appears only when complete."""
    with atomic_path(path) as temporary:
        pq.write_table(_to_table(embeddings), temporary, row_group_size=ROW_GROUP_ROWS, compression="none")


def read_space(path: Path) -> SpaceVersion | None:
    """Read the space that a Parquet file of embeddings names, without reading its vectors."""
    return _space_of(open_parquet(path).schema_arrow, str(path))


def open_parquet(path: Path, *, memory_map: bool = False) -> pq.ParquetFile:
    """Open a Parquet file.

    Args:
        path: The file.
        memory_map: Whether to map it, so that reading batches holds no whole row group in memory.

    Raises:
        FileFormatError: If it is missing, truncated or not Parquet.
    """
    if not path.is_file():
        raise FileFormatError(f"{path} does not exist.")
    try:
        return pq.ParquetFile(path, memory_map=memory_map)
    except (pa.ArrowInvalid, OSError) as error:
        raise FileFormatError(f"{path} is not a complete Parquet file: {error}") from error


def read_parquet(path: Path, *, space: SpaceVersion | None = None) -> Embeddings:
    """Read embeddings from Parquet; see `Embeddings.load`."""
    file = open_parquet(path)
    try:
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} is damaged: {error}") from error
    return _from_table(table, space=space, where=str(path))


def read_npy(path: Path) -> NDArray[Any]:
    """Open a .npy file as a read-only memory map.

    Raises:
        FileFormatError: If it is missing, truncated, or holds Python objects.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise FileFormatError(f"{path} is not a complete .npy file of numbers: {error}") from error


def to_dataset(embeddings: Embeddings) -> datasets.Dataset:
    """Return a Hugging Face dataset; see `Embeddings.to_dataset`."""
    hf = _import_datasets()
    dataset = hf.Dataset(_to_table(embeddings))
    dataset.info.description = embeddings.space.to_json()
    return dataset.with_format("arrow")


def from_dataset(dataset: datasets.Dataset, *, space: SpaceVersion | None = None) -> Embeddings:
    """Take embeddings from a Hugging Face dataset; see `Embeddings.from_dataset`."""
    _import_datasets()
    table = dataset.with_format("arrow")[:]
    if dataset.info.description and SPACE_KEY not in (table.schema.metadata or {}):
        table = table.replace_schema_metadata({SPACE_KEY: dataset.info.description.encode()})
    return _from_table(table, space=space, where="the dataset")


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "embcompat[datasets]", "A Hugging Face dataset") from error
    return datasets


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _to_table(embeddings: Embeddings) -> pa.Table:
    columns = [pa.array(embeddings.ids, pa.string()), vectors_to_arrow(embeddings.vectors)]
    if embeddings.labels is not None:
        columns.append(pa.array(embeddings.labels, pa.string()))
    return pa.table(columns, schema=embeddings_schema(embeddings.space, labels=embeddings.labels is not None))


def _space_of(schema: pa.Schema, where: str) -> SpaceVersion | None:
    text = (schema.metadata or {}).get(SPACE_KEY)
    if text is None:
        return None
    return SpaceVersion.from_json(text, where=f"{where}: schema metadata {SPACE_KEY.decode()}")


def _from_table(table: pa.Table, *, space: SpaceVersion | None, where: str) -> Embeddings:
    for name in ("id", "vector"):
        if name not in table.column_names:
            raise FileFormatError(
                f"{where} must have the columns id and vector (and label if there is one). "
                f"Got {', '.join(table.column_names) or 'none'}."
            )
    stated = _space_of(table.schema, where)
    if stated is not None and space is not None:
        require_space(stated, space, what=where)
    space = space or stated
    if space is None:
        raise FileFormatError(f"{where} does not name its space. Pass space=SpaceVersion(…).")
    column = f"{where}: column vector"
    vectors = vectors_from_arrow(table.column("vector").combine_chunks(), space.dim, where=column)
    labels = table.column("label").to_pylist() if "label" in table.column_names else None
    try:
        return Embeddings.trusted(
            validate_vectors(vectors, space, what=column),
            validate_strings(table.column("id").to_pylist(), len(vectors), what=f"{where}: column id", unique=True),
            space,
            validate_strings(labels, len(vectors), what=f"{where}: column label"),
        )
    except InputError as error:
        raise FileFormatError(str(error)) from error
