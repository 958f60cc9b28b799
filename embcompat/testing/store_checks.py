"""The checks of `embcompat.testing.check_store`, one function for each thing that must hold."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from embcompat.errors import GateError, InputError, MigrationError, SpaceMismatchError, StoreError
from embcompat.migration import (
    RunOptions,
    Shard,
    cut_over,
    drop_old,
    job_of,
    roll_back,
    run_migration,
    sweep,
    verify_migration,
)
from embcompat.stores import vector_digests
from embcompat.testing.store_faults import check_kill_points
from embcompat.testing.store_native import check_native_rows
from embcompat.testing.stores import (
    SOURCE_DIM,
    Gallery,
    StoreBench,
    StoreCheck,
    converted,
    require,
    require_gallery,
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
    _in_service(bench, url, old, "the source must stay as it was until the cutover")
    with bench.store(url) as store:
        verified = verify_migration(bench.shrink, store)
        require(not verified.problems, f"a complete migration must verify. Got {verified.problems}")
        require(verified.sampled_rows > 0, "a sample must be read back")
        _refused(StoreError, lambda: store.drop_old(job_of(bench.shrink.artifact)), "the old side is in service")
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    _in_service(bench, url, new, "the new vectors must be in service after the cutover")
    require(bench.harness.notes(url) == notes, "everything beside the vectors must stay as it was")
    with bench.store(url) as store:
        require(not list(sweep(bench.shrink, store)), "nothing must be swept when all rows were converted")
        _refused(MigrationError, lambda: cut_over(bench.shrink, store), "already cut over")
    with bench.store(url) as store:
        require(roll_back(bench.shrink, store) == 0, "every row must still have its old vector")
    _in_service(bench, url, old, "the old vectors must be back after a rollback")
    require(bench.harness.notes(url) == notes, "a rollback must change nothing beside the vectors")
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
        drop_old(bench.shrink, store)
    _in_service(bench, url, new, "dropping the old side must leave the new one")
    with bench.store(url) as store:
        _refused(MigrationError, lambda: roll_back(bench.shrink, store), "the old side is gone")
        _refused(MigrationError, lambda: run_migration(bench.shrink, store), "the migration is finished")


def check_every_kind_of_key(bench: StoreBench) -> None:
    """Integer, string, UUID and composite keys come through unchanged."""
    for kind in bench.harness.key_sets(1):
        old = bench.gallery(40, kind=kind)
        url = bench.harness.create(old)
        with bench.store(url) as store:
            run_migration(bench.shrink, store, options=RunOptions(batch_size=7))
            cut_over(bench.shrink, store)
        _in_service(bench, url, converted(bench.shrink, old), f"keys of kind {kind} must come through")


def check_next_migration(bench: StoreBench) -> None:
    """A gallery that was migrated once knows its space, and is migrated again from there."""
    old = bench.gallery(60)
    url = bench.harness.create(old)
    job = job_of(bench.same.artifact)
    with bench.store(url) as store:
        run_migration(bench.same, store)
        cut_over(bench.same, store)
        require(store.state(job).space == job.target, "the store must know the space in service after a cutover")
        _refused(SpaceMismatchError, lambda: run_migration(bench.shrink, store), "vectors of another space")
        drop_old(bench.same, store)
        run_migration(bench.following, store)
        cut_over(bench.following, store)
        require(not list(sweep(bench.following, store)), "the second migration must leave nothing to sweep")
    _in_service(bench, url, converted(bench.following, converted(bench.same, old)), "two migrations in a row")
    with bench.store(url) as store:
        roll_back(bench.following, store)
        require(
            store.state(job).phase == "finished", "the first migration must be finished after the second's rollback"
        )
    _in_service(bench, url, converted(bench.same, old), "a rollback must go back one migration")


def check_resume_with_another_batch_size(bench: StoreBench) -> None:
    """An interrupted run goes on with what is missing, whatever the batch size, and converts nothing twice."""
    old = bench.gallery()
    url = bench.harness.create(old)
    done = 0
    count = len(old)
    for batch_size, rows in ((count // 6, count // 3), (count // 23, count // 4), (count, 1)):
        try:
            with bench.store(url) as store:
                options = RunOptions(batch_size=batch_size)
                run_migration(bench.shrink, store, options=options, progress=partial(_stop, rows))
        except _StoppedError as stopped:
            done += stopped.rows
    with bench.store(url) as store:
        missing = store.coverage(job_of(bench.shrink.artifact)).missing
        require(missing == len(old) - done, f"{len(old) - done} rows must be missing after {done}. Got {missing}")
        report = run_migration(bench.shrink, store, options=RunOptions(batch_size=count // 9))
        require(report.rows == missing, f"a resumed run must convert the {missing} missing rows. Got {report.rows}")
        require(run_migration(bench.shrink, store).rows == 0, "a complete migration must have nothing left to do")
        cut_over(bench.shrink, store)
    _in_service(bench, url, converted(bench.shrink, old), "no row may be lost")


def check_repeated_write(bench: StoreBench) -> None:
    """Writing the same rows again changes nothing."""
    old = bench.gallery(50)
    url = bench.harness.create(old)
    job = job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
        before = store.coverage(job)
        pairs = store.read(job, store.sample(job, 30, seed=0))
        require(len(pairs.ids) == 30, f"30 rows must be found again. Got {len(pairs.ids)}")
        store.write(job, pairs.ids, bench.shrink.transform(pairs.source), vector_digests(pairs.source))
        require(store.coverage(job) == before, "a repeated write must not add rows")
        cut_over(bench.shrink, store)
    _in_service(bench, url, converted(bench.shrink, old), "a repeated write must change nothing")


def check_changes_after_the_run(bench: StoreBench) -> None:
    """Rows inserted, replaced and deleted between run and cutover are found by the cutover."""
    old = bench.gallery()
    url = bench.harness.create(old)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
    now = _change(bench, url, old)
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    _in_service(bench, url, converted(bench.shrink, now), "changes after the run must be in the new space")


def check_changes_during_the_run(bench: StoreBench) -> None:
    """Rows inserted, replaced and deleted while a run converts are found."""
    if not bench.harness.many_clients:
        return
    old = bench.gallery()
    url = bench.harness.create(old)
    now: Gallery = {}

    @contextmanager
    def change(_rows: int) -> Iterator[Advance]:
        def advance(_count: int) -> None:
            if not now:
                now.update(_change(bench, url, old))

        yield advance

    with bench.store(url) as store:
        run_migration(bench.shrink, store, options=RunOptions(batch_size=len(old) // 7), progress=change)
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    _in_service(bench, url, converted(bench.shrink, now), "changes during the run must be in the new space")


def check_rows_without_vector(bench: StoreBench) -> None:
    """Rows whose vector is NULL stay rows without a vector, also when they lose it later."""
    if not bench.harness.holds_nulls:
        return
    old = bench.gallery(60)
    keys = list(old)
    old |= dict.fromkeys(keys[:9])
    url = bench.harness.create(old)
    with bench.store(url) as store:
        report = run_migration(bench.shrink, store)
        require(report.coverage.without_vector == 9, f"9 rows have no vector. Got {report.coverage.without_vector}")
        require(report.rows == 51, f"51 rows have a vector. Got {report.rows}")
    change: Gallery = {keys[0]: old[keys[20]], keys[30]: None}
    bench.harness.put(url, change)
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    _in_service(bench, url, converted(bench.shrink, old | change), "rows without a vector must stay as they are")


def check_bad_rows(bench: StoreBench) -> None:
    """Rows that cannot be converted are listed one by one, and block the cutover above the limit."""
    old = bench.gallery(100)
    keys = list(old)
    bad = [keys[3], keys[64]]
    zero = np.zeros(SOURCE_DIM, np.float32)
    old |= dict.fromkeys(bad, zero)
    url = bench.harness.create(old)
    letters = bench.folder / "dead.jsonl"
    letters.unlink(missing_ok=True)
    with bench.store(url) as store:
        report = run_migration(bench.shrink, store, options=RunOptions(batch_size=30, dead_letters=letters))
        require(report.rows == 98, f"98 rows are good. Got {report.rows}")
        require([failure.reason for failure in report.failures] == ["is all zeros"] * 2, f"Got {report.failures}")
        listed = [json.loads(line)["id"] for line in letters.read_text().splitlines()]
        require(sorted(listed) == sorted(failure.id for failure in report.failures), f"listed: {listed}")
        _refused(GateError, lambda: cut_over(bench.shrink, store), "more rows failed than may")
    _in_service(bench, url, old, "a blocked cutover must change nothing")
    turned = keys[40]
    bench.harness.put(url, {turned: zero})
    with bench.store(url) as store:
        cut_over(bench.shrink, store, max_failures=3)
    found = bench.harness.get(url)
    good = {key: old[key] for key in keys if key not in (*bad, turned)}
    _near({key: found[key] for key in good}, converted(bench.shrink, good), bench, "the good rows must be in service")
    require(all(found.get(key) is None for key in (*bad, turned)), "a row that failed must have no vector in service")


def check_refused_rows(bench: StoreBench) -> None:
    """A row that the store refuses is found by bisection; a store that refuses all rows is told apart."""
    url = bench.harness.create(bench.gallery(64))
    with bench.store(url) as store:
        write = store.write
        refuse: set[str] = set()

        def picky(job: Any, ids: Any, vectors: Any, digests: Any) -> None:
            if refuse.intersection(ids):
                raise StoreError("a row is refused")
            write(job, ids, vectors, digests)

        store.write = picky  # type: ignore[method-assign]
        every = [text for rows in _scan(bench, store) for text in rows]
        refuse.update(every[10:12])
        report = run_migration(bench.shrink, store)
        require({failure.id for failure in report.failures} == refuse, f"failures: {report.failures}")
        require(report.rows == 62, f"62 rows are accepted. Got {report.rows}")
    url = bench.harness.create(bench.gallery(64))
    with bench.store(url) as store:
        store.write = picky  # type: ignore[method-assign]
        refuse.update(every)
        _refused(MigrationError, lambda: run_migration(bench.shrink, store), "the store refuses every row")


def check_wrong_artifact(bench: StoreBench) -> None:
    """A map in the wrong direction, or of vectors of another length, is refused before anything is made."""
    old = bench.gallery(20)
    url = bench.harness.create(old)
    with bench.store(url) as store:
        _refused(MigrationError, lambda: run_migration(bench.wrong, store), "the canary does not find its pairs")
        require(store.state(job_of(bench.wrong.artifact)).phase == "untouched", "nothing must have been made")
        _refused(MigrationError, lambda: verify_migration(bench.same, store), "nothing to verify yet")
    short: Gallery = {key: vector[:5] for key, vector in old.items() if vector is not None}
    url = bench.harness.create(short)
    with bench.store(url) as store:
        _refused(InputError, lambda: run_migration(bench.same, store), "vectors of another length")


def check_damage_is_found(bench: StoreBench) -> None:
    """A converted vector that is not what the artifact gives fails the verification and blocks the cutover."""
    old = bench.gallery(50)
    url = bench.harness.create(old)
    job = job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
        pairs = store.read(job, store.sample(job, 9, seed=0))
        store.write(job, pairs.ids, -bench.shrink.transform(pairs.source), vector_digests(pairs.source))
        _refused(MigrationError, lambda: verify_migration(bench.shrink, store), "damaged vectors")
        _refused(MigrationError, lambda: cut_over(bench.shrink, store), "damaged vectors")
    _in_service(bench, url, old, "a refused cutover must change nothing")


def check_shards(bench: StoreBench) -> None:
    """Two workers with a shard each convert every row once; one alone does not claim to be done."""
    old = bench.gallery()
    url = bench.harness.create(old)
    with bench.store(url) as store:
        first = run_migration(bench.shrink, store, options=RunOptions(batch_size=50, shard=Shard(0, 2)))
        require(0 < first.rows < len(old), f"half a gallery must be a part of it. Got {first.rows}")
        require(bool(verify_migration(bench.shrink, store).problems), "half a gallery must not verify")
    with bench.store(url) as store:
        second = run_migration(bench.shrink, store, options=RunOptions(batch_size=50, shard=Shard(1, 2)))
        require(first.rows + second.rows == len(old), f"{first.rows} + {second.rows} rows instead of {len(old)}")
        cut_over(bench.shrink, store)
    _in_service(bench, url, converted(bench.shrink, old), "the shards must make up the whole")


def check_sweep(bench: StoreBench) -> None:
    """Old-space vectors that an application writes after the cutover are refused or found."""
    old = bench.gallery(40)
    keys = list(old)
    url = bench.harness.create(old)
    with bench.store(url) as store:
        run_migration(bench.same, store)
        cut_over(bench.same, store)
    late = bench.gallery(42, seed=6)
    fresh = [key for key in late if key not in old]
    write: Gallery = {key: late[key] for key in [*keys[:3], *fresh]}
    if bench.harness.refuses_old_writes:
        _refused(Exception, lambda: bench.harness.put(url, write), "an old application writes")
    else:
        bench.harness.put(url, write)
    with bench.store(url) as store:
        found = list(sweep(bench.same, store))
    expected = 0 if bench.harness.refuses_old_writes else 5
    require(len(found) == expected, f"3 rows were replaced and 2 inserted. Found {found}")


def check_readers_during_cutover(bench: StoreBench) -> None:
    """A reader sees all old or all new vectors at any time of the cutover, never a mixture."""
    if not bench.harness.many_clients:
        return
    old = bench.gallery(80)
    new = converted(bench.same, old)
    url = bench.harness.create(old)
    key = next(iter(old))
    seen: list[Gallery] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(bench.harness.get(url))

    with bench.store(url) as store:
        run_migration(bench.same, store)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            cut_over(bench.same, store)
        finally:
            over.set()
            reader.join()
    require(bool(seen), "the reader must have read")
    for found in seen:
        near_old = np.linalg.norm(found[key] - old[key]) < np.linalg.norm(found[key] - new[key])  # type: ignore[operator]
        require_gallery(found, old if near_old else new, bench.harness.tolerance, "a reader saw a mixture")


def check_workers_at_the_same_time(bench: StoreBench) -> None:
    """Two workers over the whole gallery at once, while an application writes, disturb nobody."""
    if not bench.harness.many_clients:
        return
    old = bench.gallery()
    url = bench.harness.create(old)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with bench.store(url) as store:
                run_migration(bench.shrink, store, options=RunOptions(batch_size=50))
        except BaseException as error:
            errors.append(error)

    with bench.store(url) as store:
        store.prepare(job_of(bench.shrink.artifact))
    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    now = _change(bench, url, old)
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    _in_service(bench, url, converted(bench.shrink, now), "two workers at once must make one whole")


def _scan(bench: StoreBench, store: Any) -> list[list[str]]:
    job = job_of(bench.shrink.artifact)
    store.prepare(job)
    return [list(rows.ids) for rows in store.scan(job, batch_size=100, missing_only=True)]


def _in_service(bench: StoreBench, url: str, expected: Gallery, message: str) -> None:
    _near(bench.harness.get(url), expected, bench, message)


def _near(found: Gallery, expected: Gallery, bench: StoreBench, message: str) -> None:
    require_gallery(found, expected, bench.harness.tolerance, message)


def _refused(error: type[Exception], action: Callable[[], object], why: str) -> None:
    try:
        action()
    except error:
        return
    raise AssertionError(f"must be refused with {error.__name__}: {why}")


def _change(bench: StoreBench, url: str, old: Gallery) -> Gallery:
    """Insert, replace and delete rows as an application does; return what is there afterwards."""
    keys = list(old)
    more = bench.gallery(len(old) + 7, seed=6)
    inserted = [key for key in more if key not in old]
    put = {key: more[key] for key in itertools.chain(keys[1 :: len(old) // 6], inserted)}
    bench.harness.put(url, put)
    deleted = keys[:: len(old) // 5]
    bench.harness.delete(url, deleted)
    return {key: vector for key, vector in (old | put).items() if key not in deleted}


class _StoppedError(Exception):
    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows


@contextmanager
def _stop(rows: int, _total: int) -> Iterator[Advance]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if done >= rows:
            raise _StoppedError(done)

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
    check_kill_points,
)
