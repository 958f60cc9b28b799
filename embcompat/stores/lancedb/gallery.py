"""LanceDB: the converted vectors become a new column of the same table, and cutover gives it the old column's name.

Beside the vectors, four columns record where each row came from. They carry these names once they are in service, with
``vector`` the name of the column: ``vector__space`` (id of the space), ``vector__artifact`` (the artifact that
converted it; NULL for a native vector), ``vector__source`` (digest of the source row) and ``vector__digest`` (digest
of the vector itself). An application that writes native vectors of the new model sets ``vector__space`` to its id.

The column that is out of service is hidden from queries that do not name theirs; see `columns.hiding`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from tempfile import TemporaryDirectory
from typing import Any, Final, final

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.files.vectors import SPACE_KEY
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.base import GalleryStore
from embcompat.stores.growth import IndexEstimate
from embcompat.stores.keys import KeyCodec
from embcompat.stores.lancedb.columns import family, key_kind, literal, quoted, storage_type, vector_type
from embcompat.stores.lancedb.draws import draw_rows, look_up_rows, random_places
from embcompat.stores.lancedb.exchange import REQUIRED_KEY, add_target, exchange, require_vectors
from embcompat.stores.lancedb.indexes import estimate_indexes, vector_index
from embcompat.stores.lancedb.obstacles import notes_of, obstacles_of
from embcompat.stores.lancedb.rows import LanceKeys, counted, late, pages, read_pairs, read_side, rows_of, with_value
from embcompat.stores.lancedb.table import LanceTable
from embcompat.stores.lancedb.writes import ADDRESS, RowsAhead, carried
from embcompat.stores.values import Coverage, Finish, Job, Obstacle, Pairs, Rows, State, TargetRows, no_target_side

ARTIFACT_KEY: Final = b"embcompat.artifact"
_COMMIT_BYTES = 16 << 20
_HALF_TOLERANCE = 2e-3


@final
class LanceGallery(GalleryStore):
    """A vector column of a LanceDB table; see `GalleryStore`.

    Attributes:
        url: Where it is.
        batch_size: Rows of one commit: each one rewrites the rows that it touches, so commits are large.
        keeps_norms: Always.
        tolerance: Vectors are stored as the column in service stores them: float32, float16 or float64.
    """

    keeps_norms = True
    reads_texts = True
    draws_directly = True

    def __init__(self, url: str, database: Any, table: str, column: str, keys: tuple[str, ...]) -> None:
        self.url = url
        self._table, self._column = LanceTable(url, database, table), column
        schema = self._table.latest().schema
        kind = vector_type(schema, column, keys, where=url)
        self._keys = LanceKeys(keys, KeyCodec(tuple(key_kind(schema.field(name), where=url) for name in keys)))
        self.tolerance = _HALF_TOLERANCE if pa.types.is_float16(kind.value_type) else 1e-4
        stats = self._table.latest().stats()
        row_bytes = max(4 * kind.list_size, stats["total_bytes"] // max(1, stats["num_rows"]))
        self.batch_size = max(1024, _COMMIT_BYTES // row_bytes)
        self._ahead = RowsAhead()

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return int(storage_type(self._table.latest().schema.field(self._column).type).list_size)

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the names of the columns."""
        return self._state(job, self._table.latest().schema)

    def _state(self, job: Job, schema: pa.Schema) -> State:
        text = (metadata := schema.field(self._column).metadata or {}).get(SPACE_KEY)
        space = SpaceVersion.from_json(text, where=f"{self.url}: field metadata") if text is not None else None
        artifact = metadata[ARTIFACT_KEY].decode() if ARTIFACT_KEY in metadata else None
        if self._old(job) in schema.names:
            return State("cut_over", space, artifact)
        if self._target(job) in schema.names:
            return State("prepared", space, artifact)
        return State("finished" if artifact == job.artifact_id else "untouched", space, artifact)

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what the table has that a migration cannot do or cannot keep."""
        table = self._table.latest()
        return obstacles_of(table.schema, self._column, vector_index(table, self._column), job)

    def notes(self, job: Job) -> list[str]:
        """Say which clients see both columns of vectors."""
        return notes_of(self._column, job)

    def _prepare(self, job: Job) -> None:
        """Add the target column, hidden, and the provenance columns in one commit."""
        self._keys.require_unique(self._table.latest(), where=self.url)
        metadata = {SPACE_KEY: job.target.to_json().encode(), ARTIFACT_KEY: job.artifact_id.encode()}
        target, dim = self._target(job), job.target.dim
        self._table.commit(lambda table: add_target(table, self._column, target, dim, metadata))

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Read rows with a vector from a snapshot of the table; whole ones where a write is to follow."""
        table, recorded = self._table.latest(), f"{self._target(job)}__source"
        started = recorded in table.schema.names
        missing_only = missing_only and started
        self._ahead.clear()
        others = [*([recorded] if started else []), *([job.text_column] if job.text_column else [])]
        names = list(dict.fromkeys([*self._keys.names, self._column, *others]))
        whole = list(dict.fromkeys([*names, *carried(table), ADDRESS]))
        for page in pages(table, whole if missing_only else names, batch_size, null=recorded if missing_only else None):
            batch = with_value(page, self._column)
            if missing_only and batch.column(recorded).null_count < len(batch):
                batch = batch.filter(batch.column(recorded).is_null())
            if not len(batch):
                continue
            rows = rows_of(batch, self._keys, self._column, recorded if started else None, job.text_column)
            if missing_only:
                self._ahead.add(rows.ids, batch)
            yield rows

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Write the new columns of existing rows in one commit; rows that are gone are left out."""
        if not len(ids):
            return
        side = self._target_side(job) or self._target(job)
        artifact, recorded = (f"target.{quoted(f'{side}__{name}')}" for name in ("artifact", "source"))
        native = f"{recorded} IS NOT NULL AND {recorded} = source.{quoted(f'{side}__source')}"
        if side == self._column:  # in service: the application may have written a row of its own
            space = f"target.{quoted(f'{side}__space')}"
            native = (
                f"({native}) OR ({recorded} IS NULL AND {space} IS NOT NULL AND {space} = {literal(job.target.id)})"
            )
        values = {"space": pa.array([job.target.id] * len(ids)), "artifact": pa.array([job.artifact_id] * len(ids))}
        values["source"] = pa.array(digests)
        where = f"NOT ({artifact} IS NULL AND ({native}))"
        self._table.write(self._keys, side, ids, vectors, values, where=where, ahead=self._ahead.take(ids))

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Replace vectors of the target column in one commit."""
        side = self._target_side(job)
        if side is None:
            raise no_target_side(self.url)
        spaces = pa.array([job.target.id] * len(ids), pa.string())
        values = {"space": spaces, "artifact": pa.nulls(len(ids), pa.string())}
        return self._table.write(self._keys, side, ids, vectors, values, where=f"target.{quoted(side)} IS NOT NULL")

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target column of the given rows, where it says that it is of the new space."""
        table = self._table.latest()
        side = self._target_side(job, table.schema)
        if side is None:
            return TargetRows([], np.empty((0, job.target.dim), np.float32), np.empty(0, bool))
        of_space = f"{quoted(side)} IS NOT NULL AND {quoted(f'{side}__space')} = {literal(job.target.id)}"
        query = table.search().where(f"({self._keys.among(ids)}) AND {of_space}")
        return read_side(query, self._keys, side, job.target.dim)

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Clear the target of rows."""
        self._table.clear(self._target(job), self._keys.among(ids))

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        query = self._table.latest().search().where(self._keys.among(ids))
        return read_pairs(query, self._keys, *self._both_sides(job), job.text_column)

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids of rows at random places of the table."""
        table = self._table.latest()
        rows = table.count_rows()
        offsets = np.random.default_rng(seed).choice(rows, size=min(rows, 4 * count), replace=False)
        query = table.take_offsets(sorted(offsets.tolist()))
        pairs = read_pairs(query, self._keys, *self._both_sides(job), None)
        return pairs.select(~pairs.native).ids[:count]

    def draw(
        self, _job: Job, count: int | None, *, seed: int, columns: Sequence[str] = (), where: str | None = None
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Take rows at random places of the table, and nothing else of it."""
        table = self._table.latest()
        places = random_places(table, self._keys, where, seed=seed, url=self.url)
        return draw_rows(table, self._keys, self._column, places, count, columns=columns, url=self.url)

    def look_up(
        self, _job: Job, ids: Sequence[str], *, columns: Sequence[str] = ()
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Read the rows with the given keys."""
        return look_up_rows(self._table.latest(), self._keys, self._column, ids, columns=columns, url=self.url)

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides; of the column in service once that is the new one."""
        return counted(self._table.latest(), self._column, self._target_side(job), job.target.id)

    def remove_orphans(self, job: Job) -> int:
        """Clear the target of rows whose vector was set to NULL meanwhile; deleted rows took theirs along."""
        recorded = quoted(f"{self._target(job)}__source")
        orphans = f"{quoted(self._column)} IS NULL AND {recorded} IS NOT NULL"
        if count := int(self._table.latest().count_rows(orphans)):
            self._table.clear(self._target(job), orphans)
        return count

    def index_kind(self) -> str | None:
        """Return the kind of the vector column's index."""
        return self._table.index_kind(self._column)

    def target_metric(self, job: Job) -> Similarity | None:
        """Return the metric of the target column's index, once there is one."""
        return self._table.metric(self._target(job))

    def build_index(self, job: Job) -> None:
        """Build an index like the source column's on the target column; it follows the column's rename."""
        self._table.build_index_like(self._column, self._target(job), job.target.dim, job.metric)

    def estimate_indexes(self, job: Job, vectors: NDArray[np.float32]) -> list[IndexEstimate]:
        """Build an index like the source column's over samples, in a temporary folder."""
        return estimate_indexes(self._table.latest(), self._column, vectors, job.metric)

    def try_write(self, job: Job, rows: Rows, vectors: NDArray[np.float32]) -> float:
        """Write rows in a table like this one in a temporary folder."""
        table = self._table.latest()
        names = list(dict.fromkeys([*self._keys.names, self._column, *carried(table)]))
        with TemporaryDirectory() as folder:
            database = lancedb.connect(folder)
            database.create_table("trial", table.search().where(self._keys.among(rows.ids)).select(names).to_arrow())
            other = LanceGallery(self.url, database, "trial", self._column, self._keys.names)
            other._prepare(job)
            next(other.scan(job, batch_size=len(rows), missing_only=True))
            start = time.perf_counter()
            other.write(job, rows.ids, vectors, rows.digests())
            return time.perf_counter() - start

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Convert the last rows, then exchange the columns; building indexes is no part of it."""
        if self._table.unindexed:
            self._table.update_indexes()
        for rows in self.scan(job, batch_size=self.batch_size, missing_only=True):
            self.write(job, *finish(rows))
        self._ahead.clear()
        old, target = self._old(job), self._target(job)
        exchange(self._table.latest, self._column, parked=old, entering=target, where=self.url)

    def _rollback(self, job: Job) -> int:
        """Exchange the columns again."""
        old, target = self._old(job), self._target(job)
        exchange(self._table.latest, self._column, parked=target, entering=old, where=self.url)
        if REQUIRED_KEY in self._table.metadata(target):
            require_vectors(self._table.latest, self._column, where=self.url)
        column = quoted(self._column)
        return int(self._table.latest().count_rows(f"{column} IS NULL AND {quoted(target)} IS NOT NULL"))

    def leftovers(self, job: Job) -> list[str]:
        """List the target column and its provenance."""
        return [f"column {name}" for name in self._table.family(self._target(job))]

    def _abort(self, job: Job) -> None:
        """Drop the target column and its provenance in one commit."""
        self._table.drop(self._target(job))

    def _drop_old(self, job: Job) -> None:
        """Drop the old column and its provenance in one commit, once the new one refuses NULL where the old one did."""
        if REQUIRED_KEY in self._table.metadata(self._column):
            require_vectors(self._table.latest, self._column, where=self.url)
        self._table.drop(self._old(job))

    def late_rows(self, job: Job) -> Iterator[Rows]:
        """Compare each old vector with the digest of the one that the row in service was made from."""
        old, provenance = self._old(job), family(self._column)[1:]
        names = [*self._keys.names, old, *provenance, *([job.text_column] if job.text_column else [])]
        for page in pages(self._table.latest(), list(dict.fromkeys(names)), self.batch_size):
            batch = with_value(page, old)
            rows = rows_of(batch, self._keys, old, f"{self._column}__source", job.text_column)
            rows = rows.select(late(batch, rows, self._column, job.target.id))
            if len(rows):
                yield rows

    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows without provenance of the new space, and converted rows whose vector was replaced."""
        names = [self._column, *(f"{self._column}__{name}" for name in ("space", "source", "digest"))]
        for page in pages(self._table.latest(), [*self._keys.names, *names], self.batch_size):
            batch = with_value(page, self._column)
            if flagged := self._keys.changed(batch, *names, space_id=job.target.id):
                yield flagged

    def _target(self, job: Job) -> str:
        return f"{self._column}__{job.suffix}"

    def _old(self, job: Job) -> str:
        return f"{self._column}__old_{job.suffix}"

    def _target_side(self, job: Job, schema: pa.Schema | None = None) -> str | None:
        """Return the column that holds the target side; None where there is none."""
        phase = self._state(job, schema or self._table.latest().schema).phase
        return None if phase == "untouched" else self._target(job) if phase == "prepared" else self._column

    def _both_sides(self, job: Job) -> tuple[str, str]:
        """Return the columns of the old and the new vectors."""
        cut_over = self.state(job).phase == "cut_over"
        return (self._old(job), self._column) if cut_over else (self._column, self._target(job))
