"""The sections of the page for each result: the verdict, pictures, evidence, examples, provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydantic import JsonValue

from embcompat.report.headline import HEADLINE, Tile, Verdict, make_tiles, make_verdict
from embcompat.report.plots.budget import draw_budget
from embcompat.report.plots.curves import draw_backfill, draw_learning
from embcompat.report.plots.hybrid import draw_hybrid
from embcompat.report.plots.picture import Picture
from embcompat.report.plots.retrieval import (
    draw_candidates,
    draw_lines,
    draw_projection,
    draw_recall,
    draw_sizes,
    draw_times,
)
from embcompat.report.plots.verification import draw_det, draw_groups, draw_histograms, draw_scenarios
from embcompat.report.tables import Rows, describe_texts, tabulate_changes, tabulate_texts
from embcompat.report.wording import FIDELITY
from embcompat.results import (
    Check,
    Example,
    LearningCurve,
    QueryChanges,
    ResultFile,
    RetrievalReport,
    VerificationReport,
)

_HEADINGS: Final = {
    "retrieval": "Search",
    "demo": "Search",
    "verification": "Verification",
    "learning_curve": "Pairs",
    "backfill_curve": "Backfill",
}
_MASTHEAD: Final = ("date", "command")
"""Provenance that stands under a heading."""


@dataclass(frozen=True)
class ChangedQueries:
    """The queries that converting makes better and worse.

    Attributes:
        sentence: How many there are.
        tables: A heading and the queries of each side, where there are any.
    """

    sentence: str
    tables: tuple[tuple[str, Rows], ...]


@dataclass(frozen=True)
class Section:
    """One result, ready for the page.

    Attributes:
        key: Prefix of its ids.
        heading: Its heading.
        spaces: The old and the new space, as far as they are known.
        origin: When and by what command it was measured, as far as that is known.
        verdict: What to do, or None.
        headline: The three figures that matter most.
        picture: The first drawing, or None.
        checks: What holds and what does not.
        notes: What to know about the figures.
        tiles: Further figures.
        pictures: Further drawings.
        texts: What the texts add to the vectors: a sentence and the figures, or None.
        changes: Queries that got better and worse, or None.
        examples: Searches before and after.
        provenance: Names and values of what made the figures.
    """

    key: str
    heading: str
    spaces: tuple[str, ...]
    origin: tuple[tuple[str, str], ...]
    verdict: Verdict | None
    headline: tuple[Tile, ...]
    picture: Picture | None
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    pictures: tuple[Picture, ...]
    texts: tuple[str, Rows] | None
    changes: ChangedQueries | None
    examples: tuple[Example, ...]
    provenance: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def contents(self) -> tuple[tuple[str, str], ...]:
        """What the section holds: the end of each part's id, and its heading."""
        evidence = self.checks or self.notes or (self.verdict and (self.verdict.because or self.verdict.needs))
        parts = {
            "evidence": ("Evidence", evidence),
            "pictures": ("Pictures", self.pictures),
            "texts": ("Words", self.texts),
            "queries": ("Queries", self.changes),
            "examples": ("Examples", self.examples),
            "provenance": ("Provenance", self.provenance),
        }
        return tuple((key, name) for key, (name, content) in parts.items() if content)

    @property
    def summary(self) -> str:
        """How many checks passed and failed, and how many notes there are."""
        passed = sum(check.passed for check in self.checks)
        parts = [f"{passed} of {len(self.checks)} checks passed"] if self.checks else []
        parts += [f"{len(self.notes)} note{'s' if len(self.notes) > 1 else ''}"] if self.notes else []
        return ", ".join(parts)


def make_section(result: ResultFile, key: str) -> Section:
    """Draw a result and put its figures into words.

    Args:
        result: What to show.
        key: Prefix of the ids of the section; unique within a page.
    """
    spaces = (result.old_space, result.new_space)
    tiles, pictures = make_tiles(result), _pictures(result, key)
    first, others = (pictures[0], pictures[1:]) if pictures and pictures[0].wide else (None, pictures)
    provenance = _origin(result) | result.provenance
    return Section(
        key=key,
        heading=result.title or _HEADINGS[result.kind],
        spaces=tuple(space for space in spaces if space),
        origin=tuple((name, _text(provenance[name])) for name in _MASTHEAD if name in provenance),
        verdict=make_verdict(result),
        headline=tuple(tiles[:HEADLINE]),
        picture=first,
        checks=result.checks,
        notes=tuple(make_notes(result)),
        tiles=tuple(tiles[HEADLINE:]),
        pictures=tuple(others),
        texts=None if result.texts is None else (describe_texts(result.texts), tabulate_texts(result.texts)),
        changes=_changes(result),
        examples=result.examples,
        provenance=tuple(_flatten(provenance)),
    )


def make_notes(result: ResultFile) -> list[str]:
    """Return what to know about the figures, and why some are absent."""
    absent = result.measured.reasons if isinstance(result.measured, RetrievalReport) else {}
    reasons = {name: why for name, why in absent.items() if name != "gap"}  # the verdict says what a gap would
    return [*result.notes, *(f"No {name.replace('_', ' ')}: {why}." for name, why in reasons.items())]


def describe_changes(changes: QueryChanges) -> str:
    """Write how many queries got better and worse."""
    return f"Of the queries, {changes.better:,} are better, {changes.worse:,} are worse and {changes.same:,} equal."


def _changes(result: ResultFile) -> ChangedQueries | None:
    changes = result.measured.changes if isinstance(result.measured, RetrievalReport) else None
    if changes is None or not isinstance(result.measured, RetrievalReport):
        return None
    sides = {"Better": changes.gains, "Worse": changes.losses}
    metric = result.measured.metric
    tables = tuple((name, tabulate_changes(queries, metric)) for name, queries in sides.items() if queries)
    return ChangedQueries(describe_changes(changes), tables)


def _pictures(result: ResultFile, key: str) -> list[Picture]:
    measured = result.measured
    drawings: list[Callable[[str], Picture | None]]
    if isinstance(measured, RetrievalReport):
        drawings = [
            partial(draw_lines, measured, fidelity=result.relevance == FIDELITY),
            partial(draw_budget, measured, result.budget),
            partial(draw_hybrid, measured, result.hybrid),
            partial(draw_sizes, measured),
            partial(draw_recall, measured),
            partial(draw_times, result.times),
        ]
    elif isinstance(measured, VerificationReport):
        drawings = [partial(draw, measured) for draw in (draw_scenarios, draw_groups, draw_det)]
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
