"""Parquet files: opening them, and the space that they name. Imports pyarrow."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embcompat.errors import FileFormatError
from embcompat.files.vectors import space_of
from embcompat.spaces import SpaceVersion


def read_space(path: Path) -> SpaceVersion | None:
    """Read the space that a Parquet file of embeddings names, without reading its vectors."""
    return space_of(open_parquet(path).schema_arrow, str(path))


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
