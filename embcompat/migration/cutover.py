"""The steps around the switch: verify, cut over, roll back, abort, drop the old side, sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import GateError
from embcompat.migration.checks import CanaryResult, check_canary
from embcompat.migration.foreign import foreign_written_ids
from embcompat.migration.journal import Journal
from embcompat.migration.options import RunOptions, RunReport, job_of, require_texts
from embcompat.migration.rows import Shard, convert_rows
from embcompat.migration.run import read_back, run_migration
from embcompat.progress import ProgressFactory
from embcompat.runtime import OnnxAligner
from embcompat.stores.base import GalleryStore
from embcompat.stores.values import Coverage, Finish, Job, Phase, Rows

SAMPLE_ROWS = 256
"""Rows that `verify_migration` reads back [ours]."""


@dataclass(frozen=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        artifact_id: The artifact.
        url: The gallery.
        phase: How far the migration is.
        coverage: Row counts of both sides.
        sampled_rows: Rows read back and recomputed.
        sample_error: Largest relative difference among them.
        canary: The result of the semantic canary; None when the artifact carries no canary.
        problems: What prevents a cutover, one sentence each.
        notes: What an application must know about the switch.
    """

    artifact_id: str
    url: str
    phase: Phase
    coverage: Coverage
    sampled_rows: int
    sample_error: float
    canary: CanaryResult | None
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON."""
        return {**asdict(self), "problems": list(self.problems), "missing": self.coverage.missing}


def verify_migration(
    aligner: OnnxAligner,
    store: GalleryStore,
    *,
    max_failures: int = 0,
    seed: int = 0,
    options: RunOptions | None = None,
) -> VerifyReport:
    """Count every row of both sides, read a sample back, and map the canary; change nothing.

    Args:
        aligner: The artifact.
        store: The gallery.
        max_failures: Rows that may stay without a converted vector.
        seed: Seed of the sample.
        options: The options of the migration; only those that make the job count here.

    Raises:
        InputError: If texts and artifact do not go together.
        MigrationError: If the migration is not under way, a sampled vector is wrong, or the canary check fails.
    """
    job = job_of(aligner.artifact, options)
    require_texts(aligner, store, job)
    store.require_phase(job, "prepared", to="be verified")
    coverage = store.coverage(job)
    counts = {"missing": coverage.missing, "orphans": coverage.orphans}
    return _verify(aligner, store, job, coverage, **counts, max_failures=max_failures, seed=seed)


def _verify(
    aligner: OnnxAligner,
    store: GalleryStore,
    job: Job,
    coverage: Coverage,
    *,
    missing: int,
    orphans: int,
    max_failures: int,
    seed: int = 0,
) -> VerifyReport:
    canary = check_canary(aligner.artifact, aligner.transform_canary)
    pairs = store.read(job, store.sample(job, SAMPLE_ROWS, seed=seed)).current()
    error = read_back(store, aligner, pairs)
    problems = []
    if missing > max_failures:
        problems.append(
            f"{missing} of {coverage.rows - coverage.without_vector} rows have no converted vector; at most "
            f"{max_failures} are allowed."
        )
    if orphans:
        problems.append(f"{orphans} converted rows no longer have a source row.")
    return VerifyReport(
        artifact_id=job.artifact_id,
        url=store.url,
        phase=store.state(job).phase,
        coverage=coverage,
        sampled_rows=len(pairs.ids),
        sample_error=error,
        canary=canary,
        problems=tuple(problems),
        notes=tuple(store.notes(job)),
    )


def cut_over(
    aligner: OnnxAligner,
    store: GalleryStore,
    *,
    max_failures: int = 0,
    options: RunOptions | None = None,
    progress: ProgressFactory | None = None,
    index_progress: AbstractContextManager[object] | None = None,
) -> VerifyReport:
    """Put the converted vectors into service in one step.

    First, rows that were inserted, replaced or deleted meanwhile are reconciled by their source digest; then everything
    is verified, and rows that cannot be converted are counted. The old side stays; only `drop_old` deletes it. A
    cutover that was interrupted after the switch resumes from there.

    Args:
        aligner: The artifact.
        store: The gallery.
        max_failures: Rows that may stay without a converted vector.
        options: How to run the reconciliation.
        progress: As in `run_migration`.
        index_progress: As in `run_migration`.

    Raises:
        GateError: If more than ``max_failures`` rows fail. The message says whether anything was switched.
        MigrationError: If a check fails. Nothing was switched.
    """
    options = replace(options or RunOptions(), shard=RunOptions().shard)
    job = job_of(aligner.artifact, options)
    require_texts(aligner, store, job)
    if store.unsettled(job):
        return _complete(aligner, store, job, max_failures=max_failures, journal=Journal(options.journal))
    store.require_phase(job, "prepared", to="be cut over")
    # The first run accepted the aligner already.
    catch_up = partial(run_migration, aligner, store, options=options, force=True)
    run: RunReport = catch_up(progress=progress, index_progress=index_progress)
    coverage = store.coverage(job) if store.remove_orphans(job) else run.coverage
    missing = coverage.missing
    if missing > len(run.failures):  # rows keep coming in, or rows get no vector
        earlier = _missing_ids(store, job)
        catch_up()
        missing = len(earlier & _missing_ids(store, job))
    report = _verify(aligner, store, job, coverage, missing=missing, orphans=0, max_failures=max_failures)
    problems = list(report.problems)
    if len(run.failures) > max_failures:
        first = run.failures[0]
        problems.append(
            f"{len(run.failures)} rows could not be converted; at most {max_failures} are allowed. The first is "
            f"{first.id!r}: {first.reason}."
        )
    if problems:
        raise GateError(f"{store.url} was not cut over. {' '.join(problems)}")
    failed = {failure.id for failure in run.failures}
    store.cutover(job, _finish(aligner, store, job, failed, max_failures=max_failures))
    Journal(options.journal).write("cut_over", **report.to_dict())
    return report


def _complete(
    aligner: OnnxAligner, store: GalleryStore, job: Job, *, max_failures: int, journal: Journal
) -> VerifyReport:
    """Resume a cutover that was interrupted after the switch."""
    store.cutover(job, _finish(aligner, store, job, set(), max_failures=max_failures))
    coverage = store.coverage(job)
    counts = {"missing": coverage.missing, "orphans": 0}
    report = _verify(aligner, store, job, coverage, **counts, max_failures=max_failures)
    journal.write("cut_over", **report.to_dict())
    return report


def _finish(aligner: OnnxAligner, store: GalleryStore, job: Job, failed: set[str], *, max_failures: int) -> Finish:
    """Return what converts the last rows; it raises `GateError` where too many fail, those in ``failed`` included."""

    def finish(rows: Rows) -> tuple[Sequence[str], NDArray[np.float32], NDArray[np.int64]]:
        batch = convert_rows(rows, aligner.transform, job.source, Shard())
        failed.update(failure.id for failure in batch.failures)
        if len(failed) > max_failures:
            switched = store.state(job).phase == "cut_over"
            outcome = "has switched, but the cutover is not complete" if switched else "was not cut over"
            way_out = " Repeat it with a larger --max-failures, or roll back." if switched else ""
            raise GateError(
                f"{store.url} {outcome}. {len(failed)} rows fail; at most {max_failures} are allowed.{way_out}"
            )
        return batch.ids, batch.vectors, batch.digests

    return finish


def _missing_ids(store: GalleryStore, job: Job) -> set[str]:
    return {
        identifier
        for rows in store.scan(job, batch_size=store.batch_size, missing_only=True)
        for identifier in rows.ids
    }


def roll_back(aligner: OnnxAligner, store: GalleryStore, *, journal: Path | None = None) -> int:
    """Put the old side back into service.

    Returns:
        Number of rows in service without an old vector, because they were added after the cutover: embed them with the
        old model.

    Raises:
        MigrationError: If the gallery was not cut over, or its old side is gone.
    """
    without = store.rollback(job_of(aligner.artifact))
    Journal(journal).write("rolled_back", without_old_vector=without)
    return without


def abort(aligner: OnnxAligner, store: GalleryStore, *, journal: Path | None = None) -> list[str]:
    """Give up an unfinished or rolled-back migration, and remove everything that it made.

    The vectors in service are not touched. Native vectors on the target side are removed as well.

    Returns:
        What was removed, one phrase each.

    Raises:
        MigrationError: If the converted vectors are in service: roll back first.
    """
    removed = store.abort(job_of(aligner.artifact))
    Journal(journal).write("aborted", removed=list[JsonValue](removed))
    return removed


def drop_old(aligner: OnnxAligner, store: GalleryStore, *, journal: Path | None = None) -> None:
    """Delete the old side for good; there is no way back after it.

    Raises:
        MigrationError: If the old side is still in service, or gone already.
    """
    store.drop_old(job_of(aligner.artifact))
    Journal(journal).write("old_dropped")


def sweep(aligner: OnnxAligner, store: GalleryStore, *, options: RunOptions | None = None) -> Iterator[str]:
    """Find rows in service that neither the migration nor the new model wrote; see `GalleryStore.sweep`.

    PostgreSQL trusts the space that an application declares for its vectors. Such vectors are compared with the
    artifact's canary: those that do not look like the new space are yielded too, if there are more than chance
    explains.

    Args:
        aligner: The artifact.
        store: The gallery.
        options: The options of the migration; only those that make the job count here.

    Raises:
        InputError: If texts and artifact do not go together.
        MigrationError: If the gallery was not cut over.
    """
    job = job_of(aligner.artifact, options)
    require_texts(aligner, store, job)
    for ids in store.sweep(job):
        yield from ids
    yield from foreign_written_ids(aligner.artifact, store, job)
