"""Find the columns of ids, vectors, labels and texts in a table. Imports pyarrow."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from embcompat.errors import FileFormatError
from embcompat.files.names import ID_COLUMNS, LABEL_COLUMNS, PLURALS, TEXT_COLUMNS, VECTOR_COLUMNS, pick_column
from embcompat.files.vectors import decoded, is_vector_type

COLUMNS_KEY: Final = b"embcompat.columns"
"""Schema-metadata key of the roles of the columns in a file that we write, where their names do not show them."""

ROW_NUMBERS_KEY: Final = b"embcompat.row_numbers"
"""Schema-metadata key that marks ids as row numbers that were invented."""


@dataclass(frozen=True)
class Columns:
    """Names of columns that a user chose; None for those to be found.

    Attributes:
        id: Column of the ids.
        vector: Column of the vectors.
        label: Column of the labels.
        text: Column of the texts.
        required: Whether a chosen column must exist; otherwise the usual names are tried where it does not.
    """

    id: str | None = None
    vector: str | None = None
    label: str | None = None
    text: str | None = None
    required: bool = True

    def present(self, names: Collection[str]) -> Columns:
        """Return the choice without missing columns, unless they are required."""
        if self.required:
            return self
        pattern = self.vector is not None and self.vector.endswith("*")
        one, label, text = (name if name in names else None for name in (self.id, self.label, self.text))
        return Columns(one, self.vector if pattern or self.vector in names else None, label, text)


@dataclass(frozen=True)
class Roles:
    """The roles of a table's columns.

    Attributes:
        id: Column of the ids, or None: then rows are numbered.
        vectors: The column of vectors, or one column for each dimension.
        label: Column of the labels, or None.
        text: Column of the texts, or None.
        row_numbers: Whether the ids are row numbers that were invented.
    """

    id: str | None
    vectors: tuple[str, ...]
    label: str | None
    text: str | None
    row_numbers: bool

    def describe(self) -> str:
        """Describe in words which columns were taken."""
        first, last = self.vectors[0], self.vectors[-1]
        parts = [f"vectors from {first!r}" + ("" if first == last else f" to {last!r}")]
        parts.append("ids are row numbers from 0" if self.row_numbers else f"ids from {self.id!r}")
        parts += [f"{what}s from {name!r}" for what, name in (("label", self.label), ("text", self.text)) if name]
        return ", ".join(parts)

    def metadata(self) -> dict[bytes, bytes]:
        """Return the schema metadata by which the same columns are found again."""
        roles = {"id": self.id or "id", "vector": "vector" if len(self.vectors) > 1 else self.vectors[0]}
        roles |= {what: name for what, name in (("label", self.label), ("text", self.text)) if name is not None}
        marks = {} if all(what == name for what, name in roles.items()) else {COLUMNS_KEY: json.dumps(roles).encode()}
        return marks | ({ROW_NUMBERS_KEY: b"true"} if self.row_numbers else {})

    @property
    def usual(self) -> bool:
        """Whether the columns have the names that embcompat itself writes."""
        return (self.id, self.vectors) == ("id", ("vector",)) and self.label in (None, "label")


def find_roles(schema: pa.Schema, chosen: Columns, *, where: str) -> Roles:
    """Find the roles of the columns: those that the user chose, or else those that follow from names and types.

    Raises:
        FileFormatError: If a chosen column does not exist, there is no column of vectors, or several could be it.
    """
    notes = json.loads((schema.metadata or {}).get(COLUMNS_KEY, b"{}"))
    names = list(schema.names)
    chosen = chosen.present(names)
    lists = {field.name for field in schema if pa.types.is_nested(field.type)}
    usual_ids, usual_labels = (
        [name for name in usual if name not in PLURALS & lists] for usual in (ID_COLUMNS, LABEL_COLUMNS)
    )

    def pick(role: str, choice: str | None, usual: Sequence[str]) -> str | None:
        return pick_column(names, choice, (notes.get(role), *usual), where=where, option=f"{role}_column=…")

    id_column = pick("id", chosen.id, usual_ids)
    if id_column is None:
        id_column = _pandas_index(schema, where)
    vectors = _find_vectors(schema, chosen.vector or notes.get("vector"), where)
    return Roles(
        id=id_column,
        vectors=vectors,
        label=pick("label", chosen.label, usual_labels),
        text=pick("text", chosen.text, TEXT_COLUMNS),
        row_numbers=id_column is None or (ROW_NUMBERS_KEY in (schema.metadata or {}) and chosen.id is None),
    )


def _pandas_index(schema: pa.Schema, where: str) -> str | None:
    """Return the column in which pandas keeps an index that is not just row numbers.

    Raises:
        FileFormatError: If the index has several levels: none of them names a row.
    """
    index = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    stored = [name for name in index if isinstance(name, str) and name in schema.names]
    if len(stored) > 1:
        raise FileFormatError(
            f"{where} must have one column of ids. Its index has the levels {', '.join(stored)}. Make one column of "
            "them, or say which column holds the ids (id_column=…)."
        )
    if stored:
        return stored[0]
    return "__index_level_0__" if "__index_level_0__" in schema.names else None


def _find_vectors(schema: pa.Schema, chosen: str | None, where: str) -> tuple[str, ...]:
    if chosen is not None:
        if chosen in schema.names:
            return (chosen,)
        wide = _numbered_columns(schema, re.compile(re.escape(chosen.removesuffix("*")) + r"(\d+)"))
        if chosen.endswith("*") and wide:
            return wide
        raise FileFormatError(
            f"{where} has no column {chosen!r} (vector_column=…). It has {', '.join(schema.names) or 'none'}."
        )
    named = [name for name in VECTOR_COLUMNS if name in schema.names]
    if named[:1] == ["vector"] or len(named) == 1:
        return (named[0],)
    lists = named or [field.name for field in schema if is_vector_type(field.type)]
    if len(lists) == 1:
        return (lists[0],)
    if len(lists) > 1:
        raise FileFormatError(
            f"{where} has several columns that could be the vectors: {', '.join(lists)}. Say which (vector_column=…)."
        )
    wide = _numbered_columns(schema, re.compile(r".*?(\d+)"))
    if wide:
        return wide
    raise FileFormatError(
        f"{where} must have a column of vectors: {', '.join(VECTOR_COLUMNS)}, or one named by vector_column=…. "
        f"Got {', '.join(schema.names) or 'none'}."
    )


def _numbered_columns(schema: pa.Schema, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Return the columns x0, x1, … (or x1, x2, …) of numbers, if there are at least two and none is missing."""
    groups: dict[str, dict[int, str]] = {}
    for name in schema.names:
        match = pattern.fullmatch(name)
        if match:
            groups.setdefault(name[: match.start(1)], {})[int(match[1])] = name
    complete = [
        tuple(columns[number] for number in sorted(columns))
        for columns in groups.values()
        if len(columns) > 1 and sorted(columns) in (list(range(len(columns))), list(range(1, len(columns) + 1)))
    ]
    return complete[0] if len(complete) == 1 else ()


