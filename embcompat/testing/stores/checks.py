"""The checks of `embcompat.testing.check_store`, one function for each thing that must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from embcompat.errors import MigrationError, SpaceMismatchError, StoreError
from embcompat.migration import (
    RunOptions,
    cut_over,
    drop_old,
    job_of,
    roll_back,
    run_migration,
    sweep,
    verify_migration,
)
from embcompat.stores import vector_digests
from embcompat.testing.stores.check import (
    StoreBench,
    StoreCheck,
    converted,
    in_service,
    refused,
    require,
)
from embcompat.testing.stores.company import (
    check_changes_after_the_run,
    check_changes_during_the_run,
    check_readers_during_cutover,
    check_shards,
    check_sweep,
    check_workers_at_the_same_time,
)
from embcompat.testing.stores.faults import check_kill_points
from embcompat.testing.stores.native import check_native_rows
from embcompat.testing.stores.promises import (
    check_abort,
    check_late_writes,
    check_metric_and_queries,
    check_two_vectors,
)
from embcompat.testing.stores.texts import check_texts, check_texts_by_id
from embcompat.testing.stores.trouble import (
    check_bad_rows,
    check_damage_is_found,
    check_refused_rows,
    check_rows_without_vector,
    check_wrong_artifact,
)

Advance = Callable[[int], None]


def check_whole_migration(bench: StoreBench) -> None:
    """Run, verify, cut over, roll back, cut over again, drop: what is in service is right at every step."""
    old = bench.gallery()
    new = converted(bench.shrink, old)
    url = bench.harness.create(old)
    notes = bench.harness.notes(url)
    with bench.store(url) as store:
        report = run_migration(bench.shrink, store, options=RunOptions(batch_size=64))
        require(report.rows == len(old), f"every row must be converted once. Got {report.rows} of {len(old)}")
    in_service(bench, url, old, "the source must stay as it was until the cutover")
    with bench.store(url) as store:
        verified = verify_migration(bench.shrink, store)
        require(not verified.problems, f"a complete migration must verify. Got {verified.problems}")
        require(verified.sampled_rows > 0, "a sample must be read back")
        refused(MigrationError, lambda: store.drop_old(job_of(bench.shrink.artifact)), "the old side is in service")
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    in_service(bench, url, new, "the new vectors must be in service after the cutover")
    require(bench.harness.notes(url) == notes, "everything beside the vectors must stay as it was")
    with bench.store(url) as store:
        require(not list(sweep(bench.shrink, store)), "nothing must be swept when all rows were converted")
        refused(MigrationError, lambda: cut_over(bench.shrink, store), "already cut over")
    with bench.store(url) as store:
        require(roll_back(bench.shrink, store) == 0, "every row must still have its old vector")
    in_service(bench, url, old, "the old vectors must be back after a rollback")
    require(bench.harness.notes(url) == notes, "a rollback must change nothing beside the vectors")
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
        drop_old(bench.shrink, store)
    in_service(bench, url, new, "dropping the old side must leave the new one")
    with bench.store(url) as store:
        refused(MigrationError, lambda: roll_back(bench.shrink, store), "the old side is gone")
        refused(MigrationError, lambda: run_migration(bench.shrink, store), "the migration is finished")


def check_every_kind_of_key(bench: StoreBench) -> None:
    """Integer, string, UUID and composite keys come through unchanged."""
    for kind in bench.harness.key_sets(1):
        old = bench.gallery(40, kind=kind)
        url = bench.harness.create(old)
        with bench.store(url) as store:
            run_migration(bench.shrink, store, options=RunOptions(batch_size=7))
            cut_over(bench.shrink, store)
        in_service(bench, url, converted(bench.shrink, old), f"keys of kind {kind} must come through")


def check_next_migration(bench: StoreBench) -> None:
    """A gallery that was migrated once knows its space, and is migrated again from there."""
    old = bench.gallery(60)
    url = bench.harness.create(old)
    job = job_of(bench.same.artifact)
    with bench.store(url) as store:
        run_migration(bench.same, store)
        cut_over(bench.same, store)
        require(store.state(job).space == job.target, "the store must know the space in service after a cutover")
        refused(SpaceMismatchError, lambda: run_migration(bench.shrink, store), "vectors of another space")
        refused(StoreError, lambda: run_migration(bench.following, store), "the old side would be out of reach")
        drop_old(bench.same, store)
        run_migration(bench.following, store)
        cut_over(bench.following, store)
        require(not list(sweep(bench.following, store)), "the second migration must leave nothing to sweep")
    in_service(bench, url, converted(bench.following, converted(bench.same, old)), "two migrations in a row")
    with bench.store(url) as store:
        roll_back(bench.following, store)
        require(
            store.state(job).phase == "finished", "the first migration must be finished after the second's rollback"
        )
    in_service(bench, url, converted(bench.same, old), "a rollback must go back one migration")


def check_resume_with_another_batch_size(bench: StoreBench) -> None:
    """An interrupted run goes on with what is missing, whatever the batch size, and converts nothing twice."""
    old = bench.gallery()
    url = bench.harness.create(old)
    total = 0
    count = len(old)
    for batch_size, rows in ((count // 6, count // 3), (count // 23, count // 4), (count, 1)):
        try:
            with bench.store(url) as store:
                options = RunOptions(batch_size=batch_size)
                run_migration(bench.shrink, store, options=options, progress=partial(_stop, rows))
        except _StoppedError as stopped:
            total += stopped.rows
    with bench.store(url) as store:
        missing = store.coverage(job_of(bench.shrink.artifact)).missing
        require(missing == len(old) - total, f"{len(old) - total} rows must be missing after {total}. Got {missing}")
        report = run_migration(bench.shrink, store, options=RunOptions(batch_size=count // 9))
        require(report.rows == missing, f"a resumed run must convert the {missing} missing rows. Got {report.rows}")
        require(run_migration(bench.shrink, store).rows == 0, "a complete migration must have nothing left to do")
        cut_over(bench.shrink, store)
    in_service(bench, url, converted(bench.shrink, old), "no row may be lost")


def check_repeated_write(bench: StoreBench) -> None:
    """Writing the same rows again changes nothing."""
    old = bench.gallery(50)
    url = bench.harness.create(old)
    job = job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
        coverage = store.coverage(job)
        pairs = store.read(job, store.sample(job, 30, seed=0))
        require(len(pairs.ids) == 30, f"30 rows must be found again. Got {len(pairs.ids)}")
        store.write(job, pairs.ids, bench.shrink.transform(pairs.source), vector_digests(pairs.source))
        require(store.coverage(job) == coverage, "a repeated write must not add rows")
        cut_over(bench.shrink, store)
    in_service(bench, url, converted(bench.shrink, old), "a repeated write must change nothing")


class _StoppedError(Exception):
    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows


@contextmanager
def _stop(rows: int, _total: int) -> Iterator[Advance]:
    total = 0

    def advance(count: int) -> None:
        nonlocal total
        total += count
        if total >= rows:
            raise _StoppedError(total)

    yield advance


STORE_CHECKS: tuple[StoreCheck, ...] = (
    check_whole_migration,
    check_every_kind_of_key,
    check_next_migration,
    check_resume_with_another_batch_size,
    check_repeated_write,
    check_changes_after_the_run,
    check_changes_during_the_run,
    check_rows_without_vector,
    check_bad_rows,
    check_refused_rows,
    check_wrong_artifact,
    check_damage_is_found,
    check_shards,
    check_sweep,
    check_readers_during_cutover,
    check_workers_at_the_same_time,
    check_native_rows,
    check_abort,
    check_metric_and_queries,
    check_late_writes,
    check_two_vectors,
    check_texts,
    check_texts_by_id,
    check_kill_points,
)
