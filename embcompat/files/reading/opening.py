"""Open a file or a folder of vectors, whatever its format. Imports pyarrow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from pydantic import JsonValue

from embcompat.errors import FileFormatError, InputError
from embcompat.files.columns import ROW_NUMBERS_KEY, Columns, Roles, find_roles, strings_from_arrow
from embcompat.files.formats import ENDINGS, ending_of, format_of
from embcompat.files.objects import Location, ObjectPath, is_object_url, location
from embcompat.files.patterns import is_folder
from embcompat.files.reading.arrays import open_fbin, open_fvecs, open_hdf5, open_npz
from embcompat.files.reading.folders import files_of_vectors, open_arrow, open_folder
from embcompat.files.reading.npy import NpySource
from embcompat.files.reading.parquet import ParquetSource
from embcompat.files.reading.sources import INDEX_COLUMN, Source, WithColumns, with_pandas_range
from embcompat.files.reading.streams import SEQUENTIAL_ROWS, VectorFile, declared_dim
from embcompat.files.reading.tables import column_of, labels_of, open_text_table, read_labels, read_strings
from embcompat.files.vectors import space_of
from embcompat.spaces import SpaceVersion, require_space

_TAIL_BYTES = 65_536
_REQUESTS = 16  # at once, to an object store [ours]

Strings = str | Path | Sequence[str]
"""Ids or labels: a file with one for each row, or the values."""


def open_vectors(
    path: str | Location,
    *,
    space: SpaceVersion | None = None,
    columns: Columns = Columns(),  # noqa: B008
    ids: Strings | None = None,
    labels: Strings | None = None,
    delimiter: str | None = None,
) -> VectorFile:
    """Open a file or a folder of vectors, of any format that `embcompat.files.formats.ENDINGS` lists.

    Args:
        path: The file, a folder of Parquet files or a saved Hugging Face dataset, or a pattern that names several
            Parquet files (``old/*.parquet``). Parquet files may be in an object store (``s3://bucket/old.parquet``,
            ``gs://…``). A string may name its columns as the address of a store does:
            ``vectors.parquet#embedding?key=docid``.
        space: The space of its vectors, where the file does not name it.
        columns: The roles of the columns, where their names do not show them.
        ids: The ids, where the file has none.
        labels: The labels, where the file has none: one for each row, or by id; see `read_labels`.
        delimiter: What separates the fields of a CSV file; found from its header when None.

    Raises:
        InputError: If the format is not supported.
        FileFormatError: If the file is missing, damaged, or does not hold vectors.
        SpaceMismatchError: If the file names another space than ``space``.
    """
    path, columns = split_address(path, columns)
    source = with_pandas_range(open_source(path, columns=columns, delimiter=delimiter))
    if ids is not None:
        source = _with_ids(source, ids, columns, str(path))
    if labels is not None:
        marks = read_labels(Path(labels)) if isinstance(labels, str | Path) else labels
        if isinstance(marks, dict):
            roles = find_roles(source.schema, replace(columns, label=None), where=str(path))
            marks = _labels_by_id(source, roles, marks, str(labels))
        source = WithColumns(source, {columns.label or "label": column_of(marks)})
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


def split_address(path: str | Location, columns: Columns) -> tuple[Location, Columns]:
    """Take the columns out of ``vectors.parquet#embedding?key=docid``; they take precedence over ``columns``.

    Raises:
        InputError: If anything but a key follows ``?``.

    Example:
        >>> split_address("vectors.parquet#embedding?key=docid", Columns(label="who"))
        (PosixPath('vectors.parquet'), Columns(id='docid', vector='embedding', label='who', text=None, required=True))
    """
    text = str(path)
    name, _, fragment = text.rpartition("#")
    if not isinstance(path, str) or not name or _is_name(text, name):
        return location(path), columns
    vector, _, query = fragment.partition("?")
    options = parse_qs(query)
    if options.keys() - {"key"} or bool(query) != bool(options):
        raise InputError(f"a file takes only key=COLUMN after ?. Got {text}.")
    keys = options.get("key", [None])
    return location(name), replace(columns, vector=unquote(vector) or columns.vector, id=keys[-1] or columns.id)


def _is_name(text: str, head: str) -> bool:
    """Return whether a # belongs to the name of a file: it exists or, in an object store, its ending shows it."""
    if is_object_url(text):
        return ending_of(location(text)) in ENDINGS and ending_of(location(head)) not in ENDINGS
    return Path(text).exists()


def _with_ids(source: Source, ids: Strings, columns: Columns, where: str) -> Source:
    """Add ids to a source without ids of its own: with none at all, row numbers, or an unnamed index of pandas.

    Raises:
        FileFormatError: If it has ids of its own, and must not.
    """
    stored = find_roles(source.schema, columns, where=where)
    if stored.id not in (None, INDEX_COLUMN) and not stored.row_numbers:
        if columns.required:
            raise FileFormatError(
                f"{where} must have no ids of its own if a file of ids is passed (ids=…). It has column {stored.id!r}."
            )
        return source
    keys = read_strings(Path(ids), what="id") if isinstance(ids, str | Path) else ids
    named = WithColumns(source, {stored.id or "id": column_of(keys)})
    metadata = {key: value for key, value in (named.schema.metadata or {}).items() if key != ROW_NUMBERS_KEY}
    named.schema = named.schema.with_metadata(metadata)
    return named


def _labels_by_id(source: Source, roles: Roles, labels: dict[str, str], where: str) -> list[str]:
    """Return the label of each row.

    Raises:
        FileFormatError: If an id has none.
    """
    ids = list(map(str, range(source.rows))) if roles.id is None else []
    for batch in () if roles.id is None else source.batches(0, SEQUENTIAL_ROWS, [roles.id]):
        ids += strings_from_arrow(batch.column(0), where=f"{source.path}: column {roles.id}", first_row=len(ids))
    return labels_of(ids, labels, where=where, rows_of=str(source.path))


def open_source(path: Location, *, columns: Columns = Columns(), delimiter: str | None = None) -> Source:  # noqa: B008
    """Open a file of vectors without assigning roles to its columns yet; see `open_vectors`."""
    kind = format_of(path)
    if delimiter is not None and kind != "csv":
        raise InputError(f"delimiter=… is for .csv and .tsv files. Got {path}.")
    if isinstance(path, ObjectPath):
        return open_folder(path) if kind == "folder" else ParquetSource(path)
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
    source: Source = openers[kind](path)
    return source


def file_identity(path: Location) -> dict[str, JsonValue]:
    """Return what identifies a file: its size, time of change, and the digest of its last 64 KiB.

    In an object store, the entity tag replaces the digest. For a folder: those of all its files of vectors together.
    """
    if is_folder(path):
        with ThreadPoolExecutor(_REQUESTS) as pool:
            parts = list(pool.map(file_identity, files_of_vectors(path)))
        tags = (str(part.get("etag") or part.get("tail_sha256")) for part in parts)
        digest = hashlib.sha256("".join(tags).encode()).hexdigest()
        sizes, times = ([int(str(part[key])) for part in parts] for key in ("bytes", "mtime_ns"))
        return {"bytes": sum(sizes), "mtime_ns": max(times, default=0), "tail_sha256": digest}
    if isinstance(path, ObjectPath):
        return path.identity()
    status = path.stat()
    with path.open("rb") as stream:
        stream.seek(max(0, status.st_size - _TAIL_BYTES))
        digest = hashlib.sha256(stream.read()).hexdigest()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "tail_sha256": digest}
