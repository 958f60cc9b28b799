"""What the page says of each result: verdict, headline figures, pictures, examples, provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from pydantic import JsonValue

from embcompat.report.parts import Example, Result
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
from embcompat.report.results import BackfillCurve, LearningCurve, RetrievalResult, VerificationResult
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


def make_section(result: Result, key: str) -> Section:
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
        examples=tuple(result.examples) if isinstance(result, RetrievalResult) else (),
        provenance=tuple(_flatten(_origin(result) | result.provenance)),
    )


def make_verdict(result: Result) -> Verdict | None:
    """Put a result's decision and its reason into words; None where it has neither."""
    if result.decision is None and result.reason is None:
        return None
    needs = " and ".join(NEEDS.get(model, model) for model in result.needs)
    return Verdict(
        decision=DECISIONS.get(result.decision, result.decision) if result.decision else "",
        tone="hold" if result.decision in _KEEPS else "go",
        reason=_keep_units(result.reason or ""),
        because=tuple(_keep_units(sentence) for sentence in result.because),
        needs=f"At query time it needs {needs}." if needs else "",
    )


def _keep_units(sentence: str) -> str:
    """Keep a number and its per cent sign on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _pictures(result: Result, key: str) -> list[Picture]:
    drawn: list[Callable[[str], Picture | None]] = []
    if isinstance(result, RetrievalResult):
        drawn = [partial(draw, result) for draw in (draw_lines, draw_sizes, draw_recall, draw_times)]
        drawn[1:1] = [partial(draw_options, result.options), partial(draw_hybrid, result)]
    elif isinstance(result, VerificationResult):
        drawn = [partial(draw_scenarios, result), partial(draw_det, result)]
    elif isinstance(result, LearningCurve):
        drawn = [partial(draw_learning, result)]
    elif isinstance(result, BackfillCurve):
        drawn = [partial(draw_backfill, result)]
    drawn += [
        partial(draw_histograms, result.histograms),
        partial(draw_projection, result.projection),
        partial(draw_candidates, result.candidates),
    ]
    found = (draw(f"{key}-picture{number}") for number, draw in enumerate(drawn, start=1))
    return [picture for picture in found if picture is not None]


def make_notes(result: Result) -> list[str]:
    """Return what to know before the figures, and why some are absent."""
    absent = result.reasons if isinstance(result, RetrievalResult) else {}
    shown = {name: why for name, why in absent.items() if name != "gap"}  # the verdict says what a gap would
    return [*result.notes, *(f"No {name.replace('_', ' ')}: {why}." for name, why in shown.items())]


def make_tiles(result: Result) -> list[Tile]:
    """Return the headline figures of a result."""
    if isinstance(result, RetrievalResult):
        return _retrieval_tiles(result)
    if isinstance(result, VerificationResult):
        return _verification_tiles(result)
    return []


def _retrieval_tiles(result: RetrievalResult) -> list[Tile]:
    tiles = []
    if result.retention:
        name = "Fidelity" if result.relevance == FIDELITY else "Converting keeps"
        of = "of the new model's own ranking" if result.relevance == FIDELITY else "of a full reindex"
        detail = f"{of}, {as_interval(result.retention, as_percent)}"
        tiles.append(Tile(name, as_percent(result.retention.value), detail))
    if result.gap and result.gap.value < 0:
        tiles.append(Tile("Gap closed", "none", "the converted gallery is worse than today"))
    elif result.gap:
        detail = f"of the way from today to a reindex, {as_interval(result.gap, as_percent)}"
        tiles.append(Tile("Gap closed", as_percent(result.gap.value), detail))
    if result.speedup is not None:
        detail = f"{as_seconds(result.reembed_seconds)} to re-embed it all" if result.reembed_seconds else ""
        tiles.append(Tile("Faster than a reindex", as_factor(result.speedup), detail))
    if result.convert_seconds is not None:
        tiles.append(Tile("Conversion alone", as_seconds(result.convert_seconds), "of the whole gallery"))
    if result.queries is not None:
        detail = "" if result.gallery_size is None else f"against {result.gallery_size:,} items"
        if result.native_fraction:
            detail += f", {as_percent(result.native_fraction)} of them native"
        tiles.append(Tile("Held-out queries", f"{result.queries:,}", detail))
    return tiles


def _verification_tiles(result: VerificationResult) -> list[Tile]:
    tiles = []
    mixed, native = result.scenarios.get("S3"), result.scenarios.get("S1")
    if mixed and mixed.far_at_frr:
        at = "" if result.target_frr is None else f" at {as_share(result.target_frr)} false rejects"
        tiles.append(Tile("Converted – new", as_far(mixed.far_at_frr, mixed), f"false accepts{at}"))
    if native and native.far_at_frr:
        tiles.append(Tile("New – new", as_far(native.far_at_frr, native), "what a full reindex accepts"))
    if result.status_quo_ratio:
        detail = f"as many false accepts, {as_interval(result.status_quo_ratio, as_factor)}"
        tiles.append(Tile("Against today", as_factor(result.status_quo_ratio.value), detail))
    if result.subjects is not None:
        distance = result.same_item_distance
        detail = "" if distance is None else f"converted and new vector of one item {as_number(distance)} apart"
        tiles.append(Tile("Held-out subjects", f"{result.subjects:,}", detail))
    return tiles


def _origin(result: Result) -> dict[str, JsonValue]:
    """Return the provenance that a result holds outside its part of that name."""
    relevance = result.relevance if isinstance(result, RetrievalResult) else None
    found: dict[str, JsonValue] = {
        "aligner": result.aligner,
        "artifact": result.artifact,
        "relevance": relevance,
        "seed": result.seed,
    }
    return {name: value for name, value in found.items() if value is not None}


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
