"""What to do about a new model, from held-out figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from embcompat.errors import InputError
from embcompat.results import MIN_QUERIES, Decision, Mode, Model, Option, RetrievalReport
from embcompat.upgrade.cost.cheapest import Costs
from embcompat.upgrade.decision import reasons
from embcompat.upgrade.decision.options import NEEDS, measured_options

QUALITY_FLOOR = 0.8
"""Share of a full reindex that a mode must keep, by the lower end of its interval [ours]."""

MOST_EMBEDDED = 0.5
"""A mode that embeds more than this share of what a full reindex would is not cheaper than one [ours]."""

SWAP_FLOOR = 0.95
"""Share of a full reindex that the new queries must keep in the old gallery before no aligner is needed, and share of
today's figure, both by the lower ends of their intervals [ours]."""


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
    """Decide what to do about a new model, from the figures of a search.

    The decision is the cheapest mode that beats the status quo and keeps ``quality_floor`` of a full reindex, both by
    the lower end of a 95 % interval. A new model whose figure is no higher than the old one's is not worth any
    migration: stay, unless converted vectors are better than today, which an aligner that weighs directions or reads
    texts can bring about. A new model that reads the old vectors as well as its own needs no migration: swap. A mode
    that embeds more than half of what a full reindex would is no cheaper than one, so it is never the decision. Where
    the old model cannot stay alive there is no status quo to keep, and only the floor counts. Judgements must not come
    from one of the models; `evaluate_upgrade` ensures this.

    Args:
        report: Figures on held-out queries.
        options: Modes that were measured elsewhere, on the same queries. Of several fractions the smallest that is good
            enough is chosen.
        quality_floor: Share of a full reindex that the mode must keep, 0 to 1.
        models_alive: Models that can be alive at query time.
        seconds: Measured time of the modes. The cheapest mode is found by time, or else by price, if every mode in
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
    measured = [*measured_options(report), *options]
    full = next(option for option in measured if option.mode == "reindex")
    possible = [option for option in measured if set(option.needs) <= set(models_alive)]
    if not possible:
        return Decision("stay", "The new model cannot be alive at query time, so staying is the only choice.", ("old",))
    if report.queries < MIN_QUERIES:
        return _undecided(report, can_stay)
    swap = next((option for option in possible if option.mode == "swap"), None)
    if swap is not None and _interchangeable(report, swap, can_stay):
        return Decision("swap", reasons.swap(swap), swap.needs, None, reasons.points(report, swap, full, costs))
    sound = [option for option in possible if option.keeps(quality_floor)]
    if can_stay:
        sound = [option for option in sound if option.beats_status_quo()]
    if can_stay and full.difference.value <= 0:
        # Native rows would only do harm there, and fused scoring keeps the old model anyway.
        sound = [option for option in sound if option.mode == "convert"]
    cheap = [option for option in sound if option.mode == "reindex" or (option.share_of_reindex or 0) <= MOST_EMBEDDED]
    if not cheap:
        return Decision("stay", reasons.not_better(report, full), ("old",), None, reasons.stay_points(report, measured))
    best = costs.order([option for option in cheap if not any(_leaner(other, option) for other in cheap)])[0]
    if best.mode != "reindex":
        because = reasons.points(report, best, full, costs, floor=quality_floor)
        reason = reasons.cheaper(best, full, can_stay=can_stay)
        return Decision(best.mode, reason, best.needs, best.fraction, because, best.depth)
    others = [option for option in possible if option is not best]
    because = (
        *reasons.points(report, best, full, costs),
        *reasons.against_the_rest(report, others, quality_floor, MOST_EMBEDDED, costs, can_stay=can_stay),
    )
    return Decision("reindex", reasons.reindex(report, best, cheap, measured), ("new",), None, because)


def _undecided(report: RetrievalReport, can_stay: bool) -> Decision:
    """Decide without enough queries: no verdict, or a reindex where the old model must go."""
    shortage = f"Only {report.queries} held-out queries could be judged, and a verdict needs {MIN_QUERIES}"
    hint = ("A hundred judged queries show small differences.",)
    if can_stay:
        return Decision("unjudged", f"{shortage}: nothing tells yet which model is better.", (), None, hint)
    return Decision("reindex", f"{shortage}, so a full reindex is the safe choice.", NEEDS["reindex"], None, hint)


def _interchangeable(report: RetrievalReport, swap: Option, can_stay: bool) -> bool:
    """Return whether the new model reads the old vectors as well as its own, and no worse than the old model does."""
    if not swap.keeps(SWAP_FLOOR):
        return False
    room = (SWAP_FLOOR - 1) * report.lines["status_quo"].value
    return not can_stay or (swap.difference.high >= 0 and swap.difference.low >= room)


def _leaner(other: Option, option: Option) -> bool:
    """Return whether another option does the same with fewer models alive."""
    same = (other.mode, other.fraction, other.depth) == (option.mode, option.fraction, option.depth)
    return same and set(other.needs) < set(option.needs)
