"""A gallery in PostgreSQL whose target side is another table, which takes the name of the one in service.

Besides the new table ``T__ID`` there are, while a migration runs, ``T__ID_log``, in which a trigger notes the keys of
rows that the application changes, and ``T__ID_parts``, the key ranges that workers take with SKIP LOCKED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

from psycopg import sql

from embcompat.errors import StoreError
from embcompat.spaces import Similarity
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog import tables as pg_tables
from embcompat.stores.postgres.catalog.indexes import create_indexes, index_metric
from embcompat.stores.postgres.catalog.tables import VectorTable, find_oid, read_table
from embcompat.stores.postgres.gallery import PgGallery
from embcompat.stores.postgres.locks import CATCH_UP_PASSES
from embcompat.stores.postgres.names import Names, matched
from embcompat.stores.postgres.rows.parts import take_parts
from embcompat.stores.postgres.rows.reader import key_list
from embcompat.stores.postgres.rows.scan import Scan
from embcompat.stores.postgres.rows.staging import Written, probe_by_key
from embcompat.stores.postgres.session import Session
from embcompat.stores.postgres.table import rows as pg_rows
from embcompat.stores.postgres.table import side as pg_side
from embcompat.stores.postgres.table.changes import return_rows, settle_changes, settle_rows
from embcompat.stores.postgres.table.definitions import alterations, carry_columns, require_alike
from embcompat.stores.postgres.table.obstacles import swap_obstacles
from embcompat.stores.postgres.table.swap import swap_tables
from embcompat.stores.postgres.table.writer import write_rows
from embcompat.stores.values import Coverage, Finish, Job, Obstacle, Phase


@final
class TableGallery(PgGallery):
    """A gallery beside which another table is filled; see `GalleryStore`."""

    batch_bytes = 8 << 20
    _one_table = False
    _way_out = "Add ?target=column to the address: a new column of the same table keeps what hangs on the table."

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what would not follow a cutover, and what was altered since the target table was made."""
        obstacles = super().obstacles(job)
        session = self._session(job)
        if self._phase(session) == "prepared" and (text := alterations(session, session.target, carried=True)):
            obstacles.append(Obstacle(f"{text[0].upper()}{text[1:]}"))
        return obstacles

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Delete target rows; the cutover brings them over without a vector."""
        session = self._session(job)
        chosen = key_list(session.table, self._codec.columns(ids))
        session.execute(sql.SQL("DELETE FROM {} s WHERE {}").format(session.target.identifier, chosen))

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides."""
        session = self._session(job)
        return pg_rows.count_rows(session, phase=self._state(session).phase)

    def copied_bytes(self) -> int:
        """Return what a copy of everything but the vectors takes, the indexes included."""
        table = self._table()
        return max(0, pg_tables.total_bytes(self._writer, table) - pg_tables.vector_bytes(self._writer, table))

    def target_metric(self, job: Job) -> Similarity | None:
        """Return the metric of the index of the target vectors, once there is one."""
        return index_metric(self._session(job))

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Swap the names of both tables; writers wait while the last changed rows are converted, readers hardly."""
        session = self._session(job)
        table, target = session.table, session.target
        pg_triggers.create_declaration(session)
        require_alike(session, target)
        with self._writer.transaction():
            settle_rows(session)
        pg_side.analyze_target(session)
        self._convert(session, self._changed(session), finish, passes=CATCH_UP_PASSES)
        validations: list[sql.Composed] = []

        def swap() -> None:
            session.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table.identifier))
            require_alike(session, target)
            probe_by_key(session)
            self._convert(session, self._changed(session), finish)
            settle_changes(session)
            session.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table.identifier))
            pg_triggers.drop_log_triggers(session)
            validations[:] = swap_tables(session, incoming=target, parked=session.names.old_table)
            pg_triggers.create_log_function(session, parked=True)
            pg_triggers.add_log_triggers(session)
            pg_triggers.add_guard(session)
            session.execute(sql.SQL("TRUNCATE {}").format(session.names.log))

        self._locked(swap)
        for statement in validations:
            session.execute(statement)

    def _rollback(self, job: Job) -> int:
        """Swap the names back; rows that changed since the cutover follow, without their new vectors."""
        session = self._session(job)
        with self._writer.transaction():
            carry_columns(session, self._parked(session))
        parked = self._parked(session)
        validations: list[sql.Composed] = []
        without: list[int] = []

        def swap() -> None:
            session.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(session.table.identifier))
            require_alike(session, parked)
            without[:] = [return_rows(session, parked)]
            session.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(session.table.identifier))
            pg_triggers.drop_log_triggers(session)
            pg_triggers.drop_trigger(session, "guard")
            validations[:] = swap_tables(session, incoming=parked, parked=session.names.name())
            pg_triggers.create_log_function(session, parked=False)
            pg_triggers.add_log_triggers(session)
            session.execute(sql.SQL("TRUNCATE {}").format(session.names.log))

        self._locked(swap)
        for statement in validations:
            session.execute(statement)
        return without[0]

    def _phase(self, session: Session) -> Phase:
        names = session.names
        if {names.new_column, names.old_column}.intersection(session.table.others):
            raise StoreError(f"{self.url}: this migration fills a new column. Add ?target=column to the address.")
        if find_oid(self._writer, self._schema, names.old_table) is not None:
            return "cut_over"
        return "untouched" if find_oid(self._writer, self._schema, names.name()) is None else "prepared"

    def _hindrances(self, session: Session) -> list[str]:
        return swap_obstacles(session)

    def _make_target(self, session: Session) -> None:
        pg_side.create_target(session)

    def _sources(self, session: Session, *, missing_only: bool, claim: bool) -> Scan:
        with self._writer.transaction():
            carry_columns(session, session.target)
        reading = replace(session, connection=self._reader)
        if missing_only:
            return Scan(pg_rows.missing_rows(reading, part) for part in take_parts(reading, claim=claim))
        recorded = sql.SQL("CASE WHEN m.n IS NULL THEN coalesce(t.source, 0) ELSE 0 END")
        parts = take_parts(reading, claim=False)
        return Scan((pg_rows.compared_rows(reading, part) for part in parts), recorded, sql.SQL("coalesce(m.n, 0)"))

    def _changed(self, session: Session) -> Scan:
        """Return the rows that the log mentions."""
        return Scan([pg_rows.logged_rows(session)], change=sql.SQL("m.n"))

    def _unchanged(self, session: Session) -> sql.Composable:
        return sql.SQL(" AND NOT EXISTS (SELECT 1 FROM {} l WHERE {})").format(
            session.names.log, matched(session.keys, "l", "s")
        )

    def _build_index(self, session: Session) -> None:
        create_indexes(session, concurrently=False)

    def _write(self, session: Session, rows: Written) -> None:
        write_rows(session, rows)

    def _drop_old_side(self, session: Session) -> None:
        pg_side.drop_old_side(session, self._parked(session))

    def leftovers(self, job: Job) -> list[str]:
        """List the target table, the log and the parts."""
        names = self._session(job).names
        tables = [names.name(), names.name("_log"), names.name("_parts")]
        return [f"table {name}" for name in tables if find_oid(self._writer, self._schema, name) is not None]

    def _drop_target_side(self, session: Session) -> None:
        pg_side.drop_target_side(session)

    def _beside(self, names: Names, table: VectorTable) -> VectorTable:
        oid = find_oid(self._writer, self._schema, names.name()) or 0
        return replace(table, name=names.name(), oid=oid, vector=self._target_vector(table, names.job))

    def _parked(self, session: Session) -> VectorTable:
        """Return the table that was in service before the cutover."""
        name = session.names.old_table
        dim = session.job.source.dim
        return read_table(self._writer, self._schema, name, self._column, session.keys, where=self.url, empty_dim=dim)
