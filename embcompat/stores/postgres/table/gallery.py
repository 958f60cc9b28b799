"""A gallery in PostgreSQL whose target side is another table, which takes the name of the one in service.

Besides the new table ``T__ID`` there are, while a migration runs, ``T__ID_log``, in which a trigger notes the keys of
rows that the application changes, and ``T__ID_parts``, the key ranges that workers take with SKIP LOCKED.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from psycopg import sql

from embcompat.errors import StoreError
from embcompat.stores.postgres import catalog as pg_catalog
from embcompat.stores.postgres import reader as pg_reader
from embcompat.stores.postgres import target as pg_target
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog import VectorTable, find_oid, read_table, swap_obstacles
from embcompat.stores.postgres.column.sides import ColumnTarget
from embcompat.stores.postgres.gallery import PgGallery, Scan, Side
from embcompat.stores.postgres.indexes import create_indexes
from embcompat.stores.postgres.names import matched
from embcompat.stores.postgres.staging import Written, probe_by_key
from embcompat.stores.postgres.table.changes import follow_rows, return_rows, settle_changes, settle_rows
from embcompat.stores.postgres.table.definitions import carry_columns, require_alike
from embcompat.stores.postgres.table.swap import swap_tables
from embcompat.stores.postgres.writer import write_rows
from embcompat.stores.values import Coverage, Finish, Job, Phase


@final
class TableGallery(PgGallery):
    """A gallery beside which another table is filled; see `GalleryStore`."""

    batch_bytes = 16 << 20
    _way_out = "Add ?target=column to the address: a new column of the same table keeps what hangs on the table."

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Delete target rows; the cutover brings them over without a vector."""
        table, names = self._table(), self._names(job)
        chosen = pg_reader.key_list(table, self._codec.columns(ids))
        self._writer.execute(sql.SQL("DELETE FROM {} s WHERE {}").format(names.target, chosen))

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides."""
        return pg_reader.count_rows(self._writer, self._names(job), self._table(), phase=self.state(job).phase)

    def copied_bytes(self) -> int:
        """Return what a copy of everything but the vectors takes, the indexes included."""
        table = self._table()
        return max(0, pg_catalog.total_bytes(self._writer, table) - pg_catalog.vector_bytes(self._writer, table))

    def remove_orphans(self, job: Job) -> int:
        """Remove target rows whose source row or vector is gone, and bring over rows without a vector."""
        with self._writer.transaction():
            return follow_rows(self._writer, self._names(job), self._table())

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Swap the names of both tables; writers wait while the last changed rows are converted, readers hardly."""
        table, names = self._table(), self._names(job)
        target = find_oid(self._writer, self._schema, names.name()) or 0
        require_alike(self._writer, names, table.oid, target, where=self.url)
        with self._writer.transaction():
            settle_rows(self._writer, names, table)
        self._writer.execute(sql.SQL("ANALYZE {}").format(names.target))  # or the first queries are planned blindly
        validations: list[sql.Composed] = []

        def swap() -> None:
            self._writer.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names.served))
            require_alike(self._writer, names, table.oid, target, where=self.url)
            probe_by_key(self._writer.cursor())
            for rows in self._read(table, self._changed(job, table), self.batch_size):
                self.write(job, *finish(rows))
            settle_changes(self._writer, names, table)
            self._writer.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.served))
            pg_triggers.drop_log_triggers(self._writer, names, names.served)
            validations[:] = swap_tables(
                self._writer, self._schema, served=self._name, incoming=names.name(), parked=names.old_name
            )
            pg_triggers.create_log_function(self._writer, names, table.keys, parked=True)
            pg_triggers.add_log_triggers(self._writer, names, names.served)
            pg_triggers.add_guard(self._writer, names, names.served)
            self._writer.execute(sql.SQL("TRUNCATE {}").format(names.log))

        self._locked(swap)
        for statement in validations:
            self._writer.execute(statement)

    def _rollback(self, job: Job) -> int:
        """Swap the names back; rows that changed since the cutover follow, without their new vectors."""
        names = self._names(job)
        table = self._table()
        parked = find_oid(self._writer, self._schema, names.old_name) or 0
        self._locked(lambda: carry_columns(self._writer, names, table.oid, parked, table.keys))
        old = read_table(self._writer, self._schema, names.old_name, self._column, table.keys, where=self.url)
        validations: list[sql.Composed] = []
        without: list[int] = []

        def swap() -> None:
            self._writer.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names.served))
            require_alike(self._writer, names, table.oid, parked, where=self.url)
            without[:] = [return_rows(self._writer, names, table, old)]
            self._writer.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.served))
            pg_triggers.drop_log_triggers(self._writer, names, names.served)
            pg_triggers.drop_trigger(self._writer, names, "guard", names.served)
            validations[:] = swap_tables(
                self._writer, self._schema, served=self._name, incoming=names.old_name, parked=names.name()
            )
            pg_triggers.create_log_function(self._writer, names, table.keys, parked=False)
            pg_triggers.add_log_triggers(self._writer, names, names.served)
            self._writer.execute(sql.SQL("TRUNCATE {}").format(names.log))

        self._locked(swap)
        for statement in validations:
            self._writer.execute(statement)
        return without[0]

    def _phase(self, job: Job) -> Phase:
        names = self._names(job)
        columns = ColumnTarget.of(names)
        if {columns.column, columns.old_column}.intersection(self._table().others):
            raise StoreError(f"{self.url}: this migration fills a new column. Add ?target=column to the address.")
        if find_oid(self._writer, self._schema, names.old_name) is not None:
            return "cut_over"
        return "untouched" if find_oid(self._writer, self._schema, names.name()) is None else "prepared"

    def _hindrances(self, job: Job, table: VectorTable) -> list[str]:
        return swap_obstacles(self._writer, table.oid, tag=self._names(job).tag)

    def _make_target(self, job: Job, table: VectorTable) -> None:
        pg_target.create_target(self._writer, self._names(job), table)

    def _sources(self, job: Job, table: VectorTable, *, missing_only: bool, claim: bool) -> Scan:
        names = self._names(job)
        target = find_oid(self._writer, self._schema, names.name()) or 0
        self._locked(lambda: carry_columns(self._writer, names, table.oid, target, table.keys))
        if missing_only:
            parts = pg_reader.take_parts(self._reader, names, table, claim=claim)
            return Scan(pg_reader.missing_rows(self._reader, names, table, part) for part in parts)
        for written in (names.target, names.log):  # or the comparison is planned blindly
            self._writer.execute(sql.SQL("ANALYZE {}").format(written))
        recorded = sql.SQL("CASE WHEN m.n IS NULL AND t.{} IS NOT NULL THEN coalesce(t.{}, 0) ELSE 0 END").format(
            sql.Identifier(table.column), names.provenance("source")
        )
        return Scan([pg_reader.compared_rows(names, table)], recorded, sql.SQL("coalesce(m.n, 0)"))

    def _changed(self, job: Job, table: VectorTable) -> Scan:
        """Return the rows that the log mentions."""
        return Scan([pg_reader.logged_rows(self._names(job), table)], change=sql.SQL("m.n"))

    def _unchanged(self, job: Job, table: VectorTable) -> sql.Composable:
        names = self._names(job)
        return sql.SQL(" AND NOT EXISTS (SELECT 1 FROM {} l WHERE {})").format(names.log, matched(table.keys, "l", "s"))

    def _build_index(self, job: Job, table: VectorTable) -> None:
        name = self._names(job).name()
        target = read_table(self._writer, self._schema, name, self._column, table.keys, where=self.url)
        create_indexes(self._writer, table, target, job.metric)

    def _write(self, job: Job, rows: Written) -> None:
        write_rows(self._writer, self._names(job), self._table(), rows)

    def _drop_old_side(self, job: Job) -> None:
        pg_target.drop_old_side(self._writer, self._names(job))

    def leftovers(self, job: Job) -> list[str]:
        """List the target table, the log and the parts."""
        names = self._names(job)
        tables = [names.name(), names.name("_log"), names.name("_parts")]
        return [f"table {name}" for name in tables if find_oid(self._writer, self._schema, name) is not None]

    def _drop_target_side(self, job: Job) -> None:
        pg_target.drop_target_side(self._writer, self._names(job))

    def _target_side(self, job: Job) -> Side | None:
        phase, names = self.state(job).phase, self._names(job)
        if phase == "untouched":
            return None
        return names, self._table(), names.target if phase == "prepared" else names.served
