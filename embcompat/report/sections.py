"""What the page says of each result: verdict, headline figures, pictures, examples, provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from pydantic import JsonValue

from embcompat.report.plots.curves import draw_backfill, draw_learning
from embcompat.report.plots.hybrid import draw_hybrid
from embcompat.report.plots.picture import Picture
from embcompat.report.plots.retrieval import (
    draw_candidates,
    draw_lines,
    draw_options,
    draw_projection,
    draw_recall,
    draw_sizes,
    draw_times,
)
from embcompat.report.plots.verification import draw_det, draw_histograms, draw_scenarios
from embcompat.report.tables import as_far
from embcompat.report.wording import (
    DECISIONS,
    FIDELITY,
    NEEDS,
    as_factor,
    as_interval,
    as_number,
    as_percent,
    as_seconds,
    as_share,
)
from embcompat.results import Example, LearningCurve, ResultFile, RetrievalReport, VerificationReport

_HEADINGS: Final = {
    "retrieval": "Search",
    "demo": "Search",
    "verification": "Verification",
    "learning_curve": "Pairs",
    "backfill_curve": "Backfill",
}
_KEEPS: Final = ("stay", "reindex", "unjudged")


@dataclass(frozen=True)
class Tile:
    """One headline figure.

    Attributes:
        name: What it is.
        value: The figure.
        detail: Its interval, or what it is made of.
    """

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """What to do.

    Attributes:
        decision: As an instruction, or empty.
        tone: ``go`` where something of the gallery is converted, else ``hold``.
        reason: Why, or empty.
        because: What stands behind the reason.
        needs: The sentence that says which models must be alive, or empty.
    """

    decision: str
    tone: Literal["go", "hold"]
    reason: str
    because: tuple[str, ...]
    needs: str


@dataclass(frozen=True)
class Section:
    """One result, ready for the page.

    Attributes:
        key: What its ids start with.
        heading: Its heading.
        spaces: The old and the new space, as far as they are known.
        verdict: What to do, or None.
        notes: What to know before the figures.
        tiles: Headline figures.
        pictures: The drawings.
        examples: Searches before and after.
        provenance: Names and values of what made the figures.
    """

    key: str
    heading: str
    spaces: tuple[str, ...]
    verdict: Verdict | None
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    pictures: tuple[Picture, ...]
    examples: tuple[Example, ...]
    provenance: tuple[tuple[str, tuple[str, ...]], ...]


def make_section(result: ResultFile, key: str) -> Section:
    """Draw a result and put what it says into words.

    Args:
        result: What to show.
        key: What the ids of the section start with; unique within a page.
    """
    spaces = (result.old_space, result.new_space)
    return Section(
        key=key,
        heading=result.title or _HEADINGS[result.kind],
        spaces=tuple(space for space in spaces if space),
        verdict=make_verdict(result),
        notes=tuple(make_notes(result)),
        tiles=tuple(make_tiles(result)),
        pictures=tuple(_pictures(result, key)),
        examples=result.examples,
        provenance=tuple(_flatten(_origin(result) | result.provenance)),
    )


def make_verdict(result: ResultFile) -> Verdict | None:
    """Put a result's decision and its reason into words; None where it has neither."""
    decision = result.decision
    if result.reason is None:
        return None
    needs = "" if decision is None else " and ".join(NEEDS[model] for model in decision.needs)
    return Verdict(
        decision="" if decision is None else DECISIONS[decision.mode],
        tone="hold" if decision is not None and decision.mode in _KEEPS else "go",
        reason=_keep_units(result.reason),
        because=() if decision is None else tuple(_keep_units(sentence) for sentence in decision.because),
        needs=f"At query time it needs {needs}." if needs else "",
    )


