"""The statement that made a DuckDB table, taken apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from embcompat.errors import StoreError
from embcompat.stores.duckdb.connection import quoted

_NAME: Final = re.compile(r'"((?:[^"]|"")*)"|(\w+)')
_VECTOR: Final = re.compile(r"(FLOAT|DOUBLE)\[(\d*)\]")
_LITERAL: Final = re.compile(
    r"\(?(CAST\()?('([^']|'')*'|-?\d[\d.eE+-]*|NULL|true|false)( AS [\w()\[\], ]+\))?\)?", re.IGNORECASE
)


@dataclass(frozen=True)
class Definition:
    """A table as it was declared.

    Attributes:
        columns: The declaration of each column by its name: the type and what follows it.
        constraints: The constraints that stand after the columns.
    """

    columns: dict[str, str]
    constraints: tuple[str, ...]

    def stored(self) -> list[str]:
        """Return the columns whose values are stored; the others are generated."""
        return [name for name, text in self.columns.items() if " GENERATED ALWAYS AS" not in text]

    def statement(self, target: str, column: str, kind: str) -> str:
        """Return the statement of a table like this one.

        Args:
            target: Its name, as it is written in SQL.
            column: The vector column.
            kind: The type of the vectors in the new table.
        """
        entries = [
            f"{quoted(name)} {_VECTOR.sub(kind, text, count=1) if name == column else text}"
            for name, text in self.columns.items()
        ]
        return f"CREATE TABLE {target}({', '.join([*entries, *self.constraints])})"

    def calls_functions(self, defaults: Sequence[str | None]) -> bool:
        """Return whether a default, a constraint or a generated column may call a function.

        DuckDB 1.5 cannot replay changes of columns of such a table from its log after a crash.

        Args:
            defaults: The defaults of the columns.
        """
        return (
            len(self.stored()) < len(self.columns)
            or any("CHECK" in text for text in (*self.columns.values(), *self.constraints))
            or any(text is not None and not _LITERAL.fullmatch(text) for text in defaults)
        )


def vector_kind(kind: str) -> tuple[str, int | None] | None:
    """Return the numbers of a vector type, and its length where it has one; None for another type.

    Example:
        >>> vector_kind("FLOAT[384]"), vector_kind("DOUBLE[]"), vector_kind("INTEGER[3]")
        (('FLOAT', 384), ('DOUBLE', None), None)
    """
    match = _VECTOR.fullmatch(kind)
    return None if match is None else (match[1], int(match[2]) if match[2] else None)


def read_definition(statement: str, columns: Sequence[str], *, where: str) -> Definition:
    """Take the statement of a table apart.

    Args:
        statement: The statement as DuckDB reports it.
        columns: Names of all columns in their order.
        where: What to call the gallery in errors.

    Raises:
        StoreError: If it is not of the form that DuckDB 1 reports.

    Example:
        >>> text = "CREATE TABLE t(id UUID PRIMARY KEY, v FLOAT[3] NOT NULL, note VARCHAR DEFAULT('a,b'), UNIQUE(note))"
        >>> definition = read_definition(text, ["id", "v", "note"], where="t")
        >>> definition.columns["note"], definition.constraints
        ("VARCHAR DEFAULT('a,b')", ('UNIQUE(note)',))
        >>> print(definition.statement("u", "v", "FLOAT[5]"))
        CREATE TABLE u("id" UUID PRIMARY KEY, "v" FLOAT[5] NOT NULL, "note" VARCHAR DEFAULT('a,b'), UNIQUE(note))
    """
    entries = _entries(statement)
    declared = {}
    for name, entry in zip(columns, entries, strict=False):
        match = _NAME.match(entry)
        if match is None or (match[2] or match[1].replace('""', '"')) != name:
            raise StoreError(f"{where}: DuckDB reports a table that cannot be read: {statement[:200]!r}.")
        declared[name] = entry[match.end() :].strip()
    return Definition(declared, tuple(entries[len(declared) :]))


def _entries(statement: str) -> list[str]:
    """Return what stands between the outer parentheses, split at its commas."""
    entries, start, depth, quote = [], 0, 0, ""
    for place, sign in enumerate(statement):
        if quote or sign in "'\"":
            quote = "" if sign == quote else quote or sign
        elif sign in "([":
            depth += 1
            start = place + 1 if depth == 1 else start
        elif (sign == "," and depth == 1) or (sign in ")]" and depth == 1):
            entries.append(statement[start:place].strip())
            start = place + 1
            depth -= sign != ","
        elif sign in ")]":
            depth -= 1
    return entries
