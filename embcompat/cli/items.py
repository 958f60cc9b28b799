"""What `embcompat embed` reads: files of texts, and directories of images."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from embcompat.errors import FileFormatError, InputError

ID_COLUMNS = ("id", "_id", "doc_id", "query_id", "qid")
TEXT_COLUMNS = ("text",)
LABEL_COLUMNS = ("label",)

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_PARQUET_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class Items:
    """Items to embed, with their ids.

    Attributes:
        items: Texts, or paths of images.
        ids: One for each item.
        labels: One for each item, or None.
        origin: Where ids, items and labels come from, in words.
    """

    items: list[Any]
    ids: list[str]
    labels: list[str] | None
    origin: str


def read_items(
    path: Path,
    *,
    id_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    limit: int | None = None,
) -> Items:
    """Read a .jsonl, .csv, .parquet or .txt file, or a directory of images.

    Args:
        path: The file or directory. A .txt file holds one text a line; its ids are row numbers from 0. In a directory
            ids are the relative paths, and labels are the names of the sub-folders where the images lie in some.
        id_column: Column of the ids; the first of `ID_COLUMNS` that is there, else row numbers.
        text_column: Column of the texts; ``text``, else the only column that is left.
        label_column: Column of the labels; ``label`` if it is there.
        limit: Read only the first so many items.

    Raises:
        InputError: If the path does not exist, has an unknown suffix, or holds nothing to embed.
        FileFormatError: If the file is damaged or lacks a column or an id; names file, column and row.
    """
    asked = (id_column, text_column, label_column)
    if limit is not None and limit < 1:
        raise InputError(f"limit must be a positive integer. Got {limit}.")
    if path.is_dir():
        found = _read_images(path, asked, limit)
    elif not path.exists():
        raise InputError(f"{path} does not exist.")
    elif path.suffix == ".txt":
        found = _read_lines(path, asked, limit)
    elif path.suffix in _READERS:
        columns, rows = _READERS[path.suffix](path)
        found = _read_rows(path, columns, rows, asked, limit)
    else:
        raise InputError(f"{path} must be a .jsonl, .csv, .parquet or .txt file or a directory. Got {path.suffix!r}.")
    if not found.items:
        raise InputError(f"{path} holds nothing to embed.")
    return found


Asked = tuple[str | None, str | None, str | None]
Rows = Iterator[tuple[int, dict[str, Any]]]


def _read_images(path: Path, asked: Asked, limit: int | None) -> Items:
    _refuse_columns(path, asked)
    files = sorted(
        file.relative_to(path)
        for file in path.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    files = files[:limit]
    labels = [file.parts[0] for file in files if len(file.parts) > 1]
    if labels and len(labels) != len(files):
        loose = next(file for file in files if len(file.parts) == 1)
        raise InputError(
            f"{path} must hold its images all in sub-folders (the labels) or all outside. Got {loose} beside folders."
        )
    origin = "ids are relative paths, labels are sub-folders" if labels else "ids are file names"
    return Items([path / file for file in files], [file.as_posix() for file in files], labels or None, origin)


def _read_lines(path: Path, asked: Asked, limit: int | None) -> Items:
    _refuse_columns(path, asked)
    texts = [line.removesuffix("\n") for line in islice(_lines(path), limit)]
    return Items(texts, [str(row) for row in range(len(texts))], None, "ids are row numbers from 0")


def _refuse_columns(path: Path, asked: Asked) -> None:
    if any(asked):
        raise InputError(f"columns can be chosen in .jsonl, .csv and .parquet files. {path} has none.")


def _read_rows(path: Path, columns: Sequence[str], rows: Rows, asked: Asked, limit: int | None) -> Items:
    id_column = _choose(path, columns, asked[0], ID_COLUMNS, "--id-column")
    label_column = _choose(path, columns, asked[2], LABEL_COLUMNS, "--label-column")
    text_column = _choose(path, columns, asked[1], TEXT_COLUMNS, "--text-column")
    if text_column is None:
        left = [column for column in columns if column not in (id_column, label_column)]
        if len(left) != 1:
            raise FileFormatError(
                f"{path} must have a column 'text', or say with --text-column which one to embed. "
                f"Got the columns {', '.join(columns)}."
            )
        text_column = left[0]
    items: list[Any] = []
    ids: list[str] = []
    labels: list[str] = []
    for row, values in islice(rows, limit):
        items.append(values.get(text_column))
        ids.append(str(len(ids)) if id_column is None else _key(values, id_column, path, row))
        if label_column is not None:
            labels.append(_key(values, label_column, path, row))
    origin = f"texts from column {text_column!r}, "
    origin += "ids are row numbers from 0" if id_column is None else f"ids from {id_column!r}"
    origin += "" if label_column is None else f", labels from {label_column!r}"
    return Items(items, ids, labels if label_column else None, origin)


def _choose(path: Path, columns: Sequence[str], asked: str | None, usual: Sequence[str], option: str) -> str | None:
    if asked is None:
        return next((column for column in usual if column in columns), None)
    if asked not in columns:
        raise FileFormatError(f"{path} has no column {asked!r} ({option}). It has {', '.join(columns) or 'none'}.")
    return asked


def _key(values: dict[str, Any], column: str, path: Path, row: int) -> str:
    """Return an id or a label as a string."""
    value = values.get(column)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise FileFormatError(f"{path}: column {column!r} must hold a string or an integer. Row {row} is {value!r}.")
    return str(value)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield from stream
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} must be UTF-8 text: {error}.") from error


def _jsonl(path: Path) -> tuple[list[str], Rows]:
    def rows() -> Rows:
        for number, line in enumerate(_lines(path)):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise FileFormatError(f"{path}: row {number} is not JSON: {error}.") from error
            if not isinstance(values, dict):
                raise FileFormatError(f"{path}: row {number} must be a JSON object. Got {line.strip():.40}.")
            yield number, values

    first = next(rows(), (0, {}))[1]
    return list(first), rows()


def _csv(path: Path) -> tuple[list[str], Rows]:
    csv.field_size_limit(2**31 - 1)  # a text may be long
    reader = csv.DictReader(_lines(path), strict=True)

    def rows() -> Rows:
        try:
            for number, values in enumerate(reader):
                if None in values or None in values.values():
                    raise FileFormatError(f"{path}: row {number} must have {len(columns)} fields, as the header has.")
                yield number, values
        except csv.Error as error:
            raise FileFormatError(f"{path} is not CSV: {error} (line {reader.line_num}).") from error

    columns = list(reader.fieldnames or ())
    return columns, rows()


def _parquet(path: Path) -> tuple[list[str], Rows]:
    from embcompat.files.parquet import open_parquet

    file = open_parquet(path)
    columns = list(file.schema_arrow.names)

    def rows() -> Rows:
        number = 0
        for batch in file.iter_batches(_PARQUET_BATCH_ROWS):
            for values in batch.to_pylist():
                yield number, values
                number += 1

    return columns, rows()


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
