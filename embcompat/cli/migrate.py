"""``embcompat migrate``: a vector store into another space while it stays in service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import messages, output, print_json, track
from embcompat.errors import GateError, InputError

if TYPE_CHECKING:
    from embcompat.runtime import OnnxAligner
    from embcompat.stores import Coverage, GalleryStore

app = typer.Typer(
    name="migrate",
    help="Convert a vector store beside itself, check it, and switch over in one step.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

ArtifactPath = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The artifact directory.")]
Url = Annotated[str, typer.Argument(metavar="STORE_URL", help="The gallery, such as lancedb:///folder#table.column.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
BatchSize = Annotated[int | None, typer.Option(help="Rows written at a time; the store's own choice by default.")]
Threads = Annotated[int, typer.Option(help="Threads that convert.")]
JournalPath = Annotated[
    Path | None, typer.Option("--journal", help="JSON lines of every step; migrate-ID.jsonl by default.")
]
DeadLetters = Annotated[
    Path | None, typer.Option(help="JSON lines of rows that failed; migrate-ID.failed.jsonl by default.")
]
MaxFailures = Annotated[int, typer.Option(min=0, help="Rows that may stay without a converted vector.")]


@app.command()
def plan(artifact: ArtifactPath, url: Url, as_json: Json = False) -> None:
    """Say what a migration would take: rows, bytes, time, disk. Writes nothing.

    Example:
    `embcompat migrate plan old-to-new 'lancedb:///data/gallery#docs.vector'`
    """
    from embcompat.migration import plan_migration

    with _opened(artifact, url) as (aligner, store):
        found = plan_migration(aligner, store)
    if as_json:
        print_json(found.to_dict())
        return
    console = output()
    console.print(f"{found.url}: {found.phase.replace('_', ' ')}", soft_wrap=True)
    console.print(f"{found.rows:,} rows, {found.without_vector:,} without a vector, {found.missing:,} to convert")
    free = "" if found.free_bytes is None else f"; {_size(found.free_bytes)} free"
    console.print(f"{_size(found.source_bytes)} of vectors now, {_size(found.target_bytes)} more beside them{free}")
    if found.copied_bytes:
        console.print(f"about {_size(found.copied_bytes)} more for other columns, indexes and old versions of rows")
    tried = "comes on top" if found.write_seconds is None else f"takes about {found.write_seconds:,.2g} s more"
    console.print(f"reading and converting take at least {found.seconds_at_least:,.2g} s; writing {tried}")
    for obstacle in found.obstacles:
        console.print(("not kept: " if obstacle.acceptable else "not possible: ") + obstacle.text, markup=False)
    if found.index is not None:
        console.print(
            f"the {found.index} index is built again over {found.missing:,} rows, which can take far longer than the "
            "conversion; how long was not estimated"
            if found.write_seconds is None
            else f"the {found.index} index is built again; that is part of writing, and was tried on few rows"
        )


@app.command()
def run(
    artifact: ArtifactPath,
    url: Url,
    batch_size: BatchSize = None,
    threads: Threads = 1,
    max_rows_per_second: Annotated[float | None, typer.Option(help="Most rows a second, to spare the store.")] = None,
    shard: Annotated[str, typer.Option(help="i/n: the part of the gallery that this worker takes, from 0/n.")] = "0/1",
    journal: JournalPath = None,
    dead_letters: DeadLetters = None,
    as_json: Json = False,
) -> None:
    """Convert what is not converted yet, beside the vectors in service. May be killed and started again anywhere.

    Examples:
    `embcompat migrate run old-to-new 'lancedb:///data/gallery#docs.vector' --max-rows-per-second 5000`

    `embcompat migrate run old-to-new 'lancedb:///data/gallery#docs.vector' --shard 0/4`
    """
    from embcompat.migration import RunOptions, parse_shard, run_migration

    with _opened(artifact, url) as (aligner, store):
        options = RunOptions(
            batch_size=batch_size,
            threads=threads,
            shard=parse_shard(shard),
            max_rows_per_second=max_rows_per_second,
            **_files(aligner, journal, dead_letters),
        )
        report = run_migration(
            aligner,
            store,
            options=options,
            progress=lambda rows: track("Converting", rows),
            index_progress=_shown("Building the index"),
        )
    if as_json:
        print_json(report.to_dict())
        return
    console = output()
    console.print(f"{report.rows:,} rows converted in {report.seconds:,.1f} s ({report.rows_per_second:,.0f} rows/s)")
    if report.index_seconds is not None:
        console.print(f"index built in {report.index_seconds:,.1f} s")
    if report.failures:
        first = report.failures[0]
        console.print(f"{len(report.failures):,} rows failed, see {options.dead_letters}; {first.id!r} {first.reason}")
    _print_coverage(report.coverage)
    if not report.coverage.missing:
        console.print("The old vectors are still in service. Next: migrate cutover.")


@app.command()
def status(artifact: ArtifactPath, url: Url, as_json: Json = False) -> None:
    """Say how far a migration is and which space is in service."""
    from embcompat.migration import job_of

    with _opened(artifact, url) as (aligner, store):
        state = store.state(job_of(aligner.artifact))
        coverage = None if state.phase == "untouched" else store.coverage(job_of(aligner.artifact))
    space = "unknown (the store was never told)" if state.space is None else state.space.id
    if as_json:
        counted = None if coverage is None else {**vars(coverage), "missing": coverage.missing}
        served = None if state.space is None else state.space.id
        print_json({"url": store.url, "phase": state.phase, "space": served, "coverage": counted})
        return
    output().print(f"{store.url}: {state.phase.replace('_', ' ')}; space in service: {space}", soft_wrap=True)
    if coverage is not None:
        _print_coverage(coverage)


@app.command()
def verify(artifact: ArtifactPath, url: Url, max_failures: MaxFailures = 0, as_json: Json = False) -> None:
    """Count both sides, read a sample back and map the canary. Exit code 3 if a cutover would be blocked."""
    from embcompat.migration import verify_migration

    with _opened(artifact, url) as (aligner, store):
        report = verify_migration(aligner, store, max_failures=max_failures)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_coverage(report.coverage)
        output().print(f"{report.sampled_rows} rows read back, largest relative difference {report.sample_error:.2g}")
    if report.problems:
        raise GateError(" ".join(report.problems))


@app.command()
def cutover(
    artifact: ArtifactPath,
    url: Url,
    max_failures: MaxFailures = 0,
    batch_size: BatchSize = None,
    threads: Threads = 1,
    journal: JournalPath = None,
    dead_letters: DeadLetters = None,
    as_json: Json = False,
) -> None:
    """Reconcile, verify, and put the converted vectors into service in one step. The old side is kept."""
    from embcompat.migration import RunOptions, cut_over

    with _opened(artifact, url) as (aligner, store):
        options = RunOptions(batch_size=batch_size, threads=threads, **_files(aligner, journal, dead_letters))
        report = cut_over(
            aligner,
            store,
            max_failures=max_failures,
            options=options,
            progress=lambda rows: track("Reconciling", rows),
            index_progress=_shown("Building the index"),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _print_coverage(report.coverage)
        output().print(f"{aligner.artifact.target.id} is in service. The old side is kept until migrate drop-old.")


@app.command()
def rollback(artifact: ArtifactPath, url: Url, journal: JournalPath = None) -> None:
    """Put the old side back into service in one step."""
    from embcompat.migration import roll_back

    with _opened(artifact, url) as (aligner, store):
        without = roll_back(aligner, store, journal=_files(aligner, journal, None)["journal"])
    output().print(f"{aligner.artifact.source.id} is in service again.")
    if without:
        output().print(
            f"{without:,} rows came in after the cutover and have no old vector: embed them with the old model."
        )


@app.command()
def abort(
    artifact: ArtifactPath,
    url: Url,
    yes: Annotated[bool, typer.Option("--yes", help="Really remove what is listed.")] = False,
    journal: JournalPath = None,
    as_json: Json = False,
) -> None:
    """Give up a migration that is unfinished or was rolled back, and remove everything that it has made.

    Without `--yes` it only lists what it would remove. The vectors in service are not touched.
    """
    from embcompat.migration import abort, job_of

    with _opened(artifact, url) as (aligner, store):
        native = store.coverage(job_of(aligner.artifact)).native
        if yes:
            removed = abort(aligner, store, journal=_files(aligner, journal, None)["journal"])
        else:
            removed = store.leftovers(job_of(aligner.artifact))
    if as_json:
        print_json({"removed": removed if yes else [], "listed": removed, "native": native})
        return
    for phrase in removed:
        output().print(f"{'removed' if yes else 'would remove'}: {phrase}", soft_wrap=True, markup=False)
    if not removed:
        output().print("There is nothing to remove.")
    elif native:
        output().print(f"Among these {'were' if yes else 'are'} {native:,} vectors that the new model itself made.")
    if removed and not yes:
        output().print("Nothing was removed. Pass --yes to remove it.")


@app.command()
def drop_old(
    artifact: ArtifactPath,
    url: Url,
    yes: Annotated[bool, typer.Option("--yes", help="Really delete the old vectors.")] = False,
    journal: JournalPath = None,
) -> None:
    """Delete the old side for good. Nothing else ever does, and there is no rollback after it."""
    from embcompat.migration import drop_old

    if not yes:
        raise InputError("drop-old deletes the old vectors for good. Pass --yes if that is what you want.")
    with _opened(artifact, url) as (aligner, store):
        drop_old(aligner, store, journal=_files(aligner, journal, None)["journal"])
    output().print("The old side is gone.")


@app.command()
def sweep(artifact: ArtifactPath, url: Url, as_json: Json = False) -> None:
    """List rows that an old application wrote after the cutover. Exit code 3 if there are any."""
    from embcompat.migration import sweep

    with _opened(artifact, url) as (aligner, store):
        found = list(sweep(aligner, store))
    if as_json:
        print_json({"rows": found})
    else:
        for identifier in found:
            output().print(identifier, soft_wrap=True)
    if not found:
        messages().print(f"Every row in service is of space {aligner.artifact.target.id}.")
    else:
        raise GateError(
            f"{len(found):,} rows in service do not say that they are of space {aligner.artifact.target.id}."
        )


@contextmanager
def _opened(artifact: Path, url: str) -> Iterator[tuple[OnnxAligner, GalleryStore]]:
    from embcompat.runtime import OnnxAligner
    from embcompat.stores import open_store

    aligner = OnnxAligner(artifact, threads=1)
    with closing(open_store(url)) as store:
        yield aligner, store


def _files(aligner: OnnxAligner, journal: Path | None, dead_letters: Path | None) -> dict[str, Any]:
    name = f"migrate-{aligner.artifact.id[:12]}"
    return {"journal": journal or Path(f"{name}.jsonl"), "dead_letters": dead_letters or Path(f"{name}.failed.jsonl")}


@contextmanager
def _shown(description: str) -> Iterator[None]:
    console = messages()
    if console.is_terminal:
        with console.status(description):
            yield
    else:
        console.print(f"{description} …")
        yield


def _print_coverage(coverage: Coverage) -> None:
    said = [f"{coverage.converted:,} converted", f"{coverage.missing:,} missing"]
    others = {
        "native": coverage.native,
        "without a vector": coverage.without_vector,
        "whose source row is gone": coverage.orphans,
    }
    said += [f"{count:,} {what}" for what, count in others.items() if count]
    output().print(f"{coverage.rows:,} rows: {', '.join(said)}")


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"
