"""Tables in text files: JSON lines (OpenAI's batch answers too), CSV and TSV, also compressed."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from embcompat.errors import FileFormatError, InputError
from embcompat.files.formats import ending_of

Rows = Iterator[tuple[int, dict[str, Any]]]
"""Row numbers and the values of each row by column."""

DELIMITERS: Final = ",;\t|"

_EXAMPLE_CHARACTERS = 60


def read_table(path: Path, *, delimiter: str | None = None) -> tuple[list[str], Rows]:
    """Read a text file as a table, row by row.

    Args:
        path: A .jsonl, .ndjson, .json, .csv or .tsv file, with .gz or without.
        delimiter: What separates the fields of a CSV file; found from its header when None.

    Returns:
        The names of the columns, and the rows.

    Raises:
        FileFormatError: If the file is damaged; names the row.
    """
    if ending_of(path) in (".csv", ".tsv"):
        return _read_csv(path, delimiter)
    if delimiter is not None:
        raise InputError(f"delimiter=… is for .csv and .tsv files. Got {path}.")
    return _read_json(path)


def read_lines(path: Path) -> Iterator[str]:
    r"""Read the lines of a UTF-8 file without their ends; only \\n and \\r\\n end a line.

    Raises:
        FileFormatError: If the file is missing, damaged or not UTF-8.
    """
    for line in _whole_lines(path):
        yield line.removesuffix("\n").removesuffix("\r")


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a UTF-8 file, compressed with gzip or not, with or without a byte order mark."""
    raw: Any = gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n")


def _read_json(path: Path) -> tuple[list[str], Rows]:
    first = next((line for line in read_lines(path) if line.strip()), "{}")
    rows = _json_array(path) if first.lstrip().startswith("[") else _json_lines(path)
    start = next(rows, (0, {}))
    return list(start[1]), itertools.chain([start] if start[1] else [], rows)


def _json_lines(path: Path) -> Rows:
    number = -1
    for number, line in enumerate(line for line in read_lines(path) if line.strip()):
        try:
            values = json.loads(line, object_pairs_hook=unambiguous)
        except json.JSONDecodeError as error:
            raise FileFormatError(
                f"{path}: row {number} is not JSON: {error}. A file holds one object per line, or one list of objects."
            ) from error
        except ValueError as error:
            raise FileFormatError(f"{path}: row {number} {error}.") from error
        yield number, _json_row(values, path, number)


def _json_array(path: Path) -> Rows:
    try:
        rows = json.loads("\n".join(read_lines(path)), object_pairs_hook=unambiguous)
    except json.JSONDecodeError as error:
        raise FileFormatError(f"{path} is not JSON: {error}.") from error
    except ValueError as error:
        raise FileFormatError(f"{path}: a row {error}.") from error
    for number, values in enumerate(rows):
        yield number, _json_row(values, path, number)


def unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its fields, for ``object_pairs_hook``.

    Raises:
        ValueError: If a field occurs twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"must name each field once. It holds {repeated!r} twice")
    return values


def _json_row(values: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise FileFormatError(f"{path}: row {number} must be a JSON object. Got {json.dumps(values)[:40]}.")
    return _batch_answer(values, path, number) if {"custom_id", "response"} <= values.keys() else values


def _batch_answer(values: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    """Take the vector out of one line of the answer to a batch (OpenAI, "Batch API", output file)."""
    body = (values.get("response") or {}).get("body") or {}
    data = body.get("data") or []
    if len(data) != 1 or "embedding" not in data[0]:
        reason = values.get("error") or body.get("error") or f"{len(data)} vectors"
        raise FileFormatError(
            f"{path}: row {number}, custom_id {values['custom_id']!r}, must hold one vector. Got "
            f"{json.dumps(reason)[:200]}. Send the failed requests again and join both answers."
        )
    vector = data[0]["embedding"]
    if isinstance(vector, str):
        vector = np.frombuffer(base64.b64decode(vector), "<f4").tolist()
    return {"custom_id": values["custom_id"], "embedding": vector}


def _read_csv(path: Path, delimiter: str | None) -> tuple[list[str], Rows]:
    csv.field_size_limit(2**31 - 1)  # a text may be long
    lines = _whole_lines(path)
    first = next(lines, "")
    if "\r" in first.removesuffix("\n").removesuffix("\r"):
        raise FileFormatError(f"{path} must end its lines with \\n or \\r\\n. Got a bare \\r.")
    delimiter = delimiter or ("\t" if ending_of(path) == ".tsv" else _sniff(first))
    if len(delimiter) != 1:
        raise InputError(f"delimiter=… must be one character. Got {delimiter!r}.")
    header = next(csv.reader([first], delimiter=delimiter), [])
    if len(header) == 1 and (other := next((sign for sign in DELIMITERS if sign in header[0]), None)):
        raise FileFormatError(
            f"{path} must have the delimiter {delimiter!r}. Its header is one column that holds {other!r}: "
            f"{first.strip()[:_EXAMPLE_CHARACTERS]!r}. It needs delimiter=… {other!r}."
        )
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    if header and all(_is_number(cell) for cell in header):  # rows of numbers without a header
        columns = [str(place) for place in range(len(header))]
    else:
        columns = next(reader, [])
    if len(set(columns)) != len(columns):
        repeated = next(name for name in columns if columns.count(name) > 1)
        raise FileFormatError(f"{path} must name each column once. Its header holds {repeated!r} twice.")
    return columns, _csv_rows(path, reader, columns)


def _whole_lines(path: Path) -> Iterator[str]:
    try:
        with open_text(path) as stream:
            yield from stream
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} must be UTF-8 text: {error}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{path} cannot be read: {error}.") from error


def _csv_rows(path: Path, reader: Any, columns: list[str]) -> Rows:
    try:
        number = 0
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(columns):
                raise FileFormatError(
                    f"{path}: row {number} must have {len(columns)} fields, as the header has. Got {len(cells)}."
                )
            yield number, dict(zip(columns, cells, strict=True))
            number += 1
    except csv.Error as error:
        raise FileFormatError(f"{path} is not CSV: {error} (line {reader.line_num}).") from error


def _sniff(header: str) -> str:
    """Return the delimiter that gives a header the most columns; a comma where none gives more than one."""
    return max(DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign), [])))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
