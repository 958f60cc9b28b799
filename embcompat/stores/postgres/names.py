"""Names of what a migration makes in PostgreSQL, and the pieces of statements that use them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, final

from psycopg import sql

from embcompat.stores.values import Job

PROVENANCE: Final[dict[str, LiteralString]] = {
    "space": "text",
    "artifact": "text",
    "source": "bigint",
    "version": "integer",
}
"""What a migration records about each vector, and the types of these columns."""

GALLERIES: Final = "embcompat_galleries"

SPACE_FUNCTION: Final = "embcompat_space"
"""The function of a schema by which a transaction declares the spaces of the vectors that it writes."""

OWN_PREFIX: Final = "~embcompat_"
"""How the names of our triggers begin: triggers run in the order of their names, and ours must see what others do."""

_TABLE_BYTES = 30  # PostgreSQL cuts names at 63 bytes
_EARLIER_TABLE_BYTES = 40
_COLUMN_BYTES = 30  # the provenance columns' names are longer
_CUT_COLUMN_BYTES = 28


@final
@dataclass(frozen=True)
class Names:
    """Names of one job on one vector column.

    Attributes:
        schema: The schema of all tables.
        table: Name of the table in service.
        column: Name of the vector column in service.
        job: The job.
        earlier: Whether the migration began when names did not tell columns apart.
        condition: Which rows of the table the job takes, as `read_condition` gives it; all of them when empty.
    """

    schema: str
    table: str
    column: str
    job: Job
    earlier: bool = False
    condition: str = ""

    @property
    def tag(self) -> str:
        """What tells this job on this column from all others."""
        if self.earlier:
            return self.job.suffix
        place = "\0".join(filter(None, (self.table, self.column, self.condition)))
        return f"{self.job.suffix}_{hashlib.blake2b(place.encode(), digest_size=3).hexdigest()}"

    def name(self, ending: str = "") -> str:
        """Return a name of this job, with an ending; the target table's own name without one."""
        return f"{self._table_base}__{self.tag}{ending}"

    @property
    def old_table(self) -> str:
        """What the table in service is called after a cutover that swaps tables."""
        return f"{self._table_base}__old_{self.tag}"

    @property
    def new_column(self) -> str:
        """What the column is called that is filled beside the one in service."""
        base, ending = self._column_parts
        return f"{base}__{ending}"

    @property
    def old_column(self) -> str:
        """What the vector column in service is called after a cutover that swaps columns."""
        base, ending = self._column_parts
        return f"{base}__old_{ending}"

    @property
    def _table_base(self) -> str:
        return _cut(self.table, _EARLIER_TABLE_BYTES if self.earlier else _TABLE_BYTES)

    @property
    def _column_parts(self) -> tuple[str, str]:
        if len(self.column.encode()) <= _COLUMN_BYTES and not self.condition:
            return self.column, self.job.suffix
        return _cut(self.column, _COLUMN_BYTES if self.earlier else _CUT_COLUMN_BYTES), self.tag

    def rivals(self, columns: Iterable[str]) -> list[str]:
        """Return the columns that another migration of this vector column has made, if either takes a part alone."""
        bases = {re.escape(_cut(self.column, size)) for size in (_COLUMN_BYTES, _CUT_COLUMN_BYTES)}
        ending = "(_[0-9a-f]{6})?" if self.condition else "_[0-9a-f]{6}"
        pattern = re.compile(f"({'|'.join(bases)})__(old_)?[0-9a-f]{{12}}{ending}")
        return [name for name in columns if pattern.fullmatch(name) and name not in (self.new_column, self.old_column)]

    def identifier(self, name: str) -> sql.Identifier:
        """Return a name with its schema."""
        return sql.Identifier(self.schema, name)

    @property
    def log(self) -> sql.Identifier:
        """Keys of rows that the application changed."""
        return self.identifier(self.name("_log"))

    @property
    def parts(self) -> sql.Identifier:
        """Key ranges that workers take."""
        return self.identifier(self.name("_parts"))

    def trigger(self, kind: str) -> str:
        """Return the name of a trigger, constraint or index: ``log``, ``guard``, ``waiting`` and the like."""
        return f"{OWN_PREFIX.removeprefix('~') if self.earlier else OWN_PREFIX}{kind}_{self.tag}"

    def function(self, kind: str) -> sql.Identifier:
        """Return what a trigger of this table calls; other tables of the schema have their own."""
        return self.identifier(self.name(f"_{kind}"))


def part_of(column: str, condition: str) -> str:
    """Return what a part of a vector column is called in `GALLERIES`; the whole column without a condition."""
    return f"{column} WHERE {condition}" if condition else column


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


def _cut(name: str, size: int) -> str:
    return name.encode()[:size].decode(errors="ignore")
