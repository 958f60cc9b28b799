"""A gallery in PostgreSQL whose target side is another column of the same table, which takes the vector column's name.

Besides the new column ``V__ID`` and its provenance there is, while a migration runs, ``T__ID_parts``, the key ranges
that workers take with SKIP LOCKED. A trigger empties the new column of every row whose old vector changes, so what has
to be converted is what is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import final

from psycopg import sql

from embcompat.errors import StoreError
from embcompat.stores.postgres import catalog as pg_catalog
from embcompat.stores.postgres import reader as pg_reader
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog import VectorTable, column_obstacles, find_oid
from embcompat.stores.postgres.column import rows as pg_column_rows
from embcompat.stores.postgres.column import sides as pg_column_sides
from embcompat.stores.postgres.column.sides import ColumnTarget
from embcompat.stores.postgres.copy import Column
from embcompat.stores.postgres.gallery import PgGallery, Scan, Side
from embcompat.stores.postgres.indexes import create_indexes
from embcompat.stores.postgres.staging import Written
from embcompat.stores.values import Coverage, Finish, Job, Phase


@final
class ColumnGallery(PgGallery):
    """A gallery in which another column is filled; see `GalleryStore`."""

    batch_bytes = 1 << 20  # the rows of a batch are locked until it is written

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Empty the new column of the given rows."""
        chosen = pg_reader.key_list(self._table(), self._codec.columns(ids))
        with self._writer.transaction():
            pg_column_rows.clear_rows(self._writer, self._beside(job), chosen, silent=self._silent)

    def coverage(self, job: Job) -> Coverage:
        """Count the rows with either vector."""
        side = self._target_side(job)
        return pg_column_rows.count_rows(
            self._writer, self._names(job), self._table(), None if side is None else side[0]
        )

    def copied_bytes(self) -> int:
        """Return what the old versions of all rows take until they are vacuumed; vectors kept aside are not copied."""
        return pg_catalog.heap_bytes(self._writer, self._table())

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Swap the names of both columns; writers wait while the last changed rows are converted, readers hardly."""
        table, names = self._table(), self._beside(job)
        later: list[sql.Composed] = []

        def swap() -> None:
            self._writer.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names.served))
            empty = Scan([pg_column_rows.empty_rows(names, table, pg_reader.WHOLE)])
            for rows in self._read(table, empty, self.batch_size):
                self.write(job, *finish(rows))
            pg_column_rows.settle_rows(self._writer, names, table)
            self._writer.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.served))
            pg_triggers.drop_trigger(self._writer, names, "zz_stale", names.served)
            later[:] = pg_column_sides.swap_columns(
                self._writer, names, table, incoming=names.column, parked=names.old_column
            )
            pg_column_sides.enable_other_guards(self._writer, names, on=False)
            pg_triggers.add_guard(self._writer, self._names(job), names.served, old_column=names.old_column)

        self._locked(swap)
        for statement in later:
            self._writer.execute(statement)

    def _rollback(self, job: Job) -> int:
        """Swap the names back; old vectors of rows that got a new one since the cutover are emptied."""
        table, names = self._table(), self._beside(job)
        without: list[int] = []
        later: list[sql.Composed] = []

        def swap() -> None:
            self._writer.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names.served))
            without[:] = [pg_column_rows.return_rows(self._writer, names, table, silent=self._silent)]
            self._writer.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.served))
            pg_triggers.drop_trigger(self._writer, names, "guard", names.served)
            later[:] = pg_column_sides.swap_columns(
                self._writer, names, table, incoming=names.old_column, parked=names.column
            )
            pg_column_sides.enable_other_guards(self._writer, names, on=True)
            pg_column_sides.add_stale_trigger(self._writer, names)

        self._locked(swap)
        for statement in later:
            self._writer.execute(statement)
        return without[0]

    @cached_property
    def _silent(self) -> bool:
        return pg_column_rows.may_silence(self._writer)

    def _phase(self, job: Job) -> Phase:
        names = self._beside(job)
        if any(find_oid(self._writer, self._schema, name) is not None for name in (names.name(), names.old_name)):
            raise StoreError(f"{self.url}: this migration fills a new table. Leave target=column out of the address.")
        others = self._table().others
        return "cut_over" if names.old_column in others else "prepared" if names.column in others else "untouched"

    def _hindrances(self, job: Job, table: VectorTable) -> list[str]:
        return column_obstacles(self._writer, table, fire=not self._silent, tag=self._names(job).tag)

    def _make_target(self, job: Job, table: VectorTable) -> None:
        pg_column_sides.create_column(self._writer, self._beside(job), table)

    def _sources(self, job: Job, table: VectorTable, *, missing_only: bool, claim: bool) -> Scan:
        names = self._beside(job)
        if missing_only:
            parts = pg_reader.take_parts(self._reader, names, table, claim=claim)
            return Scan(pg_column_rows.empty_rows(names, table, part) for part in parts)
        recorded = sql.SQL("CASE WHEN s.{} IS NOT NULL THEN coalesce(s.{}, 0) ELSE 0 END").format(
            sql.Identifier(names.column), names.provenance("source")
        )
        return Scan([pg_reader.every_row(names, table)], recorded)

    def _build_index(self, job: Job, table: VectorTable) -> None:
        pending = self._pending(job, table)
        pg_column_sides.drop_broken_indexes(self._writer, pending)
        create_indexes(self._writer, table, pending, job.metric, concurrently=True)

    def _write(self, job: Job, rows: Written) -> None:
        pg_column_rows.write_rows(self._writer, self._beside(job), self._table(), rows, silent=self._silent)

    def _drop_old_side(self, job: Job) -> None:
        pg_column_sides.drop_old_column(self._writer, self._beside(job), self._table())

    def leftovers(self, job: Job) -> list[str]:
        """List the new column, its provenance and the parts."""
        names = self._beside(job)
        parts = names.name("_parts")
        tables = [f"table {parts}"] if find_oid(self._writer, self._schema, parts) is not None else []
        return [f"column {name}" for name in pg_column_sides.side_columns(self._table(), names.column)] + tables

    def _drop_target_side(self, job: Job) -> None:
        pg_column_sides.drop_new_column(self._writer, self._beside(job), self._table())

    def _target_side(self, job: Job) -> Side | None:
        phase, table = self.state(job).phase, self._table()
        if phase == "untouched":
            return None
        if phase == "prepared":
            return self._beside(job), self._pending(job, table), table.identifier
        return self._names(job), table, table.identifier

    def _beside(self, job: Job) -> ColumnTarget:
        return ColumnTarget.of(self._names(job))

    def _pending(self, job: Job, table: VectorTable) -> VectorTable:
        """Return the table as if the new column were its vector column."""
        return replace(table, column=self._beside(job).column, vector=Column(table.vector.kind, job.target.dim))
