"""Plan a partial backfill: which items, what they cost, what to expect, when to stop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import JsonValue

from embcompat.durations import format_duration
from embcompat.errors import InputError
from embcompat.extractors import Extractor
from embcompat.results import BackfillCurve, Estimate, OrderCurve


@dataclass(frozen=True)
class Budget:
    """How much to re-embed: exactly one of the first five.

    Attributes:
        rows: Number of items.
        fraction: Share of the gallery, native rows included.
        seconds: Time for embedding; needs ``seconds_per_item``.
        money: Amount to spend; needs ``price_per_item``.
        target_retention: Share of a full reindex to reach with as few items as the curve expects; needs a curve.
        seconds_per_item: Time to embed one item, in seconds.
        price_per_item: Price to embed one item, in the unit of ``money``.

    Raises:
        InputError: If not exactly one limit is given, one is out of range, or its cost is missing.
    """

    rows: int | None = None
    fraction: float | None = None
    seconds: float | None = None
    money: float | None = None
    target_retention: float | None = None
    seconds_per_item: float | None = None
    price_per_item: float | None = None

    def __post_init__(self) -> None:
        limits = {name: getattr(self, name) for name in ("rows", "fraction", "seconds", "money", "target_retention")}
        amounts = {name: value for name, value in limits.items() if value is not None}
        if len(amounts) != 1:
            raise InputError(
                f"a budget must be exactly one of {', '.join(limits)}. Got {', '.join(amounts) or 'none'}."
            )
        for name, value in (amounts | {"seconds_per_item": self.seconds_per_item}).items():
            if value is not None and not (value >= 0 and np.isfinite(value)):
                raise InputError(f"{name} must be a number from 0 upwards. Got {value}.")
        for name in ("fraction", "target_retention"):
            if amounts.get(name, 0) > 1:
                raise InputError(f"{name} must be a fraction up to 1. Got {amounts[name]}.")
        for limit, cost in (("seconds", "seconds_per_item"), ("money", "price_per_item")):
            if limit in amounts and not (getattr(self, cost) or 0) > 0:
                raise InputError(f"a budget in {limit} needs {cost}, a positive number. Got {getattr(self, cost)}.")


@dataclass(frozen=True)
class BackfillPlan:
    """What to re-embed, and what to expect of it.

    Attributes:
        ids: The items, the most urgent first.
        order: Name of the order.
        gallery_size: Items of the gallery.
        native_items: Items that were native before.
        expected: Expected retention afterwards, with its interval; None without a curve or below its first point.
        sure_rows: Items after which the interval's lower end reaches the target; None without a target.
        stop_rows: Items after which the interval of the retention includes a full reindex: the curve's data show no
            gain from more. None without a curve.
        seconds: Time for embedding; None without a time per item.
        money: Cost of embedding; None without a price per item.
        target_retention: Target of the budget, or None.
        curve: The curve behind it, as JSON; None without one.
    """

    ids: tuple[str, ...]
    order: str
    gallery_size: int
    native_items: int
    expected: Estimate | None
    sure_rows: int | None
    stop_rows: int | None
    seconds: float | None
    money: float | None
    target_retention: float | None
    curve: Mapping[str, JsonValue] | None

    def __repr__(self) -> str:
        return f"BackfillPlan(items={len(self.ids)}, gallery_size={self.gallery_size}, order={self.order!r})"

    @property
    def fraction(self) -> float:
        """Share of the gallery to re-embed."""
        return len(self.ids) / self.gallery_size

    @property
    def sentence(self) -> str:
        """The plan in words."""
        text = f"Re-embed these {len(self.ids):,} items ({self.fraction:.0%} of the gallery)"
        if self.expected is None:
            text += "; no curve shows what that gains"
        elif self.target_retention is not None:
            text += f" to reach {self.target_retention:.0%} of a full reindex, expected {_between(self.expected)}"
        else:
            text += f": {self.expected.value:.0%} of a full reindex, expected {_between(self.expected)}"
        if self.seconds is not None:
            text += f"; takes {format_duration(self.seconds)}"
        if self.money is not None:
            text += f"; costs {self.money:,.2f}"
        return f"{text}."

    @property
    def advice(self) -> str:
        """When to stop, in words; empty without a curve."""
        sentences = []
        if self.sure_rows is not None and self.sure_rows > len(self.ids):
            sentences.append(f"To be sure of the target, re-embed {self.sure_rows:,} items.")
        if self.stop_rows is not None:
            more = f"after {self.stop_rows:,} items" if self.stop_rows else "now"
            sentences.append(f"Stop {more}: from there on the data show no difference from a full reindex.")
        return " ".join(sentences)


def time_per_item(extractor: Extractor, items: Sequence[Any]) -> float:
    """Measure the seconds that a model takes for one item, on a sample of the items.

    Args:
        extractor: The new model.
        items: Items as they will be embedded; the first chunk warms the model up, the second one is timed.

    Raises:
        InputError: If there is no item.
    """
    if not items:
        raise InputError("at least one item is needed to time the model on. Got none.")
    size = max(1, min(extractor.chunk_size, (len(items) + 1) // 2))
    extractor.extract(items[:size])
    timed = items[size : 2 * size] or items[:size]
    start = time.perf_counter()
    extractor.extract(timed)
    return (time.perf_counter() - start) / len(timed)


def plan_backfill(
    ordered: Sequence[str],
    budget: Budget,
    *,
    native_items: int = 0,
    order: str = "random",
    curve: BackfillCurve | None = None,
) -> BackfillPlan:
    """Choose how many of the ordered items to re-embed, and estimate what that gains.

    The gallery that is planned for has no new vectors, so the curve comes from evaluation data and is read at the same
    share of native rows: pairs and backfill together. Between its points it is interpolated linearly; below its first
    point (the pairs of the evaluation) it is undefined, and a target that is reached there needs the share of that
    point.

    Args:
        ordered: Converted items of the gallery, the most urgent first, see `backfill_order`.
        budget: How much to re-embed.
        native_items: Items of the gallery that are native already and not among ``ordered``.
        order: Name of the order, as the curve calls it.
        curve: What `backfill_curve` measured; needed for a target.

    Raises:
        InputError: If a target comes without a curve, or the curve does not know the order.
    """
    size = native_items + len(ordered)
    if size == 0:
        raise InputError("there must be items to plan for. Got none.")
    if curve is not None and order not in curve.orders:
        raise InputError(f"the curve must hold the order {order!r}. It has {', '.join(curve.orders)}.")
    reading = None if curve is None else _Reading(curve.fractions, curve.orders[order], size, native_items)
    sure = None
    if budget.target_retention is not None:
        if reading is None:
            raise InputError("a target retention needs a curve that was measured on evaluation data. Pass curve=….")
        rows = reading.rows_for([point.value for point in reading.curve.retention], budget.target_retention)
        sure = reading.rows_for([point.low for point in reading.curve.retention], budget.target_retention)
    else:
        rows = _affordable(budget, size, native_items)
    rows = min(rows, len(ordered))
    return BackfillPlan(
        ids=tuple(ordered[:rows]),
        order=order,
        gallery_size=size,
        native_items=native_items,
        expected=None if reading is None else reading.expect(rows),
        sure_rows=sure,
        stop_rows=None if reading is None else reading.rows_for([p.high for p in reading.curve.retention], 1.0),
        seconds=None if budget.seconds_per_item is None else rows * budget.seconds_per_item,
        money=None if budget.price_per_item is None else rows * budget.price_per_item,
        target_retention=budget.target_retention,
        curve=None if curve is None else curve.to_dict(),
    )


@dataclass(frozen=True)
class _Reading:
    """A curve, read for a gallery of another size."""

    fractions: Sequence[float]
    curve: OrderCurve
    size: int
    native_items: int

    def expect(self, rows: int) -> Estimate | None:
        """Read the retention after re-embedding so many rows; None below the curve."""
        share = (self.native_items + rows) / self.size
        if share < self.fractions[0]:
            return None
        ends = [[getattr(each, name) for each in self.curve.retention] for name in ("value", "low", "high")]
        return Estimate(*(float(np.interp(share, self.fractions, end)) for end in ends))

    def rows_for(self, along: Sequence[float], target: float) -> int:
        """Return the fewest rows at which a figure along the curve reaches a target; all rows where none does."""
        share = self.fractions[-1]
        for place, value in enumerate(along):
            if value >= target:
                share = self.fractions[place]
                if place:
                    step = (target - along[place - 1]) / (value - along[place - 1])
                    share = self.fractions[place - 1] + step * (share - self.fractions[place - 1])
                break
        return int(np.clip(np.ceil(share * self.size - 1e-6) - self.native_items, 0, self.size - self.native_items))


def _affordable(budget: Budget, size: int, native_items: int) -> int:
    """Return how many items the budget buys."""
    if budget.rows is not None:
        return budget.rows
    if budget.fraction is not None:
        return max(0, round(budget.fraction * size) - native_items)
    if budget.seconds is not None:
        return int(budget.seconds / (budget.seconds_per_item or 1.0))
    return int((budget.money or 0.0) / (budget.price_per_item or 1.0))


def _between(estimate: Estimate) -> str:
    return f"between {100 * estimate.low:.0f} and {100 * estimate.high:.0f} %"
