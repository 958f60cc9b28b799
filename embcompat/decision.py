"""The verdict: what to do about a new model, from held-out figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import Estimate
from embcompat.evaluation.retrieval_report import MIN_QUERIES, Line, RetrievalReport

Mode = Literal["stay", "convert", "fused", "lazy_backfill", "backfill", "reindex"]
Model = Literal["old", "new"]

MODES: tuple[Mode, ...] = ("stay", "convert", "fused", "lazy_backfill", "backfill", "reindex")
"""From the least to the most effort: the order of preference where costs are not measured [ours]."""

QUALITY_FLOOR = 0.8
"""Share of a full reindex that a mode must keep, by the lower end of its interval [ours]."""

_LINES: dict[Mode, Line] = {"convert": "converted", "fused": "fused", "reindex": "full_reindex"}
_NEEDS: dict[Mode, tuple[Model, ...]] = {
    "stay": ("old",),
    "convert": ("new",),
    "fused": ("old", "new"),
    "reindex": ("new",),
}
_ALL, _NOTHING = Estimate(1.0, 1.0, 1.0), Estimate(0.0, 0.0, 0.0)
_SAYS: dict[Mode, str] = {
    "stay": "staying",
    "convert": "converting",
    "fused": "fused scoring",
    "lazy_backfill": "converting and re-embedding what queries bring up",
    "backfill": "converting and re-embedding a part",
    "reindex": "a full reindex",
}


@dataclass(frozen=True)
class Option:
    """A mode that could be chosen, with what was measured of it on held-out queries.

    Attributes:
        mode: What would be done.
        difference: Its metric less that of the status quo.
        retention: Its metric as a share of a full reindex's.
        needs: The models that must be alive at query time.
    """

    mode: Mode
    difference: Estimate
    retention: Estimate
    needs: tuple[Model, ...]

    def beats_status_quo(self) -> bool:
        """Say whether the interval of the difference lies above zero."""
        return self.difference.low > 0

    def keeps(self, floor: float) -> bool:
        """Say whether the interval of the retention lies at or above a floor."""
        return self.retention.low >= floor


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        mode: One of `MODES`.
        reason: Why, in one sentence; if the aligner loses to the status quo it begins with that.
        needs: The models that must be alive at query time.
    """

    mode: Mode
    reason: str
    needs: tuple[Model, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the decision as JSON: ``decision``, ``reason``, ``needs``."""
        return {"decision": self.mode, "reason": self.reason, "needs": list(self.needs)}


def measured_options(report: RetrievalReport) -> list[Option]:
    """Return the modes that a report measured, each with the figures that speak least for it.

    Where items were fitted, the figures with and without them in the gallery must both hold: the lower ends count.
    """
    options = []
    for mode, line in _LINES.items():
        if line not in report.lines:
            continue
        # A full reindex has no converted rows, so the fitted items cannot bias it.
        parts = report.parts[:1] if mode == "reindex" else report.parts
        differences = [part.differences[line] for part in parts]
        retentions = [_ALL if mode == "reindex" else part.retentions.get(line, _NOTHING) for part in parts]
        options.append(Option(mode, min(differences, key=_low), min(retentions, key=_low), _NEEDS[mode]))
    return options


def decide(
    report: RetrievalReport,
    *,
    options: Sequence[Option] = (),
    quality_floor: float = QUALITY_FLOOR,
    models_alive: Collection[Model] = ("old", "new"),
    seconds: Mapping[Mode, float] | None = None,
) -> Decision:
    """Decide what to do about a new model.

    Chosen is the cheapest mode that beats the status quo and keeps ``quality_floor`` of a full reindex, both by the
    lower end of a 95 % interval. A new model that is not better than the old one is not worth any migration: stay.
    Where the old model cannot stay alive there is no status quo to keep, and only the floor counts.

    Args:
        report: Figures on held-out queries.
        options: Modes that were measured elsewhere, on the same queries.
        quality_floor: Share of a full reindex that the mode must keep, 0 to 1.
        models_alive: Models that can be alive at query time.
        seconds: Measured cost of the modes. They decide what is cheapest if every mode in question has one, the
            order of `MODES` otherwise.

    Raises:
        InputError: If the floor, a model or a cost is out of range.
    """
    costs = _checked(quality_floor, models_alive, seconds or {})
    can_stay = "old" in models_alive
    possible = [*measured_options(report), *options]
    full = next(option for option in possible if option.mode == "reindex")
    possible = [option for option in possible if set(option.needs) <= set(models_alive)]
    prefix = f"{report.loss}; " if report.loss else ""

    def verdict(mode: Mode, why: str, needs: tuple[Model, ...]) -> Decision:
        text = prefix + why
        return Decision(mode, text[0].upper() + text[1:] + ".", needs)

    if report.queries < MIN_QUERIES or not possible:
        mode: Mode = "stay" if can_stay else "reindex"
        few = f"only {report.queries} held-out queries could be judged and a verdict needs {MIN_QUERIES}"
        why = few if possible else "the new model cannot be alive at query time"
        return verdict(mode, f"{why}, so {_SAYS[mode]} is the safe choice", _NEEDS[mode])
    if can_stay and full.difference.value <= 0:
        return verdict("stay", f"the new model is not better than the old one ({_against(report, full)})", ("old",))
    sound = [option for option in possible if option.keeps(quality_floor)]
    if can_stay:
        sound = [option for option in sound if option.beats_status_quo()]
    if not sound:
        why = f"nothing measured is shown to beat the status quo, not even a full reindex ({_against(report, full)})"
        return verdict("stay", why, ("old",))
    costed = all(option.mode in costs for option in sound)
    best = min(sound, key=lambda option: (costs[option.mode] if costed else 0.0, MODES.index(option.mode)))
    if best.mode != "reindex":
        return verdict(best.mode, _why_cheaper(report, best, quality_floor, costs), best.needs)
    return verdict("reindex", _why_reindex(report, best, sound, possible, quality_floor, costs), best.needs)


def _checked(floor: float, alive: Collection[Model], seconds: Mapping[Mode, float]) -> Mapping[Mode, float]:
    if not 0 <= floor <= 1:
        raise InputError(f"quality_floor must be a fraction, 0 to 1. Got {floor}.")
    if not alive or not set(alive) <= {"old", "new"}:
        raise InputError(f"models_alive must name 'old', 'new' or both. Got {list(alive)}.")
    for mode, cost in seconds.items():
        if mode not in MODES or not cost >= 0:
            raise InputError(f"seconds must give modes ({', '.join(MODES)}) a time of 0 or more. Got {mode!r}: {cost}.")
    return seconds


def _why_cheaper(report: RetrievalReport, best: Option, floor: float, costs: Mapping[Mode, float]) -> str:
    """Say in one clause why a mode below a full reindex is enough."""
    both = ", with both models alive at query time" if len(best.needs) == 2 else ""
    return (
        f"{_SAYS[best.mode]} keeps {_share(best.retention)} of a full reindex, above the floor of {100 * floor:.0f} % "
        f"({_against(report, best)}{_cost(best, costs)}){both}"
    )


def _why_reindex(
    report: RetrievalReport,
    best: Option,
    sound: Sequence[Option],
    possible: Sequence[Option],
    floor: float,
    costs: Mapping[Mode, float],
) -> str:
    """Say in one clause why nothing below a full reindex will do."""
    value = "is better" if best.beats_status_quo() else "is all that is left without the old model"
    why = f"a full reindex {value} ({_against(report, best)}{_cost(best, costs)})"
    if len(sound) > 1:
        nearest = max((option for option in sound if option is not best), key=lambda option: option.retention.low)
        return f"{why} and takes no longer than {_SAYS[nearest.mode]}{_cost(nearest, costs)}"
    others = [option for option in possible if option is not best]
    if not others:
        return why
    nearest = max(others, key=lambda option: option.retention.low)
    if nearest.keeps(floor):
        return f"{why}, and no cheaper mode above the floor of {100 * floor:.0f} % is shown to be"
    return (
        f"{why}, and the best of the cheaper modes, {_SAYS[nearest.mode]}, keeps only {_share(nearest.retention)} of "
        f"it, below the floor of {100 * floor:.0f} %"
    )


def _against(report: RetrievalReport, option: Option) -> str:
    found = option.difference
    return (
        f"{report.metric} {found.value:+.3f} against the status quo, 95 % interval {found.low:+.3f} to "
        f"{found.high:+.3f}"
    )


def _share(retention: Estimate) -> str:
    value, low, high = (f"{100 * part:.1f} %" for part in (retention.value, retention.low, retention.high))
    return f"{value} (95 % interval {low} to {high})"


def _cost(option: Option, costs: Mapping[Mode, float]) -> str:
    return f", {costs[option.mode]:.3g} s" if option.mode in costs else ""


def _low(estimate: Estimate) -> float:
    return estimate.low
