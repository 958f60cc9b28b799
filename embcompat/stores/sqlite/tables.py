"""vec0 tables as collections: a second table beside the first, and both renamed in one transaction.

What migrations note about a table is among the facts that vec0 itself keeps of it (``<table>_info``), so that it goes
with the table. Where its vectors came from is in ``<table>__<column>__provenance``, which an application may fill in,
too; an entry outlives its row, which tells that there was one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, final

import numpy as np

from embcompat.errors import InputError, StoreError
from embcompat.similarities import Similarity
from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import UNKNOWN, Provenance, Record
from embcompat.stores.sqlite.connection import SqliteFile, quoted
from embcompat.stores.sqlite.definition import METRICS, Definition, read_definition

_MEMO: Final = "embcompat"
"""Key of a migration's note among the facts of a table."""

_SHADOW: Final = re.compile(r"_(info|chunks|rowids|auxiliary|vector_chunks\d+|metadatachunks\d+|metadatatext\d+)")
"""How the tables in which vec0 keeps a table's contents are called, after the name of the table."""

_WIDTH: Final = len(Provenance._fields)
"""Columns of the provenance, which are read before those of the row itself."""


@final
class SqliteTables(Collections):
    """The vec0 tables of a file; see `Collections`.

    Args:
        file: The file.
        vector: The vector column that is looked at.
        where: What to call the gallery in errors.
    """

    def __init__(self, file: SqliteFile, vector: str, *, where: str) -> None:
        self._file, self._vector, self._where = file, vector, where

    def definition(self, name: str) -> Definition:
        """Return a table as it was declared."""
        rows = self._file.query("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", [name])
        if not rows:
            tables = self._file.query("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%vec0%'")
            listed = ", ".join(table for (table,) in tables) or "none"
            raise InputError(f"{self._where}: there is no table {name!r}. vec0 tables: {listed}.")
        return read_definition(rows[0][0], self._vector, where=self._where)

    def declared(self, name: str) -> str:
        """Return a table's name as it was declared, since SQLite ignores the case of names; itself if there is none."""
        rows = self._file.query(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", [name]
        )
        return str(rows[0][0]) if rows else name

    def exists(self, name: str) -> bool:
        """Return whether there is a table of this name."""
        return bool(self._file.query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [name]))

    def dim(self, name: str) -> int:
        """Return the declared length of the vectors."""
        return self.definition(name).dim

    def metric(self, name: str) -> Similarity | None:
        """Return the declared metric; None for L1."""
        similarities = {spelling.lower(): similarity for similarity, spelling in METRICS.items()}
        return similarities.get(self.definition(name).metric)

    def count(self, name: str) -> int:
        """Count the rows."""
        return int(self._file.query(f"SELECT count(*) FROM {quoted(name + '_rowids')}")[0][0])

    def memo(self, name: str) -> dict[str, Any]:
        """Read the note among the facts of a table."""
        if not self.exists(f"{name}_info"):  # an early version of sqlite-vec made the table
            return {}
        rows = self._file.query(f"SELECT value FROM {quoted(name + '_info')} WHERE key = ?", [_MEMO])
        return dict(json.loads(rows[0][0])) if rows else {}

    def set_memo(self, name: str, memo: Mapping[str, Any]) -> None:
        """Replace the note among the facts of a table."""
        self._file.query(f"REPLACE INTO {quoted(name + '_info')} VALUES (?, ?)", [_MEMO, json.dumps(memo)])

    def ids(self, name: str, *, where: str | None = None) -> Iterator[list[str]]:
        """Go through the keys in the order in which vec0 keeps them; no lock is held between pages."""
        definition = self.definition(name)
        if where is not None:
            try:
                rows = self._file.query(f"SELECT {quoted(definition.key)} FROM {quoted(name)} WHERE {where}")
            except StoreError as error:
                raise InputError(f"{self._where} cannot evaluate the condition {where!r}: {error}") from error
            yield from (
                [str(key) for (key,) in rows[i : i + self.page_rows]] for i in range(0, len(rows), self.page_rows)
            )
            return
        key = "id" if definition.text_key else "rowid"
        statement = (
            f"SELECT rowid, {key} FROM {quoted(name + '_rowids')} WHERE rowid > ? ORDER BY rowid LIMIT {self.page_rows}"
        )
        last = -(2**63)
        while rows := self._file.query(statement, [last]):
            yield [str(key) for _, key in rows]
            last = rows[-1][0]

    def read(self, name: str, ids: Sequence[str]) -> list[Record]:
        """Read rows by key."""
        if not ids:
            return []
        ids, definition = list(dict.fromkeys(ids)), self.definition(name)
        columns = ", ".join(f"t.{quoted(name)}" for name in (definition.key, definition.vector, *definition.others))
        fields, join = self._beside(name, f"t.{quoted(definition.key)}")
        statement = (  # IN (...) takes three times as long on a vec0 table
            f"WITH keys(key) AS (VALUES {', '.join(['(?)'] * len(ids))}) SELECT {fields}, {columns} "
            f"FROM keys CROSS JOIN {quoted(name)} t ON t.{quoted(definition.key)} = keys.key {join}"
        )
        rows = self._file.query(statement, _keys(definition, ids))
        vectors = np.frombuffer(b"".join([row[_WIDTH + 1] for row in rows]), dtype="<f4")
        others = [dict(zip(definition.others, row[_WIDTH + 2 :], strict=True)) for row in rows]
        return [
            Record(str(row[_WIDTH]), vector, rest, _provenance(row))
            for row, vector, rest in zip(rows, vectors.reshape(len(rows), definition.dim), others, strict=True)
        ]

    def provenances(self, name: str, ids: Sequence[str]) -> dict[str, Provenance]:
        """Look up which keys are there, and their provenance."""
        definition = self.definition(name)
        key = "r.id" if definition.text_key else "r.rowid"
        fields, join = self._beside(name, key)
        statement = f"SELECT {fields}, {key} FROM {quoted(name + '_rowids')} r {join} WHERE {key} IN ({_marks(ids)})"
        rows = self._file.query(statement, _keys(definition, ids))
        return {str(row[_WIDTH]): _provenance(row) for row in rows}

    def present(self, name: str, ids: Sequence[str]) -> set[str]:
        """Look up which keys are there."""
        definition = self.definition(name)
        key = "id" if definition.text_key else "rowid"
        statement = f"SELECT {key} FROM {quoted(name + '_rowids')} WHERE {key} IN ({_marks(ids)})"
        return {str(key) for (key,) in self._file.query(statement, _keys(definition, ids))}

    def put(self, name: str, records: Sequence[Record], existing: Mapping[str, Record]) -> None:  # noqa: ARG002
        """Delete rows that are there, and insert all: vec0 replaces none."""
        if not records:
            return
        definition, ids = self.definition(name), [record.id for record in records]
        keys = _keys(definition, ids)
        columns = [quoted(column) for column in (definition.key, definition.vector, *definition.others)]
        rows = [
            (
                key,
                np.ascontiguousarray(record.vector, dtype="<f4").tobytes(),
                *(record.rest[n] for n in definition.others),
            )
            for key, record in zip(keys, records, strict=True)
        ]
        marks = ", ".join(["?", "?", *(definition.mark(column) for column in definition.others)])
        with self._file.transaction():
            self._delete(name, list(self.present(name, ids)))
            self._file.execute_many(f"INSERT INTO {quoted(name)} ({', '.join(columns)}) VALUES ({marks})", rows)
            self._record(name, records)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete rows by key, with their provenance."""
        with self._file.transaction():
            self._delete(name, ids)
            self._disown(name, ids)

    def see(self, name: str, ids: Sequence[str]) -> None:
        """Note nothing: the provenance of each converted row stays when an application deletes the row."""

    def seen(self, name: str, ids: Sequence[str]) -> set[str]:
        """Return the keys that have provenance."""
        table = self._provenance_table(name)
        if not ids or not self.exists(table):
            return set()
        return {
            key for (key,) in self._file.query(f"SELECT key FROM {quoted(table)} WHERE key IN ({_marks(ids)})", ids)
        }

    def forget(self, name: str) -> None:
        """Delete the provenance of converted rows that are gone."""
        key = "id" if self.definition(name).text_key else "CAST(rowid AS TEXT)"
        if self.exists(self._provenance_table(name)):
            self._file.query(
                f"DELETE FROM {quoted(self._provenance_table(name))} WHERE source IS NOT NULL "
                f"AND key NOT IN (SELECT {key} FROM {quoted(name + '_rowids')})"
            )

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold writers by a transaction."""
        return self._file.transaction()

    def value(self, record: Record, column: str) -> Any:
        """Return a column of a row; the case of its name does not matter."""
        values = {name.lower(): value for name, value in record.rest.items()}
        if column.lower() not in values:
            raise StoreError(f"{self._where}: there is no column {column!r}. Columns: {', '.join(record.rest)}.")
        return values[column.lower()]

    def create_like(self, source: str, target: str, *, dim: int, metric: Similarity | None) -> None:
        """Declare a table with the arguments of another one, and a table for its provenance."""
        arguments = self.definition(source).arguments_for(dim, metric)
        with self._file.transaction():
            self._file.query(f"CREATE VIRTUAL TABLE IF NOT EXISTS {quoted(target)} USING vec0({arguments})")
            self._file.query(
                f"CREATE TABLE IF NOT EXISTS {quoted(self._provenance_table(target))} (key TEXT PRIMARY KEY, "
                "space TEXT, artifact TEXT, source INTEGER, rest TEXT, digest INTEGER) WITHOUT ROWID"
            )

    def drop(self, name: str) -> None:
        """Delete a table and its provenance."""
        with self._file.transaction():
            self._file.query(f"DROP TABLE IF EXISTS {quoted(name)}")
            self._file.query(f"DROP TABLE IF EXISTS {quoted(self._provenance_table(name))}")

    def switch(self, name: str, *, parked: str, entering: str) -> None:
        """Rename both tables in one transaction."""
        with self._file.transaction():
            for old, new in ((name, parked), (entering, name)):
                self._rename(old, new)
                if self.exists(self._provenance_table(old)):
                    names = quoted(self._provenance_table(old)), quoted(self._provenance_table(new))
                    self._file.query(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rename(self, old: str, new: str) -> None:
        """Rename a vec0 table with the tables of its contents, which vec0 itself leaves behind."""
        self._file.query(f"ALTER TABLE {quoted(old)} RENAME TO {quoted(new)}")
        for (table,) in self._file.query("SELECT name FROM sqlite_master WHERE type = 'table'"):
            rest = table.removeprefix(old)
            if table.startswith(old) and _SHADOW.fullmatch(rest):
                self._file.query(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(new + rest)}")

    def _delete(self, name: str, ids: Sequence[str]) -> None:
        definition = self.definition(name)
        rows = [(key,) for key in _keys(definition, ids)]
        self._file.execute_many(f"DELETE FROM {quoted(name)} WHERE {quoted(definition.key)} = ?", rows)

    def _disown(self, name: str, ids: Sequence[str]) -> None:
        if ids and self.exists(self._provenance_table(name)):
            statement = f"DELETE FROM {quoted(self._provenance_table(name))} WHERE key = ?"
            self._file.execute_many(statement, [(key,) for key in ids])

    def _record(self, name: str, records: Sequence[Record]) -> None:
        """Write the provenance of records; those without one lose what they had."""
        entries = [(record.id, *record.provenance) for record in records if record.provenance != UNKNOWN]
        if entries:
            table = quoted(self._provenance_table(name))
            self._file.execute_many(f"REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?)", entries)
        self._disown(name, [record.id for record in records if record.provenance == UNKNOWN])

    def _beside(self, name: str, key: str) -> tuple[str, str]:
        """Return the columns of the provenance of the rows with some keys, and the join that reads them."""
        table = self._provenance_table(name)
        if not self.exists(table):
            return ", ".join(["NULL"] * _WIDTH), ""
        columns = ", ".join(f"p.{field}" for field in Provenance._fields)
        return columns, f"LEFT JOIN {quoted(table)} p ON p.key = CAST({key} AS TEXT)"

    def _provenance_table(self, name: str) -> str:
        return f"{name}__{self._vector}__provenance"


def _provenance(row: tuple[Any, ...]) -> Provenance:
    return Provenance._make(row[:_WIDTH])


def _keys(definition: Definition, ids: Sequence[str]) -> list[Any]:
    try:
        return list(ids) if definition.text_key else [int(key) for key in ids]
    except ValueError as error:
        raise StoreError(f"keys of this table are integers. Got {', '.join(map(repr, ids[:3]))} …: {error}") from error


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
