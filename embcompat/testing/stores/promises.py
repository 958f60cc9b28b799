"""What a migration promises beside the vectors: nothing else changes, nothing is left behind, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from embcompat.errors import MigrationError
from embcompat.migration import RunOptions, abort, cut_over, drop_old, job_of, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.spaces import Similarity
from embcompat.stores import GalleryStore
from embcompat.testing.stores.check import (
    ONE_CLIENT,
    Gallery,
    StoreBench,
    change_gallery,
    converted,
    in_service,
    refused,
    require,
    skip_unless,
)


def check_abort(bench: StoreBench) -> None:
    """A migration that is given up leaves nothing; another one can begin after it, and no abort undoes a cutover."""
    old = bench.gallery(60)
    url = bench.harness.create(old)
    notes, job = bench.harness.notes(url), job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        require(abort(bench.shrink, store) == [], "there is nothing to remove before the run")
        run_migration(bench.shrink, store)
    for _ in range(2):
        with bench.store(url) as store:
            listed = store.leftovers(job)
            require(bool(listed), "what a run has made must be listed")
            require(store.state(job).phase == "prepared", "a list must change nothing")
            require(abort(bench.shrink, store) == listed, "what was listed must be what is removed")
            require(store.leftovers(job) == [], f"nothing must be left. Got {store.leftovers(job)}")
            require(store.state(job).phase == "untouched", "an aborted migration must leave nothing")
            require(abort(bench.shrink, store) == [], "a second abort must find nothing")
        in_service(bench, url, old, "an abort must leave the vectors in service alone")
        require(bench.harness.notes(url) == notes, "an abort must change nothing beside the vectors")
        with bench.store(url) as store:
            run_migration(bench.shrink, store)
            cut_over(bench.shrink, store)
            refused(MigrationError, lambda store=store: abort(bench.shrink, store), "the new vectors are in service")  # type: ignore[misc]
            roll_back(bench.shrink, store)
    with bench.store(url) as store:
        abort(bench.shrink, store)
        run_migration(bench.same, store)
        cut_over(bench.same, store)
    in_service(bench, url, converted(bench.same, old), "another migration after an abort")


def check_metric_and_queries(bench: StoreBench) -> None:
    """The metric stays, and the application's own query finds the right row at every moment."""
    old = bench.gallery()
    url = bench.harness.create(old)
    bench.harness.build_index(url)
    metric, keys = bench.harness.metric(url), list(old)[::37]
    new = converted(bench.shrink, old)

    def look(gallery: Gallery, moment: str) -> None:
        require(bench.harness.metric(url) == metric, f"the metric must stay {metric}. Got {bench.harness.metric(url)}")
        for key in keys:
            nearest = bench.harness.nearest(url, np.asarray(gallery[key]))
            require(nearest == key, f"{moment}: the query with the vector of {key!r} found {nearest!r}")

    look(old, "before")
    steps: tuple[tuple[Callable[[OnnxAligner, GalleryStore], object], Gallery, str], ...] = (
        (run_migration, old, "after the run"),
        (_refuse_another_metric, old, "after another metric was refused"),
        (cut_over, new, "after the cutover"),
        (roll_back, old, "after the rollback"),
        (cut_over, new, "after the second cutover"),
        (drop_old, new, "after the drop"),
    )
    for step, gallery, moment in steps:
        with bench.store(url) as store:
            step(bench.shrink, store)
        look(gallery, moment)


def _refuse_another_metric(aligner: OnnxAligner, store: GalleryStore) -> None:
    """Require that a metric is refused that the target side cannot have any more."""
    if store.target_metric(job_of(aligner.artifact)) is None:
        return
    for other in get_args(Similarity):
        options = RunOptions(metric=other)
        if other != store.target_metric(job_of(aligner.artifact, options)):  # a store may have one word for two
            refused(MigrationError, lambda options=options: run_migration(aligner, store, options=options), other)  # type: ignore[misc]
        else:
            run_migration(aligner, store, options=options)


def check_late_writes(bench: StoreBench) -> None:
    """Rows written between the last reconciliation and the switch are neither lost, nor stale, nor brought back."""
    skip_unless(bench.harness.many_clients, ONE_CLIENT)
    old = bench.gallery()
    url = bench.harness.create(old)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
        now = _changed_before_the_switch(store, lambda: change_gallery(bench, url, old))
        cut_over(bench.shrink, store)
        require(not list(sweep(bench.shrink, store)), "nothing must be left to sweep")
    in_service(bench, url, converted(bench.shrink, now), "changes before the switch must be in the new space")


def check_two_vectors(bench: StoreBench) -> None:
    """Two vectors of the same rows are migrated one after the other, and one goes back without the other."""
    old, other = bench.gallery(60), bench.gallery(60, seed=8)
    urls = bench.harness.create_two(old, other)
    skip_unless(urls is not None, "a row of this store has one vector")
    first, second = urls  # type: ignore[misc]
    with bench.store(first) as store:
        run_migration(bench.shrink, store)
        cut_over(bench.shrink, store)
    in_service(bench, second, other, "the second vector must stay")
    with bench.store(second) as store:
        require(
            store.state(job_of(bench.shrink.artifact)).phase == "untouched", "the second vector is not migrated yet"
        )
        run_migration(bench.shrink, store)
        cut_over(bench.shrink, store)
    in_service(bench, first, converted(bench.shrink, old), "the first vector must stay migrated")
    in_service(bench, second, converted(bench.shrink, other), "the second vector must be migrated")
    with bench.store(second) as store:
        roll_back(bench.shrink, store)
        abort(bench.shrink, store)
    with bench.store(first) as store:
        drop_old(bench.shrink, store)
    in_service(bench, first, converted(bench.shrink, old), "the first vector must be in service alone")
    in_service(bench, second, other, "the second vector must be back")


def _changed_before_the_switch(store: GalleryStore, change: Callable[[], Gallery]) -> Gallery:
    """Let an application write as soon as the switch begins; return what will be there, filled in then."""
    switch, now = store._cutover, {}

    def late(job: Any, finish: Any) -> None:
        now.update(change())
        switch(job, finish)

    store._cutover = late  # type: ignore[method-assign]
    return now