def strings_from_arrow(column: pa.Array | pa.ChunkedArray, *, where: str, first_row: int = 0) -> list[str]:
    """Return ids or labels of any scalar type as strings, without loss.

    Whole numbers are written without a fraction, so that pandas' ``7.0`` is ``7``; UUIDs in their usual form.

    Args:
        column: The column.
        where: File and column, for the errors.
        first_row: Row number of the first value, for the errors.

    Raises:
        FileFormatError: If a value is missing, or is neither a string nor a number nor a date; names the row.
    """
    if column.null_count:
        row = first_row + column.is_null().to_pylist().index(True)
        raise FileFormatError(f"{where} must hold a value in every row. Row {row} has none.")
    column = decoded(column)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return list(column.to_pylist())
    if pa.types.is_nested(kind) or pa.types.is_null(kind):
        raise FileFormatError(f"{where} must hold a string or an integer. Got {kind}.")
    return [
        text if isinstance(text, str) else _as_text(text, where, first_row + row, kind)
        for row, text in enumerate(column.to_pylist())
    ]


def _as_text(value: Any, where: str, row: int, kind: pa.DataType) -> str:
    if isinstance(value, float):
        if not value.is_integer():
            raise FileFormatError(f"{where} must hold a string or an integer. Row {row} is {value!r}.")
        return str(int(value))
    if isinstance(value, bytes):
        if pa.types.is_fixed_size_binary(kind) and len(value) == 16:
            return str(UUID(bytes=value))
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise FileFormatError(f"{where} must be UTF-8 text. Row {row} is {value[:20]!r}.") from error
    return str(value)
