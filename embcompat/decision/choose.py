"""What to do about a new model, from held-out figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from embcompat.decision.costs import Costs
from embcompat.decision.options import NEEDS, Mode, Model, Option, measured_options
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import Estimate
from embcompat.evaluation.retrieval.report import MIN_QUERIES, RetrievalReport

QUALITY_FLOOR = 0.8
"""Share of a full reindex that a mode must keep, by the lower end of its interval [ours]."""


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        mode: One of `MODES`.
        reason: Why, in one sentence; if the aligner loses to the status quo it begins with that.
        needs: The models that must be alive at query time.
        fraction: Share of the gallery that is to be native, where the mode is ``backfill``; None otherwise.
    """

    mode: Mode
    reason: str
    needs: tuple[Model, ...]
    fraction: float | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the decision as JSON: ``decision``, ``reason``, ``needs``, ``fraction``."""
        return {"decision": self.mode, "reason": self.reason, "needs": list(self.needs), "fraction": self.fraction}


def decide(
    report: RetrievalReport,
    *,
    options: Sequence[Option] = (),
    quality_floor: float = QUALITY_FLOOR,
    models_alive: Collection[Model] = ("old", "new"),
    seconds: Mapping[Mode, float] | None = None,
    seconds_per_item: float | None = None,
    price_per_item: float | None = None,
) -> Decision:
    """Decide what to do about a new model.

    Chosen is the cheapest mode that beats the status quo and keeps ``quality_floor`` of a full reindex, both by the
    lower end of a 95 % interval. A new model that is not better than the old one is not worth any migration: stay.
    Where the old model cannot stay alive there is no status quo to keep, and only the floor counts.

    Args:
        report: Figures on held-out queries.
        options: Modes that were measured elsewhere, on the same queries. Of several fractions re-embedded the
            smallest that will do is chosen.
        quality_floor: Share of a full reindex that the mode must keep, 0 to 1.
        models_alive: Models that can be alive at query time.
        seconds: Measured time of the modes. What is cheapest is decided by time, else by price, if every mode in
            question has one; by the order of `MODES` otherwise.
        seconds_per_item: Time to embed one item with the new model, for modes that ``seconds`` does not hold.
        price_per_item: Price of embedding one item.

    Raises:
        InputError: If the floor, a model or a cost is out of range.
    """
    if not 0 <= quality_floor <= 1:
        raise InputError(f"quality_floor must be a fraction, 0 to 1. Got {quality_floor}.")
    if not models_alive or not set(models_alive) <= {"old", "new"}:
        raise InputError(f"models_alive must name 'old', 'new' or both. Got {list(models_alive)}.")
    costs = Costs(seconds or {}, seconds_per_item, price_per_item)
    can_stay = "old" in models_alive
    possible = [*measured_options(report), *options]
    full = next(option for option in possible if option.mode == "reindex")
    possible = [option for option in possible if set(option.needs) <= set(models_alive)]
    prefix = f"{report.loss}; " if report.loss else ""

    def verdict(mode: Mode, why: str, option: Option | None = None) -> Decision:
        text = prefix + why
        needs, fraction = (NEEDS[mode], None) if option is None else (option.needs, option.fraction)
        return Decision(mode, text[0].upper() + text[1:] + ".", needs, fraction)

    if report.queries < MIN_QUERIES or not possible:
        mode: Mode = "stay" if can_stay else "reindex"
        few = f"only {report.queries} held-out queries could be judged and a verdict needs {MIN_QUERIES}"
        why = few if possible else "the new model cannot be alive at query time"
        return verdict(mode, f"{why}, so {'staying' if can_stay else 'a full reindex'} is the safe choice")
    if can_stay and full.difference.value <= 0:
        return verdict("stay", f"the new model is not better than the old one ({_against(report, full)})")
    sound = [option for option in possible if option.keeps(quality_floor)]
    if can_stay:
        sound = [option for option in sound if option.beats_status_quo()]
    if not sound:
        why = f"nothing measured is shown to beat the status quo, not even a full reindex ({_against(report, full)})"
        return verdict("stay", why)
    best = costs.order([option for option in sound if not any(_leaner(other, option) for other in sound)])[0]
    if best.mode != "reindex":
        return verdict(best.mode, _why_cheaper(report, best, quality_floor, costs), best)
    return verdict("reindex", _why_reindex(report, best, sound, possible, quality_floor, costs), best)


def _leaner(other: Option, option: Option) -> bool:
    """Say whether another option does the same with fewer models alive."""
    same = (other.mode, other.fraction) == (option.mode, option.fraction)
    return same and set(other.needs) < set(option.needs)


def _why_cheaper(report: RetrievalReport, best: Option, floor: float, costs: Costs) -> str:
    """Say in one clause why a mode below a full reindex is enough."""
    return (
        f"{_says(best)} keeps {_share(best.retention)} of a full reindex, above the floor of {100 * floor:.0f} % "
        f"({_against(report, best)}{costs.say(best)}), with {_alive(best)}"
    )


def _why_reindex(
    report: RetrievalReport,
    best: Option,
    sound: Sequence[Option],
    possible: Sequence[Option],
    floor: float,
    costs: Costs,
) -> str:
    """Say in one clause why nothing below a full reindex will do."""
    value = "is better" if best.beats_status_quo() else "is all that is left without the old model"
    why = f"a full reindex {value} ({_against(report, best)}{costs.say(best)}), with {_alive(best)},"
    if len(sound) > 1:
        nearest = max((option for option in sound if option is not best), key=lambda option: option.retention.low)
        return f"{why} and costs no more than {_says(nearest)}{costs.say(nearest)}"
    others = [option for option in possible if option is not best]
    if not others:
        return why.rstrip(",")
    nearest = max(others, key=lambda option: option.retention.low)
    if nearest.keeps(floor):
        return f"{why} and no cheaper mode above the floor of {100 * floor:.0f} % is shown to be"
    return (
        f"{why} and the best of the cheaper modes, {_says(nearest)}, is not shown to keep the floor of "
        f"{100 * floor:.0f} %: it keeps {_share(nearest.retention)}"
    )


def _says(option: Option) -> str:
    """Name a mode as the subject of a sentence."""
    if option.mode in ("stay", "reindex"):
        return {"stay": "staying", "reindex": "a full reindex"}[option.mode]
    start = "fused scoring" if len(option.needs) == 2 else "converting"
    if option.mode == "lazy_backfill":
        return f"{start} and re-embedding what queries bring up"
    if option.mode == "backfill":
        part = "a part" if option.fraction is None else f"{100 * option.fraction:.3g} %"
        return f"{start} and re-embedding {part} of the gallery"
    return start


def _alive(option: Option) -> str:
    if len(option.needs) == 2:
        return "both models alive at query time"
    return f"only the {option.needs[0]} model alive at query time"


def _against(report: RetrievalReport, option: Option) -> str:
    found = option.difference
    return (
        f"{report.metric} {found.value:+.3f} against the status quo, 95 % interval {found.low:+.3f} to "
        f"{found.high:+.3f}"
    )


def _share(retention: Estimate) -> str:
    value, low, high = (f"{100 * part:.1f} %" for part in (retention.value, retention.low, retention.high))
    return f"{value} (95 % interval {low} to {high})"
