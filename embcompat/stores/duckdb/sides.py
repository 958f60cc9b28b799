"""The tables of a migration beside a DuckDB table.

All of them have the key columns of the table. The converted vectors are in ``TABLE__COLUMN__ID`` until the cutover, and
the old ones in ``TABLE__COLUMN__old_ID`` after it. ``TABLE__COLUMN__provenance`` says where the vectors in service came
from; an application may fill it in, too. What migrations note about a column is in ``embcompat_memos``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from embcompat.spaces import SpaceVersion
from embcompat.stores.duckdb.catalog import Table
from embcompat.stores.duckdb.connection import DuckFile, quoted
from embcompat.stores.values import Phase

PROVENANCE: Final = {"space": "VARCHAR", "artifact": "VARCHAR", "source": "BIGINT", "digest": "BIGINT"}
"""Space, artifact (none for a native vector), digest of the source row, digest of the vector itself."""

_MEMOS: Final = "embcompat_memos"


@dataclass(frozen=True)
class Sides:
    """A table and what a migration makes beside it.

    Attributes:
        file: The file.
        table: The table in service.
        suffix: What tells the tables of this job from all others.
        names: Names of the tables of the schema.
    """

    file: DuckFile
    table: Table
    suffix: str
    names: frozenset[str]

    @property
    def target(self) -> str:
        """The table of converted vectors, while they are not in service."""
        return self.table.beside(self.suffix)

    @property
    def parked(self) -> str:
        """The table of old vectors, once they are out of service."""
        return self.table.beside(f"old_{self.suffix}")

    @property
    def provenance(self) -> str:
        """The table of the provenance of the vectors in service."""
        return self.table.beside("provenance")

    def has(self, ending: str) -> bool:
        """Return whether a table beside the one in service is there."""
        return self.table.name_beside(ending) in self.names

    def phase(self, memo: Mapping[str, Any], artifact_id: str) -> Phase:
        """Return how far the job of an artifact is."""
        if memo.get("artifact") == artifact_id:
            return "cut_over" if self.has(f"old_{self.suffix}") else "finished"
        return "prepared" if self.has(self.suffix) else "untouched"

    def keys(self, alias: str) -> str:
        """Return the key columns."""
        return ", ".join(f"{alias}.{quoted(key)}" for key in self.table.keys)

    def same(self, one: str, other: str) -> str:
        """Return the condition that two rows have the same key."""
        return " AND ".join(f"{one}.{quoted(key)} = {other}.{quoted(key)}" for key in self.table.keys)

    def column(self, name: str, alias: str = "") -> str:
        """Return a column of the tables beside: ``vector``, or one of the provenance."""
        return (f"{alias}." if alias else "") + quoted(f"{self.table.vector}__{name}")

    def vector(self, alias: str) -> str:
        """Return the vector column of the table in service."""
        return f"{alias}.{quoted(self.table.vector)}"

    def origin(self, alias: str) -> str:
        """Return the columns of the provenance."""
        return ", ".join(self.column(name, alias) for name in PROVENANCE)

    def served(self) -> str:
        """Return the rows in service in the form of the other tables."""
        known = self.has("provenance")
        origin = (
            self.origin("p")
            if known
            else ", ".join(f"CAST(NULL AS {kind}) AS {self.column(name)}" for name, kind in PROVENANCE.items())
        )
        joined = f" LEFT JOIN {self.provenance} p ON {self.same('s', 'p')}" if known else ""
        return (
            f"(SELECT {self.keys('s')}, {self.vector('s')} AS {self.column('vector')}, {origin} "
            f"FROM {self.table.beside()} s{joined} WHERE {self.vector('s')} IS NOT NULL)"
        )

    def new_side(self, phase: Phase) -> str:
        """Return the rows of the new side."""
        return self.target if phase == "prepared" else self.served()

    def old_side(self, phase: Phase) -> str:
        """Return the rows of the old side."""
        return self.parked if phase == "cut_over" else self.served()

    def create(self, name: str, kind: str) -> None:
        """Make an empty table of vectors of a type."""
        entries = [f"{quoted(key)} {key_kind}" for key, key_kind in self.table.keys.items()]
        entries.append(f"{self.column('vector')} {kind}")
        entries += [f"{self.column(column)} {column_kind}" for column, column_kind in PROVENANCE.items()]
        self.file.query(f"CREATE TABLE IF NOT EXISTS {name}({', '.join(entries)})")

    def create_provenance(self) -> None:
        """Make the table of the provenance; applications write to it, so that its keys must be unique."""
        entries = [f"{quoted(key)} {kind}" for key, kind in self.table.keys.items()]
        entries += [f"{self.column(name)} {kind}" for name, kind in PROVENANCE.items()]
        keys = ", ".join(map(quoted, self.table.keys))
        self.file.query(f"CREATE TABLE IF NOT EXISTS {self.provenance}({', '.join(entries)}, PRIMARY KEY ({keys}))")

    def memo(self) -> dict[str, Any]:
        """Return what migrations have noted about the column; empty where none has."""
        if _MEMOS not in self.names:
            return {}
        rows = self.file.query(f"SELECT memo FROM {self._memos} WHERE {_OF_COLUMN}", self._place)
        return dict(json.loads(rows[0][0])) if rows else {}

    def set_memo(self, memo: Mapping[str, Any]) -> None:
        """Note something about the column, or forget it."""
        self.file.query(
            f"CREATE TABLE IF NOT EXISTS {self._memos}(table_name VARCHAR, column_name VARCHAR, memo VARCHAR)"
        )
        self.file.query(f"DELETE FROM {self._memos} WHERE {_OF_COLUMN}", self._place)
        if memo:
            self.file.query(f"INSERT INTO {self._memos} VALUES (?, ?, ?)", [*self._place, json.dumps(memo)])
        elif not self.file.query(f"SELECT 1 FROM {self._memos} LIMIT 1"):
            self.file.query(f"DROP TABLE {self._memos}")

    def is_of_another_table(self, memo: Mapping[str, Any]) -> bool:
        """Return whether a memo is about a table of the same name that was dropped since.

        Then its vectors are of another length, or none of its rows is there.
        """
        dim = json.loads(memo["space"])["dim"]
        if self.table.dim not in (None, dim):
            return True
        if not self.has("provenance") or not self.file.query(f"SELECT 1 FROM {self.provenance} LIMIT 1"):
            return False
        if not self.file.query(f"SELECT 1 FROM {self.table.beside()} LIMIT 1"):
            return False
        return not any(
            self.file.query(
                f"SELECT 1 FROM {self.table.beside()} s SEMI JOIN {some} p ON {self.same('s', 'p')} LIMIT 1"
            )
            for some in (f"(FROM {self.provenance} LIMIT 1000)", self.provenance)
        )

    def forget_another_table(self) -> None:
        """Remove what migrations have left of a table of the same name that was dropped since."""
        self.set_memo({})
        self.file.query(f"DROP TABLE IF EXISTS {self.provenance}")
        self.file.query(f"DROP TABLE IF EXISTS {self.parked}")

    @property
    def _memos(self) -> str:
        return f"{quoted(self.table.schema)}.{_MEMOS}"

    @property
    def _place(self) -> list[str]:
        return [self.table.name, self.table.vector]


@dataclass(frozen=True)
class Standing:
    """How far a job is.

    Attributes:
        sides: The tables of the job.
        phase: How far it is.
        space: Space of the vectors in service, or None.
        memo: What is noted about the column.
    """

    sides: Sides
    phase: Phase
    space: SpaceVersion | None
    memo: dict[str, Any]


_OF_COLUMN: Final = "table_name = ? AND column_name = ?"
