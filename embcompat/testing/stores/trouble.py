"""Rows, artifacts and stores with faults."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from embcompat.errors import GateError, InputError, MigrationError, StoreError
from embcompat.migration import RunOptions, cut_over, job_of, run_migration, verify_migration
from embcompat.stores import vector_digests
from embcompat.testing.stores.check import (
    SOURCE_DIM,
    Gallery,
    StoreBench,
    converted,
    in_service,
    near,
    refused,
    require,
    skip_unless,
)


def check_rows_without_vector(bench: StoreBench) -> None:
    """Rows whose vector is NULL stay rows without a vector, also when they lose it later."""
    skip_unless(bench.harness.holds_nulls, "every row of this store has a vector")
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
    in_service(bench, url, converted(bench.shrink, old | change), "rows without a vector must stay as they are")


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
        refused(GateError, lambda: cut_over(bench.shrink, store), "more rows failed than may")
    in_service(bench, url, old, "a blocked cutover must change nothing")
    turned = keys[40]
    bench.harness.put(url, {turned: zero})
    with bench.store(url) as store:
        cut_over(bench.shrink, store, max_failures=3)
    rows = bench.harness.get(url)
    good = {key: old[key] for key in keys if key not in (*bad, turned)}
    near(
        {key: rows[key] for key in good},
        converted(bench.shrink, good),
        bench,
        "the good rows must be in service",
    )
    require(all(rows.get(key) is None for key in (*bad, turned)), "a row that failed must have no vector in service")


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
        refused(StoreError, lambda: run_migration(bench.shrink, store), "the store refuses every row")


def check_wrong_artifact(bench: StoreBench) -> None:
    """A map in the wrong direction, or of vectors of another length, is refused before anything is made."""
    old = bench.gallery(20)
    url = bench.harness.create(old)
    with bench.store(url) as store:
        refused(
            MigrationError, lambda: run_migration(bench.wrong, store, force=True), "the canary does not find its pairs"
        )
        require(store.state(job_of(bench.wrong.artifact)).phase == "untouched", "nothing must have been made")
        refused(MigrationError, lambda: verify_migration(bench.same, store), "nothing to verify yet")
    short: Gallery = {key: vector[:5] for key, vector in old.items() if vector is not None}
    url = bench.harness.create(short)
    with bench.store(url) as store:
        refused(InputError, lambda: run_migration(bench.same, store), "vectors of another length")


def check_damage_is_found(bench: StoreBench) -> None:
    """A converted vector that is not what the artifact gives fails the verification and blocks the cutover."""
    old = bench.gallery(50)
    url = bench.harness.create(old)
    job = job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
        pairs = store.read(job, store.sample(job, 9, seed=0))
        store.write(job, pairs.ids, -bench.shrink.transform(pairs.source), vector_digests(pairs.source))
        refused(MigrationError, lambda: verify_migration(bench.shrink, store), "damaged vectors")
        refused(MigrationError, lambda: cut_over(bench.shrink, store), "damaged vectors")
    in_service(bench, url, old, "a refused cutover must change nothing")


def _scan(bench: StoreBench, store: Any) -> list[list[str]]:
    job = job_of(bench.shrink.artifact)
    store.prepare(job)
    return [list(rows.ids) for rows in store.scan(job, batch_size=100, missing_only=True)]
