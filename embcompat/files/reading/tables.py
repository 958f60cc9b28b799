"""Text files as Arrow tables, and columns that come as files of their own. Imports pyarrow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embcompat.errors import FileFormatError
from embcompat.files.columns import strings_from_arrow
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.names import ID_COLUMNS, LABEL_COLUMNS
from embcompat.files.reading.npy import read_npy
from embcompat.files.reading.parquet import ParquetSource, open_parquet
from embcompat.files.reading.sources import Source, TableSource, array_to_arrow
from embcompat.files.reading.text import read_lines, read_table

_ROWS = 1_024


def open_text_table(path: Path, delimiter: str | None) -> TableSource:
    """Read a text file; its rows are held in memory.

    Raises:
        FileFormatError: If it is damaged.
    """
    names, rows = read_table(path, delimiter=delimiter)
    tables = []
    while chunk := list(itertools.islice(rows, _ROWS)):
        for _, values in chunk:
            names += [name for name in values if name not in names]
        try:
            tables.append([_column([values.get(name) for _, values in chunk]) for name in names])
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise FileFormatError(f"{path} must hold Unicode text. Got half a character, {half!r}.") from error
    return TableSource(
        path,
        pa.table(
            {
                name: _join([t[place] for t in tables if place < len(t)], [len(t[0]) for t in tables])
                for place, name in enumerate(names)
            }
        ),
    )


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError):  # values of several types
        return pa.array([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])


def _join(columns: list[pa.Array], lengths: Sequence[int]) -> pa.ChunkedArray:
    """Join the pieces of a column; it is missing before its first piece."""
    if not columns:
        return pa.chunked_array([], pa.null())
    missing = sum(lengths[: len(lengths) - len(columns)])
    pieces = [pa.nulls(missing), *columns] if missing else columns
    try:
        return pa.concat_tables([pa.table({"": piece}) for piece in pieces], promote_options="permissive").column(0)
    except pa.ArrowException:  # numbers here, strings there
        return pa.chunked_array(
            [
                piece.cast(pa.string())
                if not pa.types.is_nested(piece.type)
                else _column([json.dumps(v) for v in piece.to_pylist()])
                for piece in pieces
            ]
        )


def read_strings(path: Path, *, what: str) -> list[str]:
    """Read one id or label for each row from a file of its own.

    Lines of text (blanks around them are cut off), a .npy array, a JSON list, or a table with one column, or with a
    column that is called ``id`` or ``label``.

    Args:
        path: The file.
        what: ``id`` or ``label``.

    Raises:
        FileFormatError: If the file is missing or damaged, or a row has none.
    """
    where = f"{path}: {what}s"
    if not path.is_file():
        raise FileFormatError(f"{path} is a folder." if path.is_dir() else f"{path} does not exist.")
    ending = ending_of(path)
    if ending == ".npy":
        return strings_from_arrow(array_to_arrow(read_npy(path), str(path), what), where=where)
    if ENDINGS.get(ending) == "parquet":
        table = open_parquet(path).read()
        return strings_from_arrow(table.column(_one_column(table.column_names, what, path)), where=where)
    if ending in (".csv", ".tsv", ".jsonl", ".ndjson"):
        source = open_text_table(path, None)
        name = _one_column(source.schema.names, what, path)
        batches = list(source.batches(0, max(source.rows, 1), [name]))
        return [text.strip() for batch in batches for text in strings_from_arrow(batch.column(0), where=where)]
    lines = [line.strip() for line in read_lines(path)]
    if ending == ".json":
        return strings_from_arrow(_column(_json_list("\n".join(lines), path)), where=where)
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise FileFormatError(f"{where}: line {lines.index('') + 1} is empty. Every row needs one.")
    return lines


def _json_list(text: str, path: Path) -> list[Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileFormatError(f"{path} is not JSON: {error}.") from error
    if not isinstance(values, list):
        raise FileFormatError(f"{path} must hold a JSON list. Got {text[:40]!r}.")
    return values


def read_labels(path: Path) -> list[str] | dict[str, str]:
    """Read labels from a file of their own: one for each row as `read_strings` does, or by id.

    By id where every line holds an id, a tab and a label, or a table has a column of ids besides.

    Raises:
        FileFormatError: If the file is missing or damaged, a row has no label, or an id has two.
    """
    kind = ENDINGS.get(ending_of(path))
    if path.is_file() and kind in ("parquet", "csv", "jsonl") and ending_of(path) != ".json":
        source: Source = ParquetSource(path) if kind == "parquet" else open_text_table(path, None)
        names = [next((name for name in usual if name in source.schema.names), None) for usual in _BY_ID]
        if None not in names:
            where = f"{path}: column"
            table = pa.Table.from_batches(list(source.batches(0, max(source.rows, 1), [str(name) for name in names])))
            columns = [strings_from_arrow(table.column(name), where=f"{where} {name}") for name in table.column_names]
            return _unambiguous(zip(*columns, strict=True), path)
    if path.is_file() and (kind is None or ending_of(path) == ".tsv"):
        lines = [line.split("\t") for line in read_lines(path) if line.strip()]
        if lines and all(len(fields) == 2 for fields in lines):
            return _unambiguous(((key.strip(), label.strip()) for key, label in lines), path)
    return read_strings(path, what="label")


def labels_of(ids: Sequence[str], labels: Mapping[str, str], *, where: str, rows_of: str) -> list[str]:
    """Return the label of each id in a file of labels.

    Raises:
        FileFormatError: If an id has no label.
    """
    if absent := next((key for key in ids if key not in labels), None):
        raise FileFormatError(f"{where} must give every row of {rows_of} a label. {absent!r} has none.")
    return [labels[key] for key in ids]


_BY_ID = (ID_COLUMNS, LABEL_COLUMNS)


def _unambiguous(pairs: Iterable[tuple[str, str]], path: Path) -> dict[str, str]:
    labels: dict[str, str] = {}
    for key, label in pairs:
        if labels.setdefault(key, label) != label:
            raise FileFormatError(f"{path} must give each id one label. {key!r} has {labels[key]!r} and {label!r}.")
    return labels


def _one_column(names: Sequence[str], what: str, path: Path) -> str:
    usual = ID_COLUMNS if what == "id" else LABEL_COLUMNS
    name = names[0] if len(names) == 1 else next((name for name in usual if name in names), None)
    if name is None:
        raise FileFormatError(f"{path} must have one column, or one called {what}. Got {', '.join(names) or 'none'}.")
    return name


def column_of(values: Sequence[str] | np.ndarray[Any, Any]) -> pa.Array:
    """Return ids or labels as an Arrow column; numbers among strings become strings."""
    if isinstance(values, np.ndarray):
        return array_to_arrow(values, "the values", "ids or labels")
    return _column(list(values))
