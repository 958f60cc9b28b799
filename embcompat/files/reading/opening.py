"""Opening a file or a folder of vectors, whatever its format. Imports pyarrow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import JsonValue

from embcompat.errors import FileFormatError, InputError
from embcompat.files.columns import Columns, find_roles
from embcompat.files.formats import format_of
from embcompat.files.reading.arrays import open_fbin, open_fvecs, open_hdf5, open_npz
from embcompat.files.reading.folders import files_of_vectors, open_arrow, open_folder
from embcompat.files.reading.npy import NpySource
from embcompat.files.reading.parquet import ParquetSource
from embcompat.files.reading.sources import Source, WithColumns, with_pandas_range
from embcompat.files.reading.streams import VectorFile, declared_dim
from embcompat.files.reading.tables import column_of, open_text_table, read_strings
from embcompat.files.vectors import space_of
from embcompat.spaces import SpaceVersion, require_space

_TAIL_BYTES = 65_536

Strings = str | Path | Sequence[str]
"""Ids or labels: a file with one for each row, or the values."""


def open_vectors(
    path: str | Path,
    *,
    space: SpaceVersion | None = None,
    columns: Columns = Columns(),  # noqa: B008
    ids: Strings | None = None,
    labels: Strings | None = None,
    delimiter: str | None = None,
) -> VectorFile:
    """Open a file or a folder of vectors, of any format that `embcompat.files.formats.ENDINGS` lists.

    Args:
        path: The file, or a folder of Parquet files or a saved Hugging Face dataset.
        space: The space of its vectors, where the file does not name it.
        columns: Which columns are which, where their names do not tell.
        ids: The ids, where the file has none.
        labels: The labels, where the file has none.
        delimiter: What separates the fields of a CSV file; found from its header when None.

    Raises:
        InputError: If the ending is another one.
        FileFormatError: If the file is missing, damaged, or does not hold vectors.
        SpaceMismatchError: If the file names another space than ``space``.
    """
    source = with_pandas_range(open_source(Path(path), columns=columns, delimiter=delimiter))
    added: dict[str, pa.Array] = {}
    for what, values in (("id", ids), ("label", labels)):
        if values is not None:
            read = read_strings(Path(values), what=what) if isinstance(values, str | Path) else values
            added[getattr(columns, what) or what] = column_of(read)
    if added:
        source = WithColumns(source, added)
    roles = find_roles(source.schema, columns, where=str(path))
    stated = space_of(source.schema, str(path))
    if stated is not None and space is not None:
        require_space(stated, space, what=str(path))
    space = space or stated
    declared = declared_dim(source, roles)
    if space is not None and declared not in (None, space.dim):
        raise FileFormatError(
            f"{path} must hold floats of shape (n, {space.dim}) for space {space.id!r}. Got vectors of length "
            f"{declared}."
        )
    return VectorFile(source, roles, space)


def open_source(path: Path, *, columns: Columns = Columns(), delimiter: str | None = None) -> Source:  # noqa: B008
    """Open a file of vectors without saying yet which columns are which; see `open_vectors`."""
    kind = format_of(path)
    if delimiter is not None and kind != "csv":
        raise InputError(f"--delimiter is for .csv and .tsv files. Got {path}.")
    if kind in ("csv", "jsonl"):
        return open_text_table(path, delimiter)
    if kind == "npz":
        return open_npz(path, columns.vector)
    if kind == "hdf5":
        return open_hdf5(path, columns.vector)
    openers: dict[str, Any] = {
        "parquet": ParquetSource,
        "npy": NpySource,
        "arrow": open_arrow,
        "folder": open_folder,
        "fvecs": open_fvecs,
        "fbin": open_fbin,
    }
    opened: Source = openers[kind](path)
    return opened


def file_identity(path: Path) -> dict[str, JsonValue]:
    """Say which file this is: its size, time of change, and the digest of its last 64 KiB.

    Of a folder: of all its files of vectors together.
    """
    if path.is_dir():
        parts = [file_identity(file) for file in files_of_vectors(path)]
        joined = hashlib.sha256("".join(str(part["tail_sha256"]) for part in parts).encode()).hexdigest()
        sizes, times = ([int(str(part[key])) for part in parts] for key in ("bytes", "mtime_ns"))
        return {"bytes": sum(sizes), "mtime_ns": max(times, default=0), "tail_sha256": joined}
    status = path.stat()
    with path.open("rb") as stream:
        stream.seek(max(0, status.st_size - _TAIL_BYTES))
        digest = hashlib.sha256(stream.read()).hexdigest()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "tail_sha256": digest}
