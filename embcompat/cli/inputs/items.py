"""The items that `embcompat embed` reads: files of texts, and directories of images."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from embcompat.cli.inputs.images import label_images, list_images
from embcompat.errors import FileFormatError, InputError
from embcompat.files.formats import ending_of
from embcompat.files.names import ID_COLUMNS, LABEL_COLUMNS, TEXT_COLUMNS, pick_column
from embcompat.files.reading.text import Rows, read_lines, read_table

_PARQUET_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class Items:
    """Items to embed, with their ids.

    Attributes:
        items: Texts, or paths of images.
        ids: One for each item.
        labels: One for each item, or None.
        origin: Where ids, items and labels come from, in words.
        row_numbers: Whether the ids are row numbers, because nothing names the items.
        notes: What was left out, one sentence each.
    """

    items: list[Any]
    ids: list[str]
    labels: list[str] | None
    origin: str
    row_numbers: bool = False
    notes: tuple[str, ...] = ()


def read_items(
    path: Path,
    *,
    id_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_level: int | None = None,
    delimiter: str | None = None,
    limit: int | None = None,
) -> Items:
    """Read a .jsonl, .json, .csv, .tsv, .parquet or .txt file, or a directory of images.

    Args:
        path: The file or directory. A .txt file holds one text on each line; its ids are row numbers from 0. In a
            directory ids are the relative paths, and labels are the names of the folders in which the images lie, if
            they lie in sub-folders.
        id_column: Column of the ids; the first of `ID_COLUMNS` that exists, else row numbers.
        text_column: Column of the texts; ``text``, else the only column that is left.
        label_column: Column of the labels; ``label`` if it is there.
        label_level: Which folder is the label of an image, 1 for the first below ``path``; the last one when None.
        delimiter: What separates the fields of a CSV file; found from its header when None.
        limit: Number of items to read, from the first on; all when None.

    Raises:
        InputError: If the path does not exist, has an unknown suffix, or holds nothing to embed.
        FileFormatError: If the file is damaged or lacks a column or an id; names file, column and row.
    """
    columns = (id_column, text_column, label_column)
    if limit is not None and limit < 1:
        raise InputError(f"limit must be a positive integer. Got {limit}.")
    ending = ending_of(path)
    if path.is_dir():
        items = _read_images(path, columns, label_level, limit)
    elif not path.exists():
        raise InputError(f"{path} does not exist.")
    elif ending == ".txt":
        items = _read_lines(path, columns, limit)
    elif ending in (".parquet", ".pq"):
        names, rows = _parquet(path)
        items = _read_rows(path, names, rows, columns, limit)
    elif ending in (".jsonl", ".ndjson", ".json", ".csv", ".tsv"):
        names, rows = read_table(path, delimiter=delimiter)
        items = _read_rows(path, names, rows, columns, limit)
    else:
        raise InputError(
            f"{path} must be a .jsonl, .json, .csv, .tsv, .parquet or .txt file or a directory. Got {ending!r}."
        )
    if not items.items:
        raise InputError(f"{path} holds nothing to embed.")
    _require_unicode(items.ids, path)
    return items


def _require_unicode(ids: Sequence[str], path: Path) -> None:
    """Refuse, before the work begins, ids that could not be saved: lone surrogates, as in odd file names."""
    for row, identifier in enumerate(ids):
        try:
            identifier.encode()
        except UnicodeEncodeError as error:
            raise FileFormatError(
                f"{path}: the id of row {row} must be valid Unicode. Got {identifier!a}. Rename the file or the id."
            ) from error


Choice = tuple[str | None, str | None, str | None]


def _read_images(path: Path, choice: Choice, level: int | None, limit: int | None) -> Items:
    _refuse_columns(path, choice)
    files, skipped = list_images(path, limit)
    labels = label_images(path, files, level)
    origin = "ids are relative paths, labels are folders" if labels else "ids are relative paths"
    notes = tuple(f"Left out: {count:,} {kind}." for kind, count in sorted(skipped.items()))
    return Items([path / file for file in files], [file.as_posix() for file in files], labels, origin, notes=notes)


def _read_lines(path: Path, choice: Choice, limit: int | None) -> Items:
    _refuse_columns(path, choice)
    texts = list(islice(read_lines(path), limit))
    return Items(texts, [str(row) for row in range(len(texts))], None, "ids are row numbers from 0", row_numbers=True)


def _refuse_columns(path: Path, choice: Choice) -> None:
    if any(choice):
        raise InputError(f"columns can be chosen in tables: .jsonl, .csv, .parquet. {path} has none.")


def _read_rows(path: Path, columns: Sequence[str], rows: Rows, choice: Choice, limit: int | None) -> Items:
    where = str(path)
    id_column = pick_column(columns, choice[0], ID_COLUMNS, where=where, option="--id-column")
    label_column = pick_column(columns, choice[2], LABEL_COLUMNS, where=where, option="--label-column")
    text_column = pick_column(columns, choice[1], TEXT_COLUMNS, where=where, option="--text-column")
    if text_column is None:
        others = [column for column in columns if column not in (id_column, label_column)]
        if len(others) != 1:
            raise FileFormatError(
                f"{path} must have a column 'text', or --text-column must name the one to embed. "
                f"Got the columns {', '.join(columns)}."
            )
        text_column = others[0]
    items: list[Any] = []
    ids: list[str] = []
    labels: list[str] = []
    for row, values in islice(rows, limit):
        _refuse_late(values.keys() - set(columns), path, row)
        items.append(values.get(text_column))
        ids.append(str(len(ids)) if id_column is None else _key(values, id_column, path, row))
        if label_column is not None:
            labels.append(_key(values, label_column, path, row))
    origin = f"texts from column {text_column!r}, "
    origin += "ids are row numbers from 0" if id_column is None else f"ids from {id_column!r}"
    origin += "" if label_column is None else f", labels from {label_column!r}"
    notes: tuple[str, ...] = ()
    if "title" in columns and text_column == "text":
        notes = ("Column 'title' is not embedded. Join it with the text beforehand if the model should see it.",)
    return Items(items, ids, labels if label_column else None, origin, row_numbers=id_column is None, notes=notes)


def _refuse_late(fields: AbstractSet[str], path: Path, row: int) -> None:
    """Refuse an id, a label or a text that the first row lacks: it would be ignored."""
    if late := sorted(fields & {*ID_COLUMNS, *LABEL_COLUMNS, *TEXT_COLUMNS}):
        raise FileFormatError(f"{path}: row {row} has {late[0]!r}, which the first row lacks. Each row must have it.")


def _key(values: dict[str, Any], column: str, path: Path, row: int) -> str:
    """Return an id or a label as a string."""
    value = values.get(column)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise FileFormatError(f"{path}: column {column!r} must hold a string or an integer. Row {row} is {value!r}.")
    return str(value)


def _parquet(path: Path) -> tuple[list[str], Rows]:
    from embcompat.files.reading.parquet import open_parquet
    from embcompat.files.vectors import is_vector_type

    file = open_parquet(path)
    columns = [field.name for field in file.schema_arrow if not is_vector_type(field.type)]

    def rows() -> Rows:
        number = 0
        for batch in file.iter_batches(_PARQUET_BATCH_ROWS, columns=columns):
            for values in batch.to_pylist():
                yield number, values
                number += 1

    return columns, rows()
