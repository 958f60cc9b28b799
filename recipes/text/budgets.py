"""What a budget buys on top of text-aware conversion: re-embedding lazily, or a part of the gallery at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embcompat.backfill import Backlog, SearchTask, backfill_curve, replay_lazy
from embcompat.evaluation import bootstrap_difference, bootstrap_mean, bootstrap_ratio

if TYPE_CHECKING:
    from text_aware import Case

DEPTHS = 10, 20, 50
"""Documents that a query brings up in a lazy backfill."""

ORDERS = ("usefulness",)
"""Orders beside the random one."""

SEARCHES = (("converted", None), ("fused", 0.5))
METRIC = "ndcg@10"


def describe(values: np.ndarray, today: np.ndarray, goal: np.ndarray, share: float, seed: int) -> dict:
    """Return a figure with its interval, its difference from today, the share of the gap that it closes, its cost."""
    figures = {"value": bootstrap_mean(values, seed=seed).to_dict(), "share_of_reindex": share}
    if values is not today:
        figures["difference"] = bootstrap_difference(values, today, seed=seed).to_dict()
        figures["gap"] = bootstrap_ratio(values - today, goal - today, seed=seed).to_dict()
    return figures


def measure_budgets(case: Case, today: np.ndarray, goal: np.ndarray, seed: int) -> dict[str, list[dict]]:
    """Measure what re-embedding adds to text-aware conversion: lazily at several depths, and by several orders.

    A lazy backfill is judged twice: as each query was served in turn (*cumulative*: the later ones find what the
    earlier ones left), and as if each query had come first (*cold*: only the conversion is there). Native rows stand
    among converted ones here, so the conversion is the one without reweighting.
    """
    relevance, base = case.relevance, case.base
    sides = replace(case.sides, converted=case.mixable)
    native = np.zeros(len(case.sides.old_gallery), dtype=bool)
    lazy = []
    for search, weight in SEARCHES:
        for depth in DEPTHS:
            curve = replay_lazy(sides, relevance, native, depth=depth, weight=weight, seed=seed)
            embedded = curve.embedded[-1] / len(native)
            first = depth / len(native)  # what one query embeds at most
            for kind, values, part in (("cumulative", curve.values, embedded), ("cold", curve.cold, first)):
                share = base + part * case.shares["gallery"]
                figures = describe(values, today, goal, share, seed)
                lazy.append({"search": search, "depth": depth, "queries": kind, "embedded": part, **figures})
    return {"lazy": lazy, "orders": measure_orders(case, base, float(today.mean()), float(goal.mean()), seed)}


def measure_orders(case: Case, base: float, today: float, goal: float, seed: int) -> list[dict]:
    """Re-embed a part of the gallery at once, in several orders."""
    backlog = Backlog(case.sides.old_gallery, case.mixable, seed=seed)
    sides, qrels = case.sides, case.collection.qrels
    points = []
    for search, weight in SEARCHES:
        task = SearchTask(sides.new_queries, qrels, sides.old_queries, METRIC, weight)
        curve = backfill_curve(backlog, sides.new_gallery, task, orders=ORDERS)
        for name, order in curve.orders.items():
            for fraction, point in zip(curve.fractions, order.metric, strict=True):
                points.append(
                    {
                        "search": search,
                        "order": name,
                        "embedded": fraction,
                        "share_of_reindex": base + fraction * case.shares["gallery"],
                        "value": point.to_dict(),
                        "gap": (point.value - today) / (goal - today),
                    }
                )
    return points
