"""A gallery in PostgreSQL whose target side is another column of the same table, which takes the vector column's name.

Besides the new column ``V__ID`` and its provenance there is, while a migration runs, ``T__ID_parts``, the key ranges
that workers take with SKIP LOCKED. A trigger empties the new column of every row whose old vector changes, so what has
to be converted is what is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import final

from psycopg import sql

from embcompat.errors import StoreError
from embcompat.spaces import Similarity
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog import tables as pg_tables
from embcompat.stores.postgres.catalog.indexes import attach_indexes, create_indexes, index_metric
from embcompat.stores.postgres.catalog.partitions import family, is_partitioned
from embcompat.stores.postgres.catalog.tables import VectorTable, find_oid
from embcompat.stores.postgres.column import rows as pg_rows
from embcompat.stores.postgres.column import side as pg_side
from embcompat.stores.postgres.column.following import add_part_trigger, add_stale_trigger
from embcompat.stores.postgres.column.obstacles import column_obstacles, part_obstacles
from embcompat.stores.postgres.column.swap import swap_columns
from embcompat.stores.postgres.column.waiting import create_waiting_index, drop_waiting_index
from embcompat.stores.postgres.gallery import PgGallery
from embcompat.stores.postgres.locks import CATCH_UP_PASSES
from embcompat.stores.postgres.names import Names
from embcompat.stores.postgres.rows.parts import WHOLE, Part, take_parts
from embcompat.stores.postgres.rows.reader import every_row, key_list
from embcompat.stores.postgres.rows.scan import Scan
from embcompat.stores.postgres.rows.staging import Written
from embcompat.stores.postgres.session import Session
from embcompat.stores.values import Coverage, Finish, Job, Obstacle, Phase


@final
class ColumnGallery(PgGallery):
    """A gallery in which another column is filled; see `GalleryStore`."""

    _one_table = True
    batch_bytes = 1 << 20  # the rows of a batch are locked until it is written

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Empty the new column of the given rows."""
        session = self._session(job)
        with self._writer.transaction():
            pg_rows.clear_rows(session, key_list(session.table, self._codec.columns(ids)), silent=self._silent)

    def coverage(self, job: Job) -> Coverage:
        """Count the rows with either vector."""
        session = self._session(job)
        return pg_rows.count_rows(session, self._target_side(session))

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what would not follow a cutover, and what keeps a part of a table from being migrated alone."""
        return [*super().obstacles(job), *map(Obstacle, part_obstacles(self._session(job)))]

    def notes(self, job: Job) -> list[str]:
        """List what the switch changes, and how many rows are left out."""
        session = self._session(job)
        if not session.table.condition:
            return super().notes(job)
        count = session.count(pg_rows.left_out_rows(session))
        left_out = f"{count:,} rows are left out: their vectors are copied to the new column as they are."
        return [left_out, *super().notes(job)]

    def copied_bytes(self) -> int:
        """Return what the old versions of all rows take until they are vacuumed; vectors kept aside are not copied."""
        return pg_tables.heap_bytes(self._writer, self._table())

    def target_metric(self, job: Job) -> Similarity | None:
        """Return the metric of the index of the target vectors, once there is one."""
        return index_metric(self._session(job))

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Swap the names of both columns; writers wait while the last changed rows are converted, readers hardly."""
        session = self._session(job)
        table, names = session.table, session.names
        pg_triggers.create_declaration(session)
        create_waiting_index(session)
        empty = Scan([pg_rows.empty_rows(session, WHOLE)])
        self._convert(session, empty, finish, passes=CATCH_UP_PASSES)
        later: list[sql.Composed] = []

        def swap() -> None:
            session.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table.identifier))
            self._convert(session, empty, finish)
            self._copy_left_out(session, [WHOLE])
            pg_rows.settle_rows(session)
            session.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table.identifier))
            drop_waiting_index(session)
            pg_triggers.drop_trigger(session, "zz_stale")
            later[:] = swap_columns(session, incoming=names.new_column, parked=names.old_column)
            pg_side.enable_other_guards(session, on=False)
            pg_triggers.add_guard(session, old_column=names.old_column)
            if table.condition:
                add_part_trigger(session, old_column=names.old_column)

        self._locked(swap)
        for statement in later:
            session.execute(statement)

    def _rollback(self, job: Job) -> int:
        """Swap the names back; old vectors of rows that got a new one since the cutover are emptied."""
        session = self._session(job)
        names = session.names
        without: list[int] = []
        later: list[sql.Composed] = []

        def swap() -> None:
            session.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(session.table.identifier))
            without[:] = [pg_rows.return_rows(session, silent=self._silent)]
            session.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(session.table.identifier))
            for kind in ("guard", "zz_part"):
                pg_triggers.drop_trigger(session, kind)
            later[:] = swap_columns(session, incoming=names.old_column, parked=names.new_column)
            pg_side.enable_other_guards(session, on=True)
            add_stale_trigger(session)

        self._locked(swap)
        for statement in later:
            session.execute(statement)
        return without[0]

    def _resume(self, job: Job) -> None:
        """Copy the vectors of the rows that are left out, a range of keys at a time."""
        session = replace(self._session(job), connection=self._reader)
        self._copy_left_out(session, take_parts(session, claim=False))

    def _copy_left_out(self, session: Session, parts: Iterable[Part]) -> None:
        if session.table.condition:
            for part in parts:
                pg_rows.copy_left_out(session, part, silent=self._silent)

    @cached_property
    def _silent(self) -> bool:
        return pg_rows.may_silence(self._writer)

    def _phase(self, session: Session) -> Phase:
        names, others = session.names, session.table.others
        if any(find_oid(self._writer, self._schema, name) is not None for name in (names.name(), names.old_table)):
            raise StoreError(f"{self.url}: this migration fills a new table. Leave target=column out of the address.")
        return "cut_over" if names.old_column in others else "prepared" if names.new_column in others else "untouched"

    def _hindrances(self, session: Session) -> list[str]:
        return column_obstacles(session, fire=not self._silent)

    def _make_target(self, session: Session) -> None:
        pg_side.create_column(session)

    def _sources(self, session: Session, *, missing_only: bool, claim: bool) -> Scan:
        if missing_only:
            parts = take_parts(replace(session, connection=self._reader), claim=claim)
            return Scan(pg_rows.empty_rows(session, part) for part in parts)
        target = session.target
        recorded = sql.SQL("CASE WHEN s.{} IS NOT NULL THEN coalesce(s.{}, 0) ELSE 0 END").format(
            target.vectors, target.provenance("source")
        )
        return Scan([every_row(session.table)], recorded)

    def _build_index(self, session: Session) -> None:
        for member in family(session):
            pg_side.drop_broken_indexes(member)
            if is_partitioned(member.connection, member.table):
                self._locked(partial(attach_indexes, member), readers=False)
            else:
                create_indexes(member, concurrently=True)

    def _write(self, session: Session, rows: Written) -> None:
        pg_rows.write_rows(session, rows, silent=self._silent)

    def _drop_old_side(self, session: Session) -> None:
        pg_side.drop_old_column(session)

    def leftovers(self, job: Job) -> list[str]:
        """List the new column, its provenance and the parts."""
        session = self._session(job)
        parts = session.names.name("_parts")
        tables = [f"table {parts}"] if find_oid(self._writer, self._schema, parts) is not None else []
        return [f"column {name}" for name in pg_side.side_columns(session, session.target.column)] + tables

    def _drop_target_side(self, session: Session) -> None:
        pg_side.drop_new_column(session)

    def _beside(self, names: Names, table: VectorTable) -> VectorTable:
        return replace(table, column=names.new_column, vector=self._target_vector(table, names.job))
