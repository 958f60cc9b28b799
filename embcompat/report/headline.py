"""The top of a report: the verdict in one sentence, and three numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from embcompat.report.verification import as_far
from embcompat.report.wording import (
    DECISIONS,
    FIDELITY,
    NEEDS,
    as_difference,
    as_factor,
    as_interval,
    as_number,
    as_percent,
    as_seconds,
    as_share,
)
from embcompat.results import Option, ResultFile, RetrievalReport, VerificationReport
from embcompat.upgrade.decision.options import measured_options

_KEEPS: Final = ("stay", "reindex", "unjudged")
HEADLINE: Final = 3
"""Figures above the first picture."""


@dataclass(frozen=True)
class Tile:
    """One headline figure.

    Attributes:
        name: Name of the figure.
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
        tone: ``go`` where a part of the gallery is converted, else ``hold``.
        reason: Why, or empty.
        because: The figures behind the reason.
        needs: The sentence that says which models must be alive, or empty.
    """

    decision: str
    tone: Literal["go", "hold"]
    reason: str
    because: tuple[str, ...]
    needs: str


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


def make_tiles(result: ResultFile) -> list[Tile]:
    """Return the figures of a result, the three that matter most first."""
    if isinstance(result.measured, RetrievalReport):
        return [*_decisive_tiles(result, result.measured), *_search_tiles(result, result.measured)]
    if isinstance(result.measured, VerificationReport):
        return _verification_tiles(result.measured)
    return []


def _decisive_tiles(result: ResultFile, report: RetrievalReport) -> list[Tile]:
    """Return the figures that a verdict rests on: quality, gain and queries; empty without a verdict."""
    chosen, converted, full = (
        _find_option(result, report, mode)
        for mode in ((result.decision.mode if result.decision else ""), "convert", "reindex")
    )
    if result.decision is None or full is None or converted is None:
        return []
    if chosen is None or chosen.mode == "reindex":
        pair = {"Full reindex": full, "Converted gallery": converted}
        return [
            Tile(name, as_difference(option.difference.value), _against_today(option, report))
            for name, option in pair.items()
        ]
    interval = as_interval(chosen.retention, as_percent)
    return [
        Tile("Quality", as_percent(chosen.retention.value), f"of a full reindex, {interval}"),
        Tile("Gain", as_difference(chosen.difference.value), _against_today(chosen, report)),
        *_cost_tile(result, chosen),
    ]


def _cost_tile(result: ResultFile, option: Option) -> list[Tile]:
    """Return the cost of a mode, as far as it is known."""
    chosen = (option.mode, option.needs, option.fraction, option.depth, False)
    for point in result.budget:
        if (point.mode, point.needs, point.fraction, point.depth, point.cold) == chosen:
            time = "" if point.seconds is None else f", {as_seconds(point.seconds)}"
            return [Tile("Cost", as_percent(point.share_of_reindex), f"of what a full reindex embeds{time}")]
    return []


def _against_today(option: Option, report: RetrievalReport) -> str:
    return f"{report.metric} against today, {as_interval(option.difference, as_difference)}"


def _find_option(result: ResultFile, report: RetrievalReport, mode: str) -> Option | None:
    """Return the measurement of a mode on which the decision was based."""
    if not report.parts or any("full_reindex" not in part.differences for part in report.parts):
        return None
    decision = result.decision
    options = [each for each in (*measured_options(report), *result.options) if each.mode == mode]
    if decision is not None and decision.mode == mode:
        chosen = (decision.needs, decision.fraction, decision.depth)
        options = [each for each in options if (each.needs, each.fraction, each.depth) == chosen]
    return options[0] if options else None


def _search_tiles(result: ResultFile, report: RetrievalReport) -> list[Tile]:
    tiles, times = [], result.times
    if result.relevance == FIDELITY and report.retention:
        detail = f"of the new model's own ranking, {as_interval(report.retention, as_percent)}"
        tiles.append(Tile("Fidelity", as_percent(report.retention.value), detail))
    if report.queries:
        detail = f"against {report.gallery_size:,} items" if report.gallery_size else ""
        if report.native_fraction:
            detail += f", {as_percent(report.native_fraction)} of them native"
        tiles.append(Tile("Held-out queries", f"{report.queries:,}", detail))
    if report.retention and result.relevance != FIDELITY:
        detail = f"of a full reindex, {as_interval(report.retention, as_percent)}"
        tiles.append(Tile("Converting keeps", as_percent(report.retention.value), detail))
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


def _keep_units(sentence: str) -> str:
    """Keep a number and its per cent sign on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")
