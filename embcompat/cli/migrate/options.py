"""Options and printing that the commands of ``embcompat migrate`` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import option_words, output, show_next
from embcompat.durations import format_duration
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.migration import MigrationPlan
    from embcompat.runtime import OnnxAligner
    from embcompat.stores import Coverage, GalleryStore, IndexEstimate

ArtifactPath = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The artifact directory.")]
Url = Annotated[str, typer.Argument(metavar="STORE_URL", help="The gallery, such as lancedb:///data#docs.vector.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
BatchSize = Annotated[int | None, typer.Option(help="Rows written at a time; the store's own choice by default.")]
Threads = Annotated[int, typer.Option(help="Threads that convert.")]
JournalPath = Annotated[
    Path | None, typer.Option("--journal", help="JSON lines of every step; migrate-ID.jsonl by default.")
]
DeadLetters = Annotated[
    Path | None, typer.Option(help="JSON lines of rows that failed; migrate-ID.failed.jsonl by default.")
]
Metric = Annotated[
    Similarity | None, typer.Option(help="Metric of the new index: cosine, dot or euclidean; kept as it is by default.")
]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Continue although something cannot be kept; see migrate plan.")
]
TextColumn = Annotated[
    str | None,
    typer.Option(help="Column of the texts that a text-aware aligner reads: of the gallery, or of --items if given."),
]
MaxFailures = Annotated[int, typer.Option(min=0, help="Rows that may stay without a converted vector.")]

LockTimeout = Annotated[
    float,
    typer.Option(min=0.001, help="Longest wait for a lock, in seconds; other queries queue meanwhile (PostgreSQL)."),
]
Tries = Annotated[
    int, typer.Option(min=1, help="Number of attempts to get the lock, with growing pauses (PostgreSQL).")
]


def texts(items: Path | None, text_column: str | None) -> dict[str, Any]:
    """Return the source of a text-aware aligner's texts: a file of items by id, or a column of the gallery."""
    from embcompat.cli.inputs.words import read_texts

    return {"text_column": text_column} if items is None else {"texts": read_texts(items, text_column)}


@contextmanager
def open_both(artifact: Path, url: str) -> Iterator[tuple[OnnxAligner, GalleryStore]]:
    """Open an artifact and a gallery."""
    from embcompat.runtime import OnnxAligner
    from embcompat.stores import open_store

    aligner = OnnxAligner(artifact, threads=1)
    with closing(open_store(url)) as store:
        yield aligner, store


def default_journal(artifact_id: str) -> Path:
    """Return the default file of the journal of a migration with this artifact."""
    return Path(f"migrate-{artifact_id[:12]}.jsonl")


def files(aligner: OnnxAligner, journal: Path | None, dead_letters: Path | None) -> dict[str, Any]:
    """Return the files of the journal and of the failed rows."""
    default = default_journal(aligner.artifact.id)
    return {"journal": journal or default, "dead_letters": dead_letters or default.with_suffix(".failed.jsonl")}


def print_plan(cost: MigrationPlan) -> None:
    """Print the costs of a migration, and what it cannot do or keep."""
    console = output()
    console.print(f"{cost.url}: {cost.phase.replace('_', ' ')}", soft_wrap=True)
    console.print(f"{cost.rows:,} rows, {cost.without_vector:,} without a vector, {cost.missing:,} to convert")
    free = "" if cost.free_bytes is None else f"; {size(cost.free_bytes)} free"
    console.print(f"{size(cost.source_bytes)} of vectors now, {size(cost.target_bytes)} more beside them{free}")
    if cost.copied_bytes:
        console.print(f"about {size(cost.copied_bytes)} more for other columns, indexes and old versions of rows")
    writing = (
        "comes on top" if cost.write_seconds is None else f"takes about {format_duration(cost.write_seconds)} more"
    )
    console.print(f"reading and converting take at least {format_duration(cost.seconds_at_least)}; writing {writing}")
    for estimate in cost.index_estimates:
        console.print(f"index {_describe_index(estimate)}", markup=False)
    if cost.index is not None and cost.missing and not cost.index_estimates:
        console.print(f"the {cost.index} index will be rebuilt, which can take far longer than the conversion")
    if cost.missing:
        low, high = cost.total_seconds_low, cost.total_seconds_high
        end = "or more; not all of it was measured" if high is None else f"to {format_duration(high)}"
        console.print(f"the whole run takes {format_duration(low)} {end}")
    for obstacle in cost.obstacles:
        console.print(("not kept: " if obstacle.acceptable else "not possible: ") + obstacle.text, markup=False)
    if cost.neighbours_kept is not None:
        console.print(f"rounding keeps {cost.neighbours_kept:.2%} of the ten nearest neighbours among the sampled rows")
    print_notes(cost.notes)


def _describe_index(estimate: IndexEstimate) -> str:
    """Describe the time and size of building an index."""
    name = f"{estimate.index}: "
    if estimate.seconds is None or estimate.seconds_low is None or estimate.seconds_high is None:
        return f"{name}its time, which can be far longer than the conversion, was not measured: {estimate.remark}"
    low, seconds, high = map(format_duration, (estimate.seconds_low, estimate.seconds, estimate.seconds_high))
    space = "" if estimate.bytes is None else f", {size(estimate.bytes)}"
    remark = f"; {estimate.remark}" if estimate.remark else ""
    sample = f"estimated from {estimate.sample_rows:,} rows"
    return f"{name}about {seconds} ({low} to {high}) for {estimate.rows:,} rows{space}, {sample}{remark}"


def print_coverage(coverage: Coverage) -> None:
    """Print the row counts."""
    counts = [f"{coverage.converted:,} converted", f"{coverage.missing:,} missing"]
    others = {
        "native": coverage.native,
        "without a vector": coverage.without_vector,
        "whose source row is gone": coverage.orphans,
    }
    counts += [f"{count:,} {what}" for what, count in others.items() if count]
    output().print(f"{coverage.rows:,} rows: {', '.join(counts)}")


def print_notes(notes: Sequence[str]) -> None:
    """Print what an application must know about the switch."""
    for note in notes:
        output().print(f"note: {note}", markup=False, soft_wrap=True)


def show_verb(verb: str, artifact: Path, url: str, items: Path | None, text_column: str | None, *more: str) -> None:
    """Print the step of the migration that comes next, with the texts that it reads."""
    texts_read = option_words(text_column=text_column, items=items) if verb in _READ_TEXTS else []
    show_next("migrate", verb, artifact, url, *texts_read, *more)


_READ_TEXTS = ("run", "verify", "cutover", "sweep")


def size(count: int) -> str:
    """Write a number of bytes in the unit that suits it."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"
