"""LanceDB: the converted vectors become a new column of the same table, and cutover renames two columns at once.

Beside the vectors, four columns record where each row came from. They carry these names once they are in service, with
``vector`` the name of the column: ``vector__space`` (id of the space), ``vector__artifact`` (the artifact that
converted it; NULL for a native vector), ``vector__source`` (digest of the source vector) and ``vector__digest`` (digest
of the vector itself). An application that writes native vectors of the new model sets ``vector__space`` to its id.
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

from embcompat.errors import InputError, StoreError
from embcompat.files.vectors import SPACE_KEY
from embcompat.spaces import SpaceVersion
from embcompat.stores.base import GalleryStore
from embcompat.stores.digests import vector_digests
from embcompat.stores.keys import KeyCodec
from embcompat.stores.lancedb.columns import (
    PROVENANCE,
    create_index,
    family,
    key_kind,
    literal,
    quoted,
    renames,
    vectors_of,
)
from embcompat.stores.lancedb.draws import draw_rows
from embcompat.stores.lancedb.rows import LanceKeys, counted, pages, read_pairs, read_side
from embcompat.stores.lancedb.writes import ADDRESS, RowsAhead, carried, write_side
from embcompat.stores.url import StoreUrl
from embcompat.stores.values import Coverage, Finish, Job, Pairs, Rows, State, TargetRows, no_target_side

ARTIFACT_KEY: Final = b"embcompat.artifact"

_COMMIT_BYTES = 16 << 20


def open_gallery(address: StoreUrl) -> LanceGallery:
    """Open ``lancedb:///folder#table.column?key=id``; several key columns are separated by commas.

    Raises:
        InputError: If the table or a column is not there.
    """
    if len(address.names) != 2:
        raise InputError(f"a LanceDB gallery is written lancedb:///folder#table.column?key=id. Got {address.public}.")
    if not address.path.is_dir():
        raise InputError(f"there is no LanceDB folder {address.path}.")
    table, column = address.names
    database = lancedb.connect(str(address.path))
    try:
        database.open_table(table)
    except ValueError as error:
        raise InputError(f"there is no table {table!r} in {address.path}.") from error
    return LanceGallery(address.public, database, table, column, address.option("key", "id"))


@final
class LanceGallery(GalleryStore):
    """A vector column of a LanceDB table; see `GalleryStore`.

    Attributes:
        url: Where it is.
        batch_size: Rows of one commit: each one rewrites the rows that it touches, so commits are large.
        keeps_norms: Always.
        tolerance: Vectors are stored as float32.
    """

    keeps_norms = True
    tolerance = 1e-4

    def __init__(self, url: str, database: Any, table: str, column: str, keys: tuple[str, ...]) -> None:
        self.url = url
        self._database, self._name, self._column = database, table, column
        schema = self._latest().schema
        for name in (column, *keys):
            if name not in schema.names:
                raise InputError(f"{url}: there is no column {name!r}. Columns: {', '.join(schema.names)}.")
        kind = schema.field(column).type
        if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
            raise InputError(f"{url}: column {column!r} must be a fixed_size_list of floats. Got {kind}.")
        self._keys = LanceKeys(keys, KeyCodec(tuple(key_kind(schema.field(name), where=url) for name in keys)))
        stats = self._latest().stats()
        row_bytes = max(4 * kind.list_size, stats["total_bytes"] // max(1, stats["num_rows"]))
        self.batch_size = max(1024, _COMMIT_BYTES // row_bytes)
        self._ahead = RowsAhead()

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return int(self._latest().schema.field(self._column).type.list_size)

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the names of the columns."""
        schema = self._latest().schema
        metadata = schema.field(self._column).metadata or {}
        text = metadata.get(SPACE_KEY)
        space = None if text is None else SpaceVersion.from_json(text, where=f"{self.url}: field metadata")
        if self._old(job) in schema.names:
            return State("cut_over", space)
        if self._target(job) in schema.names:
            return State("prepared", space)
        finished = metadata.get(ARTIFACT_KEY) == job.artifact_id.encode()
        return State("finished" if finished else "untouched", space)

    def _prepare(self, job: Job) -> None:
        """Add the target column and the provenance columns in one commit."""
        table = self._latest()
        self._keys.require_unique(table, where=self.url)
        metadata = {SPACE_KEY: job.target.to_json().encode(), ARTIFACT_KEY: job.artifact_id.encode()}
        target = self._target(job)
        fields = [pa.field(f"{target}__{name}", kind) for name, kind in PROVENANCE.items()]
        table.add_columns([pa.field(target, pa.list_(pa.float32(), job.target.dim), metadata=metadata), *fields])

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Read rows with a vector from a snapshot of the table; whole ones where a write is to follow."""
        table, recorded = self._latest(), f"{self._target(job)}__source"
        made = recorded in table.schema.names
        missing_only = missing_only and made
        self._ahead.clear()
        names = [*self._keys.names, self._column, *([recorded] if made else [])]
        whole = list(dict.fromkeys([*names, *carried(table), ADDRESS]))
        for page in pages(table, whole if missing_only else names, batch_size, null=recorded if missing_only else None):
            batch = page.filter(page.column(self._column).is_valid())
            if missing_only:
                batch = batch.filter(batch.column(recorded).is_null())
            if not len(batch):
                continue
            digests, ids = np.zeros(len(batch), np.int64), self._keys.ids(batch)
            if made:
                digests = batch.column(recorded).fill_null(0).to_numpy(zero_copy_only=False)
            if missing_only:
                self._ahead.add(ids, batch)
            yield Rows(ids, vectors_of(batch.column(self._column)), digests)

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Write the new columns of existing rows in one commit; rows that are gone are left out."""
        target = self._target(job)
        artifact, recorded = quoted(f"{target}__artifact"), quoted(f"{target}__source")
        kept = f"target.{artifact} IS NULL AND target.{recorded} IS NOT NULL AND target.{recorded} = source.{recorded}"
        values = {"artifact": pa.array([job.artifact_id] * len(ids)), "source": pa.array(digests)}
        self._write(job, target, ids, vectors, values, where=f"NOT ({kept})", ahead=self._ahead.take(ids))

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Replace vectors of the target column in one commit."""
        side = self._target_side(job)
        if side is None:
            raise no_target_side(self.url)
        values = {"artifact": pa.nulls(len(ids), pa.string())}
        return self._write(job, side, ids, vectors, values, where=f"target.{quoted(side)} IS NOT NULL")

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target column of the given rows, where it says that it is of the new space."""
        side = self._target_side(job)
        if side is None:
            return TargetRows([], np.empty((0, job.target.dim), np.float32), np.empty(0, bool))
        said = f"{quoted(side)} IS NOT NULL AND {quoted(f'{side}__space')} = {literal(job.target.id)}"
        query = self._latest().search().where(f"({self._keys.among(ids)}) AND {said}")
        return read_side(query, self._keys, side, job.target.dim)

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Clear the target of rows."""
        self._clear(job, self._keys.among(ids))

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        query = self._latest().search().where(self._keys.among(ids))
        return read_pairs(query, self._keys, self._column, self._target(job))

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids of rows at random places of the table."""
        table = self._latest()
        rows = table.count_rows()
        offsets = np.random.default_rng(seed).choice(rows, size=min(rows, 4 * count), replace=False)
        pairs = read_pairs(table.take_offsets(sorted(offsets.tolist())), self._keys, self._column, self._target(job))
        return pairs.select(~pairs.native).ids[:count]

    def draw(
        self,
        job: Job,  # noqa: ARG002
        count: int | None,
        *,
        seed: int,
        columns: Sequence[str] = (),
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Take rows at random places of the table, and nothing else of it."""
        return draw_rows(self._latest(), self._keys, self._column, count, seed=seed, columns=columns, url=self.url)

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides; of the column in service once that is the new one."""
        return counted(self._latest(), self._column, self._target_side(job), job.target.id)

    def remove_orphans(self, job: Job) -> int:
        """Clear the target of rows whose vector was set to NULL meanwhile; deleted rows took theirs along."""
        recorded = quoted(f"{self._target(job)}__source")
        orphans = f"{quoted(self._column)} IS NULL AND {recorded} IS NOT NULL"
        count = int(self._latest().count_rows(orphans))
        if count:
            self._clear(job, orphans)
        return count

    def index_kind(self) -> str | None:
        """Return the kind of the vector column's index."""
        name = self._indexes().get(self._column)
        return None if name is None else str(self._latest().index_stats(name).index_type)

    def build_index(self, job: Job) -> None:
        """Build an index of the source column's kind on the target column; it follows the column's rename."""
        kind, table, target = self.index_kind(), self._latest(), self._target(job)
        if kind is None:
            return
        name = self._indexes().get(target)
        if name is None or table.index_stats(name).num_unindexed_rows:
            create_index(table, target, kind, job.target.similarity, where=self.url)

    def try_write(self, job: Job, rows: Rows, vectors: NDArray[np.float32]) -> float:
        """Write rows in a table like this one in a temporary folder; its index is not tried."""
        table = self._latest()
        names = list(dict.fromkeys([*self._keys.names, self._column, *carried(table)]))
        with TemporaryDirectory() as folder:
            database = lancedb.connect(folder)
            database.create_table(self._name, table.search().where(self._keys.among(rows.ids)).select(names).to_arrow())
            other = LanceGallery(self.url, database, self._name, self._column, self._keys.names)
            other.prepare(job)
            next(other.scan(job, batch_size=len(rows), missing_only=True))
            start = time.perf_counter()
            other.write(job, rows.ids, vectors, vector_digests(rows.vectors))
            return time.perf_counter() - start

    def _cutover(self, job: Job, finish: Finish) -> None:  # noqa: ARG002
        """Rename the columns of both sides in one commit."""
        self._rename({self._column: self._old(job), self._target(job): self._column})

    def _rollback(self, job: Job) -> int:
        """Rename the columns back in one commit."""
        self._rename({self._column: self._target(job), self._old(job): self._column})
        target = quoted(self._target(job))
        return int(self._latest().count_rows(f"{quoted(self._column)} IS NULL AND {target} IS NOT NULL"))

    def leftovers(self, job: Job) -> list[str]:
        """List the target column and its provenance."""
        return [f"column {name}" for name in self._family(self._target(job))]

    def _abort(self, job: Job) -> None:
        """Drop the target column and its provenance in one commit."""
        self._latest().drop_columns(self._family(self._target(job)))

    def _drop_old(self, job: Job) -> None:
        """Drop the old column and its provenance in one commit."""
        self._latest().drop_columns(self._family(self._old(job)))

    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows without provenance of the new space, and converted rows whose vector was replaced."""
        names = [self._column, *(f"{self._column}__{name}" for name in ("space", "source", "digest"))]
        for page in pages(self._latest(), [*self._keys.names, *names], self.batch_size):
            batch = page.filter(page.column(self._column).is_valid())
            if flagged := self._keys.changed(batch, *names, space_id=job.target.id):
                yield flagged

    def _latest(self) -> Any:
        return self._database.open_table(self._name)

    def _write(
        self,
        job: Job,
        side: str,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        values: dict[str, pa.Array],
        *,
        where: str,
        ahead: pa.RecordBatch | None = None,
    ) -> int:
        said = {"space": pa.array([job.target.id] * len(ids), pa.string()), **values}
        try:
            return write_side(self._latest, self._keys, side, ids, vectors, said, where=where, ahead=ahead)
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(f"{self.url}: the rows were refused: {error}") from error

    def _clear(self, job: Job, where: str) -> None:
        self._latest().update(where=where, values=dict.fromkeys(family(self._target(job))))

    def _indexes(self) -> dict[str, str]:
        return {index.columns[0]: index.name for index in self._latest().list_indices() if len(index.columns) == 1}

    def _family(self, column: str) -> list[str]:
        """Return which columns are there of a vector column and its provenance."""
        return [name for name in self._latest().schema.names if name in family(column)]

    def _target(self, job: Job) -> str:
        return f"{self._column}__{job.suffix}"

    def _old(self, job: Job) -> str:
        return f"{self._column}__old_{job.suffix}"

    def _target_side(self, job: Job) -> str | None:
        """Return the column that holds the target side; None where nothing is made."""
        phase = self.state(job).phase
        return None if phase == "untouched" else self._target(job) if phase == "prepared" else self._column

    def _rename(self, columns: dict[str, str]) -> None:
        table = self._latest()
        table.alter_columns(*renames(columns, table.schema.names))
