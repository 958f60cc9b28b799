"""A vector column of a DuckDB table as a gallery.

Converted vectors are in a table beside the one in service, which the cutover makes again with these vectors; see
`embcompat.stores.duckdb.sides` and `embcompat.stores.duckdb.swap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from embcompat.spaces import SpaceVersion
from embcompat.stores.base import GalleryStore
from embcompat.stores.duckdb import rows as duck_rows
from embcompat.stores.duckdb.catalog import Table, read_indexes, read_table, stored_bytes, table_names
from embcompat.stores.duckdb.connection import DuckFile, quoted
from embcompat.stores.duckdb.draws import converted_ids, counted_rows, draw_rows, orphaned, rows_by_id
from embcompat.stores.duckdb.obstacles import switch_notes, table_obstacles
from embcompat.stores.duckdb.sides import Sides, Standing
from embcompat.stores.duckdb.swap import hold_writers, require_filled, swap_vectors
from embcompat.stores.duckdb.sweeping import count_without_old, declared_rows, replaced_rows, strange_rows
from embcompat.stores.values import (
    Coverage,
    Finish,
    Job,
    Obstacle,
    Pairs,
    Rows,
    State,
    TargetRows,
    no_target_side,
)

_BATCH_BYTES: Final = 32 << 20


@final
class DuckGallery(GalleryStore):
    """A vector column of a DuckDB table; see `GalleryStore`.

    Args:
        url: Where it is.
        file: The file.
        table: The table and its vector column.

    Attributes:
        url: As given.
        batch_size: Rows of one write.
        keeps_norms: Always.
        tolerance: Vectors are stored as float32 or float64.
    """

    keeps_norms = True
    reads_texts = True
    draws_directly = True

    def __init__(self, url: str, file: DuckFile, table: Table) -> None:
        self.url, self.tolerance = url, 1e-4
        self._file, self._table = file, table
        self._standings: dict[str, Standing] = {}
        self.batch_size = max(1_000, _BATCH_BYTES // (4 * max(1, self.dim())))

    def dim(self) -> int:
        """Return the length of the vectors in service; that of the first one where the type leaves it open."""
        self._refresh()
        return self._dim()

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the tables beside the one in service."""
        self._refresh()
        standing = self._standing(job)
        return State(standing.phase, standing.space, standing.memo.get("artifact"))

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what would not follow a cutover; a cutover without rows is tried for that, and taken back."""
        self._refresh()
        standing = self._standing(job)
        return table_obstacles(standing.sides, read_indexes(self._file, standing.sides.table), job, standing.phase)

    def notes(self, job: Job) -> list[str]:
        """List what the switch changes for HNSW indexes, and for other threads."""
        standing = self._standing(job)
        return switch_notes(standing.sides, read_indexes(self._file, standing.sides.table))

    def _prepare(self, job: Job) -> None:
        sides = self._standing(job).sides
        with self._file.transaction():
            if (memo := sides.memo()) and sides.is_of_another_table(memo):
                sides.forget_another_table()
            sides.create(sides.target, sides.table.kind_for(job.target.dim))
        self._refresh()

    def _resume(self, job: Job) -> None:  # noqa: ARG002
        self._file.require_writable()

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Read the table at one moment, beside the converted rows."""
        standing = self._standing(job)
        yield from duck_rows.scan_rows(
            standing.sides, job, standing.phase, batch_size, dim=self._old_dim(standing, job), missing_only=missing_only
        )

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Replace rows of the table of converted vectors, in one transaction."""
        if len(ids):
            standing = self._begun(job)
            duck_rows.write_rows(standing.sides, job, standing.phase, ids, vectors, digests)
            self._look_for_provenance(standing)

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Replace converted vectors, in one transaction."""
        standing = self._begun(job)
        count = duck_rows.write_native_rows(standing.sides, job, standing.phase, ids, vectors)
        self._look_for_provenance(standing)
        return count

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read converted rows, where they say that they are of the new space."""
        standing = self._standing(job)
        if standing.phase == "untouched":
            return TargetRows([], np.empty((0, job.target.dim), np.float32), np.empty(0, bool))
        return duck_rows.read_target_rows(standing.sides, job, standing.phase, ids)

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Delete converted rows."""
        if len(ids):
            standing = self._begun(job)
            duck_rows.discard_rows(standing.sides, standing.phase, ids)

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        standing = self._begun(job)
        return duck_rows.read_pairs(standing.sides, job, standing.phase, ids, dim=self._old_dim(standing, job))

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return the converted rows with the smallest hashes of seed and key."""
        standing = self._begun(job)
        return converted_ids(standing.sides, standing.phase, job.artifact_id, count, seed=seed)

    def draw(
        self, job: Job, count: int | None, *, seed: int, columns: Sequence[str] = (), where: str | None = None
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Return the rows with the smallest hashes of seed and key; ``where`` is a condition in SQL."""
        sides = self._standing(job).sides
        return draw_rows(sides, count, dim=self._dim(), seed=seed, columns=columns, where=where)

    def look_up(
        self, job: Job, ids: Sequence[str], *, columns: Sequence[str] = ()
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Read the rows with the given keys."""
        return rows_by_id(self._standing(job).sides, ids, dim=self._dim(), columns=columns)

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides."""
        standing = self._standing(job)
        return counted_rows(standing.sides, job, standing.phase)

    def remove_orphans(self, job: Job) -> int:
        """Remove converted rows whose row is gone, or has no vector any more."""
        sides = self._standing(job).sides
        with self._file.transaction():
            return int(self._file.query(f"DELETE FROM {sides.target} t WHERE {orphaned(sides)}")[0][0])

    def copied_bytes(self) -> int:
        """Return what the second copy of the other columns takes during a cutover."""
        return stored_bytes(self._file, self._table)

    def index_kind(self) -> str | None:
        """Return the kind of the vector column's index; the cutover builds it again."""
        indexes = read_indexes(self._file, self._table)
        return "HNSW" if any(index.column == self._table.vector for index in indexes) else None

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Convert the last rows, and make the table again, in one transaction."""
        standing = self._standing(job)
        sides, indexes = standing.sides, read_indexes(self._file, standing.sides.table)
        with self._file.transaction():
            hold_writers(sides)
            self._convert_last(standing, job, finish)
            require_filled(sides, sides.target)
            swap_vectors(
                sides, indexes, incoming=sides.target, parked=sides.parked, dim=job.target.dim, metric=job.metric
            )
            options = {index.name: index.options for index in indexes if index.column == sides.table.vector}
            note = {"space": job.target.to_json(), "artifact": job.artifact_id}
            sides.set_memo({**note, "indexes": options, "before": standing.memo})
        self._refresh()
        self._file.checkpoint()

    def _convert_last(self, standing: Standing, job: Job, finish: Finish) -> None:
        """Convert the rows that changed since they were, in the transaction that is open."""
        scan = duck_rows.scan_rows(
            standing.sides, job, "prepared", self.batch_size, dim=self._dim(), missing_only=False, in_transaction=True
        )
        for rows in [rows.select(rows.digests() != rows.recorded) for rows in scan]:
            if len(rows):
                ids, vectors, digests = finish(rows)
                self.discard(job, sorted(set(rows.ids) - set(ids)))
                self.write(job, ids, vectors, digests)

    def _rollback(self, job: Job) -> int:
        """Make the table again with the old vectors; those in service wait for the next cutover."""
        standing = self._standing(job)
        sides, dim = standing.sides, self._old_dim(standing, job)
        options = standing.memo["indexes"]
        indexes = [
            replace(index, options=options.get(index.name, index.options))
            for index in read_indexes(self._file, sides.table)
        ]
        with self._file.transaction():
            hold_writers(sides)
            pages = replaced_rows(sides, dim=job.target.dim, size=self.batch_size, in_transaction=True)
            replaced = [identifier for page in pages for identifier in page]
            without = count_without_old(sides, replaced)
            require_filled(sides, sides.parked)
            swap_vectors(sides, indexes, incoming=sides.parked, parked=sides.target, dim=dim, metric=None)
            sides.set_memo(standing.memo["before"])
            if replaced:
                duck_rows.discard_rows(sides, "prepared", replaced)
        self._refresh()
        self._file.checkpoint()
        return without

    def leftovers(self, job: Job) -> list[str]:
        """Return the table of converted vectors."""
        sides = self._standing(job).sides
        return [f"table {sides.table.name_beside(sides.suffix)}"] if sides.has(sides.suffix) else []

    def _abort(self, job: Job) -> None:
        with self._file.transaction():
            self._file.query(f"DROP TABLE IF EXISTS {self._standing(job).sides.target}")
        self._refresh()
        self._file.checkpoint()

    def _drop_old(self, job: Job) -> None:
        standing = self._standing(job)
        with self._file.transaction():
            self._file.query(f"DROP TABLE {standing.sides.parked}")
            standing.sides.set_memo({**standing.memo, "before": {}})
        self._refresh()
        self._file.checkpoint()

    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows that are not of the new space, or whose vector was replaced since."""
        yield from strange_rows(self._standing(job).sides, job, size=self.batch_size)

    def written_rows(self, job: Job) -> Iterator[TargetRows]:
        """Read the vectors that applications wrote after the cutover and declared."""
        yield from declared_rows(self._standing(job).sides, job, size=self.batch_size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _refresh(self) -> None:
        """Look at the table again: a cutover may have been made meanwhile, or the application has changed it."""
        old = self._table
        self._table = read_table(self._file, old.schema, old.name, old.vector, list(old.keys), where=self.url)
        self._standings = {}

    def _dim(self) -> int:
        if self._table.dim is not None:
            return self._table.dim
        table, vector = self._table.beside(), quoted(self._table.vector)
        rows = self._file.query(f"SELECT len({vector}) FROM {table} WHERE {vector} IS NOT NULL LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def _standing(self, job: Job) -> Standing:
        """Return where the job stood when the table was last looked at."""
        if job.suffix not in self._standings:
            names = table_names(self._file, self._table.schema)
            sides = Sides(self._file, self._table, job.suffix, names)
            memo = sides.memo()
            if memo and sides.is_of_another_table(memo):
                memo = {}
            space = SpaceVersion.from_json(memo["space"], where=self.url) if memo else None
            self._standings[job.suffix] = Standing(sides, sides.phase(memo, job.artifact_id), space, memo)
        return self._standings[job.suffix]

    def _look_for_provenance(self, standing: Standing) -> None:
        if standing.phase != "prepared" and not standing.sides.has("provenance"):
            self._refresh()

    def _begun(self, job: Job) -> Standing:
        """Return where the job stands; it must have a target side."""
        standing = self._standing(job)
        if standing.phase == "untouched":
            raise no_target_side(self.url)
        return standing

    def _old_dim(self, standing: Standing, job: Job) -> int:
        return job.source.dim if standing.phase == "cut_over" else self._dim()
