"""Convert every row of a gallery that the store reports missing, until none is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

import numpy as np

from embcompat.embeddings import normalize_rows
from embcompat.errors import MigrationError
from embcompat.evaluation.chance import require_better_than_chance
from embcompat.migration.checks import SAMPLE_TOLERANCE, check_canary, relative_error
from embcompat.migration.foreign import foreign_obstacle
from embcompat.migration.journal import Journal
from embcompat.migration.options import RunOptions, RunReport, job_of, require_texts, require_vectors_of
from embcompat.migration.pipeline import run_pipeline
from embcompat.migration.rows import Converted, Failure, convert_rows
from embcompat.progress import Advance, ProgressFactory, silent
from embcompat.runtime import OnnxAligner
from embcompat.stores.base import GalleryStore
from embcompat.stores.refusals import isolate
from embcompat.stores.values import Job, Pairs, Rows

MAX_PASSES = 20
"""Most times that the gallery is read again for rows that were added meanwhile [ours]."""

REFUSALS_IN_A_ROW = 32
"""Consecutive refusals of single rows after which the store itself is to blame [ours]."""

READ_BACK_ROWS = 16
"""Rows of every written batch that are read back and recomputed [ours]."""


def run_migration(
    aligner: OnnxAligner,
    store: GalleryStore,
    *,
    options: RunOptions | None = None,
    force: bool = False,
    progress: ProgressFactory | None = None,
    index_progress: AbstractContextManager[object] | None = None,
) -> RunReport:
    """Convert every row of a gallery that has no converted row, or whose converted row comes from an earlier vector.

    The converted rows are written beside the stored ones, which stay in service. A run may be killed at any time and
    resumed anywhere; the remaining work is computed from the store. After every batch the artifact's canary is checked
    again, and a sample of the batch is read back and recomputed. The first run does not look for rows that are replaced
    while it works; the next run or the cutover converts them.

    Args:
        aligner: The artifact.
        store: The gallery.
        options: How to run.
        force: Whether to convert with an aligner that does no better than chance.
        progress: Takes the total number of rows; yields a function that takes the number of rows newly done.
        index_progress: A context that is entered while the index is built.

    Raises:
        GateError: If the aligner does no better than chance and ``force`` is False.
        SpaceMismatchError: If the store records another space than the artifact's source.
        MigrationError: If a check fails. The source side is untouched.
        StoreError: If the store refuses row after row, or cannot do what is needed.
    """
    start = time.perf_counter()
    require_better_than_chance(aligner.artifact, force=force)
    options = options or RunOptions()
    job = job_of(aligner.artifact, options)
    journal = Journal(options.journal)
    fresh = prepare(aligner, store, job, journal)
    run = _Run(aligner, store, job, options, journal)
    coverage = store.coverage(job)
    with (progress or silent)(-(-coverage.missing // options.shard.count)) as advance:
        while run.passes < MAX_PASSES and coverage.missing > len(run.failed):
            progressed = run.pass_over(missing_only=True, advance=advance)
            coverage = store.coverage(job)
            if not progressed:
                break
        if not fresh and run.pass_over(missing_only=False, advance=advance):  # rows replaced since an earlier run
            coverage = store.coverage(job)
    seconds = time.perf_counter() - start
    index_seconds = None
    if coverage.missing <= len(run.failed):
        index_seconds = _build_index(store, job, journal, index_progress or nullcontext())
    report = RunReport(
        artifact_id=job.artifact_id,
        url=store.url,
        rows=run.rows,
        failures=list(run.failed.values()),
        passes=run.passes,
        seconds=time.perf_counter() - start,
        rows_per_second=run.rows / seconds,
        index_seconds=index_seconds,
        coverage=coverage,
        rows_without_text=run.rows_without_text,
    )
    journal.write("run_finished", **report.to_dict())
    return report


def prepare(aligner: OnnxAligner, store: GalleryStore, job: Job, journal: Journal) -> bool:
    """Check that artifact and gallery belong together, and make the target side; return whether it is new.

    Raises:
        SpaceMismatchError: If they do not.
        InputError: If the lengths differ, or texts and artifact do not go together.
        MigrationError: If the canary check fails, rows look like another space, or the gallery was cut over already.
    """
    artifact = aligner.artifact
    state = store.require_phase(job, "untouched", "prepared", to="be converted")
    require_vectors_of(artifact.source, store, state.space)
    require_texts(aligner, store, job)
    check_canary(artifact, aligner.transform_canary)
    if state.phase == "untouched" and not (job.accept_changes or store.hindrances(job)):
        foreign = foreign_obstacle(artifact, store, job)
        if foreign is not None:
            raise MigrationError(f"{store.url} was not converted. {foreign.text}")
    fresh = store.prepare(job)
    if fresh:
        journal.write("prepared", url=store.url, artifact=job.artifact_id, target_space=job.target.id)
    return fresh


def read_back(store: GalleryStore, aligner: OnnxAligner, pairs: Pairs) -> float:
    """Recompute rows that were read back from both sides; return the largest relative difference.

    Native rows are left out: the artifact says nothing about them.

    Raises:
        MigrationError: If a stored vector is not what the artifact gives.
    """
    pairs = pairs.select(~pairs.native)
    if not len(pairs.ids):
        return 0.0
    expected, stored = aligner.transform(pairs.source, pairs.texts), pairs.target
    if not store.keeps_norms:
        expected, stored = normalize_rows(expected), normalize_rows(stored)
    error = relative_error(stored, expected)
    if not error <= max(SAMPLE_TOLERANCE, store.tolerance):
        raise MigrationError(
            f"{store.url}: vectors read back must be what the artifact gives. The largest relative difference among "
            f"{len(pairs.ids)} rows is {error:.2g}. Stop, and find out what else writes to the target side."
        )
    return error


class _Run:
    """The passes of one run, and their totals."""

    def __init__(
        self, aligner: OnnxAligner, store: GalleryStore, job: Job, options: RunOptions, journal: Journal
    ) -> None:
        self.rows, self.passes, self.rows_without_text = 0, 0, 0
        self.failed: dict[str, Failure] = {}
        self._aligner, self._store, self._job, self._options, self._journal = aligner, store, job, options, journal
        self._dead_letters = Journal(options.dead_letters)

    def pass_over(self, *, missing_only: bool, advance: Advance) -> int:
        """Read the gallery once; return how many rows were converted or refused."""
        self.passes += 1
        start, earlier_rows, earlier_failures = time.perf_counter(), self.rows, len(self.failed)
        size = self._options.batch_size or self._store.batch_size

        def write(_rows: Rows, batch: Converted) -> None:
            if batch.failures and not missing_only:
                self._store.discard(self._job, [failure.id for failure in batch.failures])
            advance(self._write(batch))
            self._wait(self.rows - earlier_rows, start)

        scan: Iterator[Rows] = self._store.scan(
            self._job, batch_size=size, missing_only=missing_only, claim=self._options.shard.count == 1
        )
        run_pipeline(scan, self._compute, write, threads=self._options.threads)
        return self.rows - earlier_rows + len(self.failed) - earlier_failures

    def _compute(self, rows: Rows) -> Converted:
        if self.failed:
            rows = rows.select(np.array([identifier not in self.failed for identifier in rows.ids], dtype=bool))
        return convert_rows(rows, self._aligner.transform, self._job.source, self._options.shard)

    def _write(self, batch: Converted) -> int:
        """Write a batch; return how many of its rows the store took."""

        def attempt(rows: slice) -> None:
            self._store.write(self._job, batch.ids[rows], batch.vectors[rows], batch.digests[rows])

        refusals = isolate(len(batch.ids), attempt, limit=REFUSALS_IN_A_ROW)
        self._fail([*batch.failures, *(Failure(batch.ids[row], reason) for row, reason in refusals.items())])
        count = len(batch.ids) - len(refusals)
        if count:
            self._check(batch)
            self.rows += count
            self.rows_without_text += batch.without_text
            self._journal.write("batch", rows=count, failures=len(batch.failures) + len(refusals))
        return count

    def _check(self, batch: Converted) -> None:
        """Check the semantic canary, and a sample of the batch as the store has it."""
        check_canary(self._aligner.artifact, self._aligner.transform_canary)
        step = max(1, len(batch.ids) // READ_BACK_ROWS)
        digests = dict(zip(batch.ids[::step], batch.digests[::step].tolist(), strict=True))
        pairs = self._store.read(self._job, list(digests))
        if not len(pairs.ids):
            return
        current = zip(pairs.ids, pairs.digests(), strict=True)
        unchanged = np.array([digests[identifier] == digest for identifier, digest in current])
        read_back(self._store, self._aligner, pairs.select(unchanged))

    def _fail(self, failures: list[Failure]) -> None:
        fresh = [failure for failure in failures if failure.id not in self.failed]
        self.failed |= {failure.id: failure for failure in fresh}
        self._dead_letters.write_all([{"artifact": self._job.artifact_id, **asdict(failure)} for failure in fresh])

    def _wait(self, rows: int, start: float) -> None:
        if self._options.max_rows_per_second is not None:
            time.sleep(max(0.0, rows / self._options.max_rows_per_second - (time.perf_counter() - start)))


def _build_index(
    store: GalleryStore, job: Job, journal: Journal, progress: AbstractContextManager[object]
) -> float | None:
    if store.index_kind() is None:
        return None
    start = time.perf_counter()
    with progress:
        store.build_index(job)
    seconds = time.perf_counter() - start
    journal.write("index_built", seconds=seconds)
    return seconds
