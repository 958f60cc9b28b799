"""PostgreSQL with pgvector: a new table beside the one in service, and a swap of names in one transaction.

Besides the new table ``T__ID`` there are, while a migration runs, ``T__ID_log``, in which a trigger notes the keys of
rows that the application changes, and ``T__ID_parts``, the key ranges that workers take with SKIP LOCKED. The new
table has four more columns, named after the vector column: ``vector__space``, ``vector__artifact`` (NULL for a native
vector), ``vector__source`` and ``vector__digest``. ``embcompat_galleries`` says which table is in which space.

After the cutover a trigger refuses vectors from sessions that have not said which space they write:
``SET embcompat.space = 'name@version'`` is what an application of the new model does first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, final

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from embcompat.errors import InputError, StoreError
from embcompat.stores import pg_reader, pg_target
from embcompat.stores.base import Coverage, Finish, Job, Pairs, Rows, State, TargetRows, no_target_side
from embcompat.stores.keys import KeyCodec
from embcompat.stores.pg_catalog import (
    VectorTable,
    find_oid,
    has_unique_key,
    read_table,
    refuse_obstacles,
    vector_index,
)
from embcompat.stores.pg_copy import Column
from embcompat.stores.pg_locks import with_locks
from embcompat.stores.pg_swap import carry_outgoing_keys, swap_tables
from embcompat.stores.pg_target import Target
from embcompat.stores.pg_writer import follow_rows, return_rows, settle_rows, write_native_rows, write_rows
from embcompat.stores.url import StoreUrl

_BATCH_BYTES: Final = 16 << 20


def open_gallery(address: StoreUrl) -> PgGallery:
    """Open ``postgresql://user@host/database#schema.table.column?key=a,b``.

    The schema is ``public`` and the key the primary key where they are not said.

    Raises:
        InputError: If there is no connection, or the table or a column is not there.
    """
    if len(address.names) not in (2, 3):
        form = "postgresql://user@host/database#schema.table.column?key=id"
        raise InputError(f"a PostgreSQL gallery is written {form}. Got {address.public}.")
    try:
        connections = [psycopg.connect(address.location, autocommit=True) for _ in range(2)]
    except psycopg.OperationalError as error:
        raise InputError(f"{address.public}: cannot connect: {error}") from error
    try:
        return PgGallery(address, connections[0], connections[1])
    except BaseException:
        for connection in connections:
            connection.close()
        raise


@final
class PgGallery:
    """A vector column of a PostgreSQL table; see `embcompat.stores.base.GalleryStore`.

    Attributes:
        url: Where it is, without the password.
        batch_size: Rows of one transaction.
        keeps_norms: Always.
        tolerance: Half precision where the column is a halfvec.
    """

    keeps_norms = True

    def __init__(self, address: StoreUrl, reader: psycopg.Connection[Any], writer: psycopg.Connection[Any]) -> None:
        *schema, self._name, self._column = address.names
        self.url = address.public
        self._schema = schema[0] if schema else "public"
        self._keys = address.option("key", "") if "key" in address.options else ()
        self._reader, self._writer = reader, writer
        self._marks: dict[str, int] = {}
        table = self._table()
        self._codec = KeyCodec(table.key_kinds)
        self.tolerance = 1e-4 if table.vector.kind == "vector" else 2e-3
        self.batch_size = max(500, _BATCH_BYTES // (4 * table.vector.dim))

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return self._table().vector.dim

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the names of the tables."""
        names = self._names(job)
        space, artifact = pg_target.recorded(self._writer, self._schema, self._name, self._column, where=self.url)
        if find_oid(self._writer, self._schema, names.old_name) is not None:
            return State("cut_over", space)
        if find_oid(self._writer, self._schema, names.name()) is not None:
            return State("prepared", space)
        return State("finished" if artifact == job.artifact_id else "untouched", space)

    def prepare(self, job: Job) -> None:
        """Make the target table, and note what the application changes from now on."""
        if not self.state(job).is_new(job, where=self.url):
            return
        table = self._table()
        refuse_obstacles(self._writer, table.oid, where=self.url)
        if not has_unique_key(self._writer, table):
            raise StoreError(
                f"{self.url}: a unique index must hold {', '.join(table.keys)} apart, and none may be NULL."
            )
        self._locked(lambda: pg_target.create_target(self._writer, self._names(job), table))

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:
        """Page through rows that have no target row, or through rows that the application changed."""
        table, names = self._table(), self._names(job)
        fields: list[tuple[sql.Composable, Column]] = [
            (sql.SQL("s.{}").format(sql.Identifier(table.column)), table.vector)
        ]
        if self.state(job).phase == "untouched":
            sources = iter([pg_reader.every_row(names, table)])
        elif missing_only:
            sources = pg_reader.parts_of(self._reader, names, table, claim=claim)
        else:
            fields.append((sql.SQL("m.n"), Column("int8")))
            sources = iter([pg_reader.logged_rows(names, table)])
        for source in sources:
            for keys, values in pg_reader.pages(self._reader, table, fields, source, batch_size):
                ids = self._codec.ids(keys)
                if len(values) > 1:
                    self._marks.update(zip(ids, values[1], strict=True))
                yield Rows(ids, values[0], np.zeros(len(ids), np.int64))

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Copy rows in and join them with the other columns, in one transaction."""
        marks = np.array([self._marks.get(text, 0) for text in ids], dtype=np.int64)
        try:
            write_rows(self._writer, self._names(job), self._table(), self._codec.columns(ids), vectors, digests, marks)
        except psycopg.Error as error:
            raise StoreError(f"{self.url}: the rows were refused: {error}") from error
        for text in ids:
            self._marks.pop(text, None)

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Update vectors of the table that holds the target side, in one transaction."""
        side = self._target_side(job)
        if side is None:
            raise no_target_side(self.url)
        keys = self._codec.columns(ids)
        try:
            return write_native_rows(self._writer, self._names(job), self._table(), side, keys, vectors)
        except psycopg.Error as error:
            raise StoreError(f"{self.url}: the rows were refused: {error}") from error

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target side of the given rows, where it says that it is of the new space."""
        table, names, side = self._table(), self._names(job), self._target_side(job)
        if side is None or not ids:
            return TargetRows([], np.empty((0, job.target.dim), np.float32), np.empty(0, bool))
        keys, vectors, native = pg_reader.read_side(self._writer, names, table, side, self._codec.columns(ids))
        return TargetRows(self._codec.ids(keys), vectors, native)

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Delete target rows; the cutover brings them over without a vector."""
        table, names = self._table(), self._names(job)
        chosen = pg_reader.key_list(table, self._codec.columns(ids))
        self._writer.execute(sql.SQL("DELETE FROM {} s WHERE {}").format(names.target, chosen))

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        table, names = self._table(), self._names(job)
        if not ids:
            empty = [np.empty((0, dim), np.float32) for dim in (table.vector.dim, job.target.dim)]
            return Pairs([], empty[0], empty[1], np.empty(0, bool))
        keys, source, target, native = pg_reader.read_both(self._writer, names, table, self._codec.columns(ids))
        return Pairs(self._codec.ids(keys), source, target, native)

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids from random pages of the target table."""
        return self._codec.ids(pg_reader.sample_keys(self._writer, self._names(job), self._table(), count, seed=seed))

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides."""
        return pg_reader.count_rows(self._writer, self._names(job), self._table(), phase=self.state(job).phase)

    def remove_orphans(self, job: Job) -> int:
        """Remove target rows whose source row or vector is gone, and bring over rows without a vector."""
        with self._writer.transaction():
            return follow_rows(self._writer, self._names(job), self._table())

    def index_kind(self) -> str | None:
        """Return the kind of the vector column's index."""
        found = vector_index(self._writer, self._table())
        return None if found is None else found[0]

    def build_index(self, job: Job) -> None:
        """Build an index of the same kind and options on the target table, for the new similarity."""
        table, names = self._table(), self._names(job)
        target = read_table(self._writer, self._schema, names.name(), self._column, table.keys, where=self.url)
        pg_target.create_vector_index(self._writer, table, target, job.target.similarity)

    def cutover(self, job: Job, finish: Finish) -> None:
        """Swap the names of both tables; writers wait while the last changed rows are converted, readers hardly."""
        if self.state(job).phase != "prepared":
            return
        table, names = self._table(), self._names(job)
        refuse_obstacles(self._writer, table.oid, where=self.url)
        target_oid = find_oid(self._writer, self._schema, names.name()) or 0
        self._locked(lambda: carry_outgoing_keys(self._writer, table.oid, names.target, target_oid))
        validations: list[sql.Composed] = []

        def swap() -> None:
            self._writer.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names.served))
            for rows in self.scan(job, batch_size=self.batch_size, missing_only=False):
                self.write(job, *finish(rows))
            settle_rows(self._writer, names, table)
            self._writer.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.served))
            pg_target.drop_trigger(self._writer, names, "log", names.served)
            validations[:] = swap_tables(
                self._writer, self._schema, served=self._name, incoming=names.name(), parked=names.old_name
            )
            pg_target.add_log_trigger(self._writer, names, names.served)
            pg_target.add_guard(self._writer, names, names.served)
            self._writer.execute(sql.SQL("TRUNCATE {}").format(names.log))

        self._locked(swap)
        for statement in validations:
            self._writer.execute(statement)

    def rollback(self, job: Job) -> int:
        """Swap the names back; rows that changed since the cutover follow, without their new vectors."""
        names = self._names(job)
        if self.state(job).phase != "cut_over":
            return 0
        table = self._table()
        old = read_table(self._writer, self._schema, names.old_name, self._column, table.keys, where=self.url)
        validations: list[sql.Composed] = []
        without: list[int] = []

        def swap() -> None:
            self._writer.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names.served))
            without[:] = [return_rows(self._writer, names, table, old)]
            self._writer.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.served))
            for kind in ("log", "guard"):
                pg_target.drop_trigger(self._writer, names, kind, names.served)
            validations[:] = swap_tables(
                self._writer, self._schema, served=self._name, incoming=names.old_name, parked=names.name()
            )
            pg_target.add_log_trigger(self._writer, names, names.served)
            self._writer.execute(sql.SQL("TRUNCATE {}").format(names.log))

        self._locked(swap)
        for statement in validations:
            self._writer.execute(statement)
        return without[0]

    def drop_old(self, job: Job) -> None:
        """Drop the old table and what the migration needed besides."""
        phase, names = self.state(job).phase, self._names(job)
        if phase not in ("cut_over", "finished"):
            raise StoreError(f"{self.url}: the old side is in service. Cut over before dropping it.")
        if phase == "cut_over":
            self._locked(lambda: pg_target.drop_old_side(self._writer, names))

    def sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows that got past the trigger, which refuses them as long as it is on."""
        table, names = self._table(), self._names(job)
        source = sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND s.{} IS DISTINCT FROM {}").format(
            names.served, sql.Identifier(table.column), names.provenance("space"), job.target.id
        )
        for keys, _ in pg_reader.pages(self._reader, table, [], source, 10_000):
            yield self._codec.ids(keys)

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._writer.close()

    def _table(self) -> VectorTable:
        return read_table(self._writer, self._schema, self._name, self._column, self._keys, where=self.url)

    def _names(self, job: Job) -> Target:
        return Target(self._schema, self._name, self._column, job)

    def _target_side(self, job: Job) -> sql.Identifier | None:
        """Return the table that holds the target side; None where nothing is made."""
        phase, names = self.state(job).phase, self._names(job)
        return None if phase == "untouched" else names.target if phase == "prepared" else names.served

    def _locked(self, action: Callable[[], None]) -> None:
        with_locks(self._writer, action, where=self.url)