def _keep_units(sentence: str) -> str:
    """Keep a number and its per cent sign on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _pictures(result: ResultFile, key: str) -> list[Picture]:
    measured = result.measured
    drawings: list[Callable[[str], Picture | None]]
    if isinstance(measured, RetrievalReport):
        drawings = [
            partial(draw_lines, measured, fidelity=result.relevance == FIDELITY),
            partial(draw_options, result.options),
            partial(draw_hybrid, measured, result.hybrid),
            partial(draw_sizes, measured),
            partial(draw_recall, measured),
            partial(draw_times, result.times),
        ]
    elif isinstance(measured, VerificationReport):
        drawings = [partial(draw_scenarios, measured), partial(draw_det, measured)]
    elif isinstance(measured, LearningCurve):
        drawings = [partial(draw_learning, measured)]
    else:
        drawings = [partial(draw_backfill, measured)]
    drawings += [
        partial(draw_histograms, result.histograms),
        partial(draw_projection, result.projection),
        partial(draw_candidates, result.candidates),
    ]
    pictures = (draw(f"{key}-picture{number}") for number, draw in enumerate(drawings, start=1))
    return [picture for picture in pictures if picture is not None]


def make_notes(result: ResultFile) -> list[str]:
    """Return what to know before the figures, and why some are absent."""
    absent = result.measured.reasons if isinstance(result.measured, RetrievalReport) else {}
    shown = {name: why for name, why in absent.items() if name != "gap"}  # the verdict says what a gap would
    return [*result.notes, *(f"No {name.replace('_', ' ')}: {why}." for name, why in shown.items())]


def make_tiles(result: ResultFile) -> list[Tile]:
    """Return the headline figures of a result."""
    if isinstance(result.measured, RetrievalReport):
        return _retrieval_tiles(result, result.measured)
    if isinstance(result.measured, VerificationReport):
        return _verification_tiles(result.measured)
    return []


def _retrieval_tiles(result: ResultFile, report: RetrievalReport) -> list[Tile]:
    tiles, times = [], result.times
    if report.retention:
        name = "Fidelity" if result.relevance == FIDELITY else "Converting keeps"
        of = "of the new model's own ranking" if result.relevance == FIDELITY else "of a full reindex"
        detail = f"{of}, {as_interval(report.retention, as_percent)}"
        tiles.append(Tile(name, as_percent(report.retention.value), detail))
    if report.gap and report.gap.value < 0:
        tiles.append(Tile("Gap closed", "none", "the converted gallery is worse than today"))
    elif report.gap:
        detail = f"of the way from today to a reindex, {as_interval(report.gap, as_percent)}"
        tiles.append(Tile("Gap closed", as_percent(report.gap.value), detail))
    if times.speedup is not None:
        detail = f"{as_seconds(times.reembed_seconds)} to re-embed it all" if times.reembed_seconds else ""
        tiles.append(Tile("Faster than a reindex", as_factor(times.speedup), detail))
    if times.convert_seconds is not None:
        tiles.append(Tile("Conversion alone", as_seconds(times.convert_seconds), "of the whole gallery"))
    if report.queries:
        detail = f"against {report.gallery_size:,} items" if report.gallery_size else ""
        if report.native_fraction:
            detail += f", {as_percent(report.native_fraction)} of them native"
        tiles.append(Tile("Held-out queries", f"{report.queries:,}", detail))
    return tiles


def _verification_tiles(report: VerificationReport) -> list[Tile]:
    mixed, native = report.scenarios["S3"], report.scenarios["S1"]
    at = f"false accepts at {as_share(report.target_frr)} false rejects"
    tiles = [
        Tile("Converted – new", as_far(mixed.far_at_frr, mixed), at),
        Tile("New – new", as_far(native.far_at_frr, native), "what a full reindex accepts"),
    ]
    if report.status_quo_ratio:
        detail = f"as many false accepts, {as_interval(report.status_quo_ratio, as_factor)}"
        tiles.append(Tile("Against today", as_factor(report.status_quo_ratio.value), detail))
    distance = f"converted and new vector of one item {as_number(report.same_item_distance)} apart"
    return [*tiles, Tile("Held-out subjects", f"{report.subjects:,}", distance)]


def _origin(result: ResultFile) -> dict[str, JsonValue]:
    """Return the provenance that a result holds outside its part of that name."""
    origin: dict[str, JsonValue] = {
        "aligner": result.aligner,
        "artifact": result.artifact,
        "relevance": result.relevance,
        "seed": result.seed,
    }
    return {name: value for name, value in origin.items() if value is not None}


def _flatten(provenance: Mapping[str, JsonValue]) -> list[tuple[str, tuple[str, ...]]]:
    """Return each entry as its name and one or more lines."""
    entries = []
    for name, value in provenance.items():
        if isinstance(value, Mapping):
            lines = [f"{key} {_text(each)}" for key, each in value.items()]
        elif isinstance(value, list):
            lines = [_text(each) for each in value]
        else:
            lines = [_text(value)]
        entries.append((name.replace("_", " "), tuple(lines)))
    return entries


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else str(value)
