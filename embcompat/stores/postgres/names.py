"""Names of what a migration makes in PostgreSQL, and the pieces of statements that use them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import sql

from embcompat.stores.postgres.copy import Column
from embcompat.stores.values import Job

PROVENANCE: Final[dict[str, LiteralString]] = {
    "space": "text",
    "artifact": "text",
    "source": "bigint",
    "digest": "bigint",
}
GALLERIES: Final = "embcompat_galleries"
PART_ROWS: Final = 20_000
"""Rows of the key range that a worker takes at a time [ours]."""

OWN_PREFIX: Final = "~embcompat_"
"""How the names of our triggers begin: triggers run in the order of their names, and ours must see what others do."""

_NAME_BYTES = 30  # PostgreSQL cuts names at 63 bytes
_EARLIER_NAME_BYTES = 40


@dataclass(frozen=True)
class Target:
    """Names and statements of one job on one table.

    Attributes:
        schema: The schema of all tables.
        table: Name of the table in service.
        column: Name of the vector column in service.
        job: The job.
        earlier: Whether the migration began when names did not tell columns apart.
        served_column: Name of the vector column in service, where ``column`` is another one.
    """

    schema: str
    table: str
    column: str
    job: Job
    earlier: bool = False
    served_column: str = ""

    @property
    def tag(self) -> str:
        """What tells this job on this column from all others."""
        if self.earlier:
            return self.job.suffix
        place = f"{self.table}\0{self.served_column or self.column}"
        return f"{self.job.suffix}_{hashlib.blake2b(place.encode(), digest_size=3).hexdigest()}"

    def name(self, ending: str = "") -> str:
        """Return a name of this job, with an ending; the target table's own name without one."""
        return f"{self._base}__{self.tag}{ending}"

    @property
    def old_name(self) -> str:
        """What the table in service is called after the cutover."""
        return f"{self._base}__old_{self.tag}"

    @property
    def _base(self) -> str:
        size = _EARLIER_NAME_BYTES if self.earlier else _NAME_BYTES
        return self.table.encode()[:size].decode(errors="ignore")

    def identifier(self, name: str) -> sql.Identifier:
        """Return a name with its schema."""
        return sql.Identifier(self.schema, name)

    @property
    def served(self) -> sql.Identifier:
        """The table in service."""
        return self.identifier(self.table)

    @property
    def target(self) -> sql.Identifier:
        """The table beside it."""
        return self.identifier(self.name())

    @property
    def log(self) -> sql.Identifier:
        """Keys of rows that the application changed."""
        return self.identifier(self.name("_log"))

    @property
    def parts(self) -> sql.Identifier:
        """Key ranges that workers take."""
        return self.identifier(self.name("_parts"))

    def provenance(self, kind: str) -> sql.Identifier:
        """Return a provenance column."""
        return sql.Identifier(f"{self.column}__{kind}")

    def trigger(self, kind: str) -> str:
        """Return the name of a trigger: ``log``, ``log_all``, ``guard`` or ``zz_stale``."""
        return f"{OWN_PREFIX.removeprefix('~') if self.earlier else OWN_PREFIX}{kind}_{self.tag}"

    def function(self, kind: str) -> sql.Identifier:
        """Return what a trigger of this table calls; other tables of the schema have their own."""
        return self.identifier(self.name(f"_{kind}"))


def listed(names: Iterable[str], prefix: LiteralString = "") -> sql.Composed:
    """Return column names separated by commas, each behind a table's short name."""
    return sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(name) for name in names)


def matched(keys: Iterable[str], left: LiteralString, right: LiteralString) -> sql.Composed:
    """Return the condition that two tables' keys are equal."""
    each = sql.SQL(left + ".{key} = " + right + ".{key}")
    return sql.SQL(" AND ").join(each.format(key=sql.Identifier(key)) for key in keys)


def row_of(keys: Sequence[str], prefix: LiteralString) -> sql.Composed:
    """Return the keys as a row value, so that rows are compared in key order."""
    return sql.SQL("({})").format(listed(keys, prefix))


def literals(values: Iterable[Any]) -> sql.Composed:
    """Return a row value of literals."""
    return sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, values)))


def vector_type(column: Column) -> sql.Composed:
    """Return the type of a vector column."""
    return sql.SQL("{}({})").format(sql.SQL("halfvec" if column.kind == "halfvec" else "vector"), column.dim)
