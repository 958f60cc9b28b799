"""A connection that works on one migration of one vector column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, final

from psycopg import Connection, Cursor, sql

from embcompat.errors import StoreError
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.names import Names
from embcompat.stores.values import Job


@final
@dataclass(frozen=True)
class Session:
    """All that a statement of a migration needs to know.

    Attributes:
        connection: The connection.
        names: Names of what the job makes.
        table: The table in service, with its vector column.
        target: The vectors beside it: another table, or the same table with the other column for its vector column.
        where: What to call the gallery in errors.
    """

    connection: Connection[Any]
    names: Names
    table: VectorTable
    target: VectorTable
    where: str

    @property
    def job(self) -> Job:
        """The job."""
        return self.names.job

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return self.table.keys

    def execute(
        self, query: LiteralString | sql.SQL | sql.Composed, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> Cursor[Any]:
        """Run a statement, in the transaction that is open if there is one."""
        return self.connection.execute(query, parameters)

    def text(self, part: sql.Composable) -> str:
        """Return a piece of a statement as the server reads it."""
        return part.as_string(self.connection)

    def count(self, source: sql.Composable) -> int:
        """Count rows; ``source`` is FROM and WHERE."""
        row = self.execute(sql.SQL("SELECT count(*) {}").format(source)).fetchone()
        return int(row[0]) if row is not None else 0

    def exists(self, source: sql.Composable) -> bool:
        """Return whether there is a row; ``source`` is FROM and WHERE."""
        return self.execute(sql.SQL("SELECT 1 {} LIMIT 1").format(source)).fetchone() is not None

    def unconverted(self, count: int) -> StoreError:
        """Return the error of a cutover that would leave vectors empty that may not be."""
        return StoreError(
            f"{count} rows could not be converted, and column {self.table.column!r} may not be NULL. "
            "Repair or delete these rows, or allow NULL."
        )

    def without_old(self, count: int) -> StoreError:
        """Return the error of a rollback that would leave vectors empty that may not be."""
        return StoreError(
            f"{count} rows came in after the cutover and have no old vector, and the old column {self.table.column!r} "
            "may not be NULL. Allow NULL there, or embed these rows with the old model."
        )
