"""Applications and other workers that use a gallery during and after its migration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from embcompat.migration import RunOptions, Shard, cut_over, job_of, run_migration, sweep, verify_migration
from embcompat.testing.stores.check import (
    ONE_CLIENT,
    Gallery,
    StoreBench,
    change_gallery,
    converted,
    in_service,
    refused,
    require,
    require_gallery,
    skip_unless,
)

Advance = Callable[[int], None]


def check_changes_after_the_run(bench: StoreBench) -> None:
    """Rows inserted, replaced and deleted between run and cutover are found by the cutover."""
    old = bench.gallery()
    url = bench.harness.create(old)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
    now = change_gallery(bench, url, old)
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    in_service(bench, url, converted(bench.shrink, now), "changes after the run must be in the new space")


def check_changes_during_the_run(bench: StoreBench) -> None:
    """Rows inserted, replaced and deleted while a run converts are found."""
    skip_unless(bench.harness.many_clients, ONE_CLIENT)
    old = bench.gallery()
    url = bench.harness.create(old)
    now: Gallery = {}

    @contextmanager
    def change(_rows: int) -> Iterator[Advance]:
        def advance(_count: int) -> None:
            if not now:
                now.update(change_gallery(bench, url, old))

        yield advance

    with bench.store(url) as store:
        run_migration(bench.shrink, store, options=RunOptions(batch_size=len(old) // 7), progress=change)
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    in_service(bench, url, converted(bench.shrink, now), "changes during the run must be in the new space")


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
    in_service(bench, url, converted(bench.shrink, old), "the shards must make up the whole")


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
        refused(Exception, lambda: bench.harness.put(url, write), "an old application writes")
    else:
        bench.harness.put(url, write)
    with bench.store(url) as store:
        swept = list(sweep(bench.same, store))
    expected = 0 if bench.harness.refuses_old_writes else 5
    require(len(swept) == expected, f"3 rows were replaced and 2 inserted. Found {swept}")


def check_readers_during_cutover(bench: StoreBench) -> None:
    """A reader sees all old or all new vectors at any time of the cutover, never a mixture."""
    skip_unless(bench.harness.many_clients, ONE_CLIENT)
    old = bench.gallery(80)
    new = converted(bench.same, old)
    url = bench.harness.create(old)
    key = next(iter(old))
    galleries: list[Gallery] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            galleries.append(bench.harness.get(url))

    with bench.store(url) as store:
        run_migration(bench.same, store)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            cut_over(bench.same, store)
        finally:
            over.set()
            reader.join()
    require(bool(galleries), "the reader must have read")
    for gallery in galleries:
        near_old = np.linalg.norm(gallery[key] - old[key]) < np.linalg.norm(gallery[key] - new[key])  # type: ignore[operator]
        require_gallery(gallery, old if near_old else new, bench.harness.tolerance, "a reader saw a mixture")


def check_workers_at_the_same_time(bench: StoreBench) -> None:
    """Two workers over the whole gallery at once, while an application writes, disturb nobody."""
    skip_unless(bench.harness.many_clients, ONE_CLIENT)
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
    now = change_gallery(bench, url, old)
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
    in_service(bench, url, converted(bench.shrink, now), "two workers at once must make one whole")
