"""What galleries in PostgreSQL have in common, wherever their target side is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from embcompat.stores.base import GalleryStore
from embcompat.stores.growth import IndexEstimate
from embcompat.stores.keys import KeyCodec
from embcompat.stores.postgres import spaces as pg_spaces
from embcompat.stores.postgres.catalog.conditions import read_condition
from embcompat.stores.postgres.catalog.indexes import build_status
from embcompat.stores.postgres.catalog.notes import switch_notes
from embcompat.stores.postgres.catalog.obstacles import common_obstacles, require_every_row
from embcompat.stores.postgres.catalog.partitions import family_index_kind
from embcompat.stores.postgres.catalog.tables import VectorTable, read_table
from embcompat.stores.postgres.connection import speak_in_our_words
from embcompat.stores.postgres.locks import one_at_a_time, with_locks
from embcompat.stores.postgres.names import Names
from embcompat.stores.postgres.rows import reader as pg_reader
from embcompat.stores.postgres.rows.copy import Column, Kind
from embcompat.stores.postgres.rows.draws import draw_keys, read_drawn
from embcompat.stores.postgres.rows.scan import Scan
from embcompat.stores.postgres.rows.staging import Written, write_native_rows
from embcompat.stores.postgres.rows.targets import TargetReader
from embcompat.stores.postgres.rows.versions import Versions
from embcompat.stores.postgres.session import Session
from embcompat.stores.postgres.trials import estimate_indexes
from embcompat.stores.url import StoreUrl
from embcompat.stores.values import Finish, Job, Obstacle, Pairs, Phase, Rows, State, TargetRows, no_target_side


class PgGallery(GalleryStore):
    """A vector column of a PostgreSQL table; see `GalleryStore`.

    Attributes:
        url: Where it is, without the password.
        batch_size: Rows of one transaction.
        keeps_norms: Always.
        tolerance: Half precision where the column is a halfvec.
    """

    keeps_norms = True
    draws_directly = True
    reads_texts = True
    batch_bytes: ClassVar[int]
    _one_table: ClassVar[bool]
    """Whether both sides are columns of one table."""
    _way_out: ClassVar[str] = ""
    """What to do about obstacles, where there is another way."""

    def __init_subclass__(cls) -> None:
        """Let every method of a gallery, and every hook that a verb of the base calls, raise our own errors."""
        super().__init_subclass__()
        speak_in_our_words(cls)

    def __init__(self, address: StoreUrl, reader: psycopg.Connection[Any], writer: psycopg.Connection[Any]) -> None:
        *schema, self._name, self._column = address.names
        self.url = address.public
        self._schema = schema[0] if schema else "public"
        self._place = (self._schema, self._name, self._column)
        self._keys = address.option("key", "") if "key" in address.options else ()
        self._reader, self._writer = reader, writer
        self._versions = Versions()
        self._kind = cast(Kind | None, address.options.get("type"))
        self._condition = read_condition(writer, *self._place, address.options.get("where"), where=self.url)
        table = self._table()
        require_every_row(writer, table, where=self.url)
        self._codec = KeyCodec(table.key_kinds)
        self._targets = TargetReader(self._codec, self._find_target)
        self.tolerance = 2e-3 if "halfvec" in (table.vector.kind, self._kind) else 1e-4
        self.batch_size = max(500, self.batch_bytes // (4 * max(1, table.vector.dim)))

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return self._table().vector.dim

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the names of tables and columns."""
        return self._state(self._session(job))

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what would not follow a cutover, and a missing unique index on the key."""
        session = self._session(job)
        obstacles = [Obstacle(f"In the way of a migration: {phrase}.") for phrase in self._hindrances(session)]
        obstacles += [Obstacle(self._way_out)] if obstacles and self._way_out else []
        return obstacles + common_obstacles(session, untouched=self._state(session).phase == "untouched")

    def notes(self, job: Job) -> list[str]:
        """List what the switch changes for prepared statements, statements without names of columns, and functions."""
        return switch_notes(self._session(job), one_table=self._one_table)

    def _prepare(self, job: Job) -> None:
        """Make the target side, and follow what the application changes from now on."""
        self._locked(partial(self._make_target, self._session(job)), readers=self._one_table)

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:
        """Page through rows that have no target vector, or that the application changed."""
        session = self._session(job)
        if self._state(session).phase == "untouched":
            scan = Scan([pg_reader.every_row(session.table)])
        else:
            scan = self._sources(session, missing_only=missing_only, claim=claim)
        yield from self._read(session, scan, batch_size)

    def _read(self, session: Session, scan: Scan, batch_size: int) -> Iterator[Rows]:
        """Page through rows, and note which version of each was read until the pages behind it are written."""
        table, number = session.table, Column("int8")
        fields: list[tuple[sql.Composable, Column]] = [
            (table.vector_of("s"), table.vector),
            (sql.SQL("s.xmin"), Column("xid")),
            *((expression, number) for expression in (scan.recorded, scan.change) if expression is not None),
            *pg_reader.text_fields(session.job, "s"),
        ]
        self._versions.clear()
        for piece in scan.pieces:
            pages = pg_reader.pages(self._reader, table, fields, piece, batch_size)
            for keys, (vectors, versions, *others) in pages:
                ids, none = self._codec.ids(keys), np.zeros(len(vectors), np.int64)
                recorded = none if scan.recorded is None else others.pop(0)
                self._versions.add(ids, versions, none if scan.change is None else others.pop(0))
                yield Rows(ids, vectors, recorded, *others)

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Copy rows in and join them with those that are there, in one transaction."""
        if not ids:
            return
        versions, changes = self._versions.of(ids)
        self._write(self._session(job), Written(self._codec.columns(ids), vectors, digests, versions, changes))
        self._versions.discard(ids)

    def _convert(self, session: Session, scan: Scan, finish: Finish, *, passes: int = 1) -> None:
        """Convert the rows of a scan; with more passes, those again that changed during the one before."""
        for _ in range(passes):
            for rows in self._read(session, scan, self.batch_size):
                self.write(session.job, *finish(rows))

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Update vectors of the target side, in one transaction."""
        session = self._session(job)
        if (side := self._target_side(session)) is None:
            raise no_target_side(self.url)
        return write_native_rows(session, side, self._codec.columns(ids), vectors)

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target side of the given rows, where it says that it is of the new space."""
        return self._targets.read(job, ids)

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        session = self._session(job)
        if not ids:
            empty = [np.empty((0, side.vector.dim), np.float32) for side in (session.table, session.target)]
            return Pairs([], empty[0], empty[1], np.empty(0, bool))
        keys, source, target, native, texts = pg_reader.read_both(
            session, self._codec.columns(ids), unchanged=self._unchanged(session)
        )
        return Pairs(self._codec.ids(keys), source, target, native, texts)

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids from random pages of the table that holds the target side."""
        return self._codec.ids(pg_reader.sample_keys(self._session(job), count, seed=seed))

    def draw(
        self, job: Job, count: int | None, *, seed: int, columns: Sequence[str] = (), where: str | None = None
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Choose keys first, on random pages of a large table, and read the vectors of the chosen rows alone."""
        session = replace(self._session(job), connection=self._reader)
        return read_drawn(session, draw_keys(session, count, seed=seed, where=where), columns, self._codec)

    def look_up(
        self, job: Job, ids: Sequence[str], *, columns: Sequence[str] = ()
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Read the rows with the given keys."""
        session = replace(self._session(job), connection=self._reader)
        return read_drawn(session, self._codec.columns(ids), columns, self._codec)

    def stored(self, job: Job, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Round to half precision where the target side is a halfvec."""
        return self._session(job).target.vector.rounded(vectors)

    def index_kind(self) -> str | None:
        """Return the kind of the vector column's index."""
        return family_index_kind(self._writer, self._table(), of_column=self._one_table)

    def estimate_indexes(self, job: Job, vectors: NDArray[np.float32]) -> list[IndexEstimate]:
        """Build each index over samples in temporary tables, of which nothing stays."""
        return estimate_indexes(self._session(job), vectors, of_column=self._one_table)

    def index_status(self) -> str | None:
        """Ask the server for the phase of the build."""
        return build_status(self._reader, self._writer.info.backend_pid)

    def build_index(self, job: Job) -> None:
        """Build an index of the same kind and options on the target vectors, for the new similarity."""
        with one_at_a_time(self._writer, f"{self._schema}.{self._name}.{job.artifact_id}"):
            self._build_index(self._session(job))

    def _drop_old(self, job: Job) -> None:
        """Drop the old side and what the migration needed besides."""
        self._locked(partial(self._drop_old_side, self._session(job)))

    def _abort(self, job: Job) -> None:
        """Drop the target side, its triggers and what the migration needed besides."""
        self._locked(partial(self._drop_target_side, self._session(job)))

    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows that got past the trigger, which refuses them as long as it is on."""
        yield from map(self._codec.ids, pg_reader.unknown_pages(self._reader, self._session(job).table, job.target.id))

    def written_rows(self, job: Job) -> Iterator[TargetRows]:
        """Read the vectors that applications wrote after the cutover: those without a record of an old vector."""
        table = self._session(job).table
        for keys, vectors in pg_reader.written_pages(self._reader, table, job.target.id):
            yield TargetRows(self._codec.ids(keys), vectors, np.ones(len(vectors), bool))

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._writer.close()

    @abstractmethod
    def _phase(self, session: Session) -> Phase:
        """Return how far the job is by what stands beside the source; after `drop_old` nothing does."""

    @abstractmethod
    def _hindrances(self, session: Session) -> list[str]:
        """List what stands in the way of a cutover, one phrase each."""

    @abstractmethod
    def _make_target(self, session: Session) -> None:
        """Make the target side, in the transaction that is open."""

    @abstractmethod
    def _sources(self, session: Session, *, missing_only: bool, claim: bool) -> Scan:
        """Return where the rows of a scan are found."""

    def _unchanged(self, session: Session) -> sql.Composable:  # noqa: ARG002
        """Return a condition that leaves out rows ``s`` whose target is known to be out of date."""
        return sql.SQL("")

    @abstractmethod
    def _build_index(self, session: Session) -> None:
        """Build the index of the target vectors, unless it is there."""

    @abstractmethod
    def _write(self, session: Session, rows: Written) -> None:
        """Write target rows in one transaction."""

    @abstractmethod
    def _drop_old_side(self, session: Session) -> None:
        """Drop the old side, in the transaction that is open."""

    @abstractmethod
    def _drop_target_side(self, session: Session) -> None:
        """Drop the target side before the cutover, in the transaction that is open."""

    @abstractmethod
    def _beside(self, names: Names, table: VectorTable) -> VectorTable:
        """Return the table and column that the job fills beside the one in service."""

    def _target_vector(self, table: VectorTable, job: Job) -> Column:
        """Return kind and length of the target vectors."""
        return Column(self._kind or table.vector.kind, job.target.dim)

    def _table(self, empty_dim: int | None = None) -> VectorTable:
        options: dict[str, Any] = {"where": self.url, "empty_dim": empty_dim, "condition": self._condition}
        return read_table(self._writer, *self._place, self._keys, **options)

    def _session(self, job: Job) -> Session:
        table = self._table(job.source.dim if self._condition else None)
        names = Names(*self._place, job, earlier=True, condition=self._condition)
        if not pg_spaces.belongs(self._writer, names):
            names = replace(names, earlier=False)
        return Session(self._writer, names, table, self._beside(names, table), self.url)

    def _find_target(self, job: Job) -> tuple[Session, VectorTable | None]:
        return (session := self._session(job)), self._target_side(session)

    def _target_side(self, session: Session) -> VectorTable | None:
        """Return where the target vectors are; None where nothing is made."""
        return {"untouched": None, "prepared": session.target}.get(self._state(session).phase, session.table)

    def _state(self, session: Session) -> State:
        space, artifact = pg_spaces.recorded(self._writer, *self._place, self._condition, where=self.url)
        phase = self._phase(session)
        return State("finished" if phase == "untouched" and artifact == session.job.artifact_id else phase, space)

    def _locked(self, action: Callable[[], None], *, readers: bool = True) -> None:
        table = sql.Identifier(self._schema, self._name)
        with_locks(self._writer, action, table=table, readers=readers, wait=self.lock_wait, where=self.url)
