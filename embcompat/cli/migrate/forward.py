"""``embcompat migrate plan|run|status|verify|cutover``: up to the switch."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from embcompat.cli.console import option_words, output, print_json
from embcompat.cli.inputs.options import Force
from embcompat.cli.inputs.words import ItemsFile
from embcompat.cli.migrate.options import (
    AcceptChanges,
    ArtifactPath,
    BatchSize,
    DeadLetters,
    JournalPath,
    Json,
    LockTimeout,
    MaxFailures,
    Metric,
    TextColumn,
    Threads,
    Tries,
    Url,
    files,
    open_both,
    print_coverage,
    print_notes,
    print_plan,
    show_verb,
    texts,
)
from embcompat.cli.progress import show_step, track
from embcompat.durations import format_duration
from embcompat.errors import GateError


def plan(
    artifact: ArtifactPath,
    url: Url,
    metric: Metric = None,
    text_column: TextColumn = None,
    items: ItemsFile = None,
    as_json: Json = False,
) -> None:
    """Estimate rows, bytes, time and disk of a migration, and list what it cannot do or keep. Changes nothing.

    Example:
    ```bash
    embcompat migrate plan old-to-new 'lancedb:///data/gallery#docs.vector'
    ```
    """
    from embcompat.migration import RunOptions, plan_migration

    options = RunOptions(metric=metric, **texts(items, text_column))
    with open_both(artifact, url) as (aligner, store), show_step("Measuring on a sample"):
        cost = plan_migration(aligner, store, options=options)
    if as_json:
        print_json(cost.to_dict())
        return
    print_plan(cost)
    if all(obstacle.acceptable for obstacle in cost.obstacles):
        accepted = ["--accept-changes"] if cost.obstacles else []
        show_verb("run", artifact, url, items, text_column, *option_words(metric=metric), *accepted)


def run(
    artifact: ArtifactPath,
    url: Url,
    batch_size: BatchSize = None,
    threads: Threads = 1,
    max_rows_per_second: Annotated[float | None, typer.Option(help="Most rows per second, to spare the store.")] = None,
    force: Force = False,
    shard: Annotated[
        str, typer.Option(help="i/n: the part of the gallery that this worker converts, from 0/n.")
    ] = "0/1",
    metric: Metric = None,
    accept_changes: AcceptChanges = False,
    text_column: TextColumn = None,
    items: ItemsFile = None,
    journal: JournalPath = None,
    dead_letters: DeadLetters = None,
    as_json: Json = False,
) -> None:
    r"""Convert the rows that are not converted yet, beside the vectors in service. A killed run resumes anywhere.

    Examples:
    ```bash
    embcompat migrate run old-to-new 'lancedb:///data/gallery#docs.vector' \
        --max-rows-per-second 5000
    embcompat migrate run old-to-new 'lancedb:///data/gallery#docs.vector' \
        --shard 0/4
    ```
    """
    from embcompat.migration import RunOptions, parse_shard, run_migration

    with open_both(artifact, url) as (aligner, store):
        options = RunOptions(
            batch_size=batch_size,
            threads=threads,
            shard=parse_shard(shard),
            max_rows_per_second=max_rows_per_second,
            metric=metric,
            accept_changes=accept_changes,
            **texts(items, text_column),
            **files(aligner, journal, dead_letters),
        )
        report = run_migration(
            aligner,
            store,
            options=options,
            force=force,
            progress=lambda rows: track("Converting", rows),
            index_progress=show_step("Building the index", store.index_status),
        )
    if as_json:
        print_json(report.to_dict())
        return
    console = output()
    console.print(
        f"{report.rows:,} rows converted in {format_duration(report.seconds)} ({report.rows_per_second:,.0f} rows/s)"
    )
    if report.rows_without_text:
        console.print(f"{report.rows_without_text:,} rows had no text and were converted from the vector alone.")
    if report.index_seconds is not None:
        console.print(f"index built in {format_duration(report.index_seconds)}")
    if report.failures:
        first = report.failures[0]
        console.print(f"{len(report.failures):,} rows failed, see {options.dead_letters}; {first.id!r} {first.reason}")
    print_coverage(report.coverage)
    if not report.coverage.missing:
        console.print("The old vectors are still in service.")
        show_verb("verify", artifact, url, items, text_column)


def status(artifact: ArtifactPath, url: Url, as_json: Json = False) -> None:
    """Show how far a migration is and which space is in service.

    Example:
    ```bash
    embcompat migrate status old-to-new 'lancedb:///data/gallery#docs.vector'
    ```
    """
    from embcompat.migration import job_of

    with open_both(artifact, url) as (aligner, store):
        state = store.state(job_of(aligner.artifact))
        coverage = None if state.phase == "untouched" else store.coverage(job_of(aligner.artifact))
    space = "unknown (the store does not record it)" if state.space is None else state.space.id
    if as_json:
        counts = None if coverage is None else {**vars(coverage), "missing": coverage.missing}
        space_id = None if state.space is None else state.space.id
        print_json({"url": store.url, "phase": state.phase, "space": space_id, "coverage": counts})
        return
    output().print(f"{store.url}: {state.phase.replace('_', ' ')}; space in service: {space}", soft_wrap=True)
    if coverage is not None:
        print_coverage(coverage)
    show_verb(_AFTER[state.phase], artifact, url, None, None)


_AFTER: Final = {"untouched": "plan", "prepared": "run", "cut_over": "sweep", "finished": "sweep"}
"""What comes next in each phase. A prepared gallery may still have rows to convert, which `run` counts."""


def verify(
    artifact: ArtifactPath,
    url: Url,
    max_failures: MaxFailures = 0,
    text_column: TextColumn = None,
    items: ItemsFile = None,
    as_json: Json = False,
) -> None:
    """Count both sides, read a sample back and map the canary. Exit code 3 if a cutover would be blocked.

    Example:
    ```bash
    embcompat migrate verify old-to-new 'lancedb:///data/gallery#docs.vector'
    ```
    """
    from embcompat.migration import RunOptions, verify_migration

    options = RunOptions(**texts(items, text_column))
    with open_both(artifact, url) as (aligner, store):
        report = verify_migration(aligner, store, max_failures=max_failures, options=options)
    if as_json:
        print_json(report.to_dict())
    else:
        print_coverage(report.coverage)
        print_notes(report.notes)
        output().print(f"{report.sampled_rows} rows read back, largest relative difference {report.sample_error:.2g}")
    if report.problems:
        raise GateError(" ".join(report.problems))
    if not as_json:
        show_verb("cutover", artifact, url, items, text_column)


def cutover(
    artifact: ArtifactPath,
    url: Url,
    max_failures: MaxFailures = 0,
    batch_size: BatchSize = None,
    threads: Threads = 1,
    metric: Metric = None,
    accept_changes: AcceptChanges = False,
    text_column: TextColumn = None,
    items: ItemsFile = None,
    lock_timeout: LockTimeout = 0.15,
    tries: Tries = 30,
    journal: JournalPath = None,
    dead_letters: DeadLetters = None,
    as_json: Json = False,
) -> None:
    """Reconcile, verify, and put the converted vectors into service in one step. The old side is kept.

    Example:
    ```bash
    embcompat migrate cutover old-to-new 'lancedb:///data/gallery#docs.vector'
    ```
    """
    from embcompat.migration import RunOptions, cut_over
    from embcompat.stores import LockWait

    with open_both(artifact, url) as (aligner, store):
        store.lock_wait = LockWait(lock_timeout, tries)
        options = RunOptions(
            batch_size=batch_size,
            threads=threads,
            metric=metric,
            accept_changes=accept_changes,
            **texts(items, text_column),
            **files(aligner, journal, dead_letters),
        )
        report = cut_over(
            aligner,
            store,
            max_failures=max_failures,
            options=options,
            progress=lambda rows: track("Reconciling", rows),
            index_progress=show_step("Building the index", store.index_status),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_coverage(report.coverage)
        print_notes(report.notes)
        output().print(f"{aligner.artifact.target.id} is in service. The old side is kept until migrate drop-old.")
        show_verb("sweep", artifact, url, items, text_column)
