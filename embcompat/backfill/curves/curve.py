"""What re-embedding a part of the gallery buys: a metric against the fraction that is native, pairs included."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import JsonValue

from embcompat.backfill.backlog import Backlog
from embcompat.backfill.curves.measured import Measured
from embcompat.backfill.curves.search import SearchTask
from embcompat.backfill.curves.verification import VerificationTask
from embcompat.backfill.order import SCORERS, available_orders
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.bootstrap import Estimate
from embcompat.spaces import require_space

Task = SearchTask | VerificationTask

STEPS = 11
"""Equally spaced fractions, both ends included [ours]."""


@dataclass(frozen=True)
class OrderCurve:
    """What one order buys.

    Attributes:
        metric: The metric at each fraction.
        retention: The metric / full reindex at each fraction, paired.
        auc: Plain mean of the metric over the fractions.
        against_random: ``auc`` less that of the random order, paired; None for the random order itself.
    """

    metric: tuple[Estimate, ...]
    retention: tuple[Estimate, ...]
    auc: Estimate
    against_random: Estimate | None

    def to_dict(self, fractions: Sequence[float]) -> dict[str, JsonValue]:
        """Return the curve as JSON."""
        against = self.against_random
        return {
            "fractions": list(fractions),
            "metric": [point.value for point in self.metric],
            "intervals": [_interval(point) for point in self.metric],
            "retention": [point.value for point in self.retention],
            "retention_intervals": [_interval(point) for point in self.retention],
            "auc": self.auc.value,
            "auc_interval": _interval(self.auc),
            "auc_against_random": None if against is None else dict(against.to_dict()),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the curve again from `to_dict`."""
        metric, retention = (
            tuple(_estimate(*each) for each in zip(values[name], values[intervals], strict=True))
            for name, intervals in (("metric", "intervals"), ("retention", "retention_intervals"))
        )
        against = values["auc_against_random"]
        compared = None if against is None else _estimate(against["value"], (against["low"], against["high"]))
        return cls(metric, retention, _estimate(values["auc"], values["auc_interval"]), compared)


@dataclass(frozen=True)
class BackfillCurve:
    """What `backfill_curve` measured.

    Attributes:
        metric: What was measured.
        fractions: Share of all items that the new model has embedded, the fitted pairs included.
        orders: The curve of each order.
        status_quo: The metric before the upgrade, or None.
        full_reindex: The metric after a full reindex.
        weights: For the order ``recommended`` of other galleries: weights chosen on all validation data; empty where
            no order was shown to beat a random one.
        calibrated: Share of the judged data for which calibrating converted scores had been shown to help.
        judged: Number of queries or subjects.
        gallery_size: Number of items.
    """

    metric: str
    fractions: tuple[float, ...]
    orders: Mapping[str, OrderCurve]
    status_quo: float | None
    full_reindex: Estimate
    weights: Mapping[str, float]
    calibrated: float
    judged: int
    gallery_size: int

    @property
    def verdict(self) -> str | None:
        """Which order to take, in one sentence; None where no recommended order was asked for."""
        if "recommended" not in self.orders:
            return None
        if self.weights:
            mixed = " + ".join(name.replace("_", " ") for name in self.weights)
            return f"The recommended order, {mixed}, beats a random one on validation data."
        return "No order was shown to beat a random one on validation data: any order will do."

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the curve again from `to_dict`.

        Raises:
            InputError: If something is missing or of another type.
        """
        try:
            orders = {name: OrderCurve.from_dict(order) for name, order in values["orders"].items()}
            return cls(
                metric=str(values["metric"]),
                fractions=tuple(float(each) for each in next(iter(values["orders"].values()))["fractions"]),
                orders=orders,
                status_quo=None if values["status_quo"] is None else float(values["status_quo"]),
                full_reindex=_estimate(values["full_reindex"], values["full_reindex_interval"]),
                weights={str(name): float(weight) for name, weight in values["weights"].items()},
                calibrated=float(values["calibrated"]),
                judged=int(values["judged"]),
                gallery_size=int(values["gallery_size"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise InputError(f"this is not a backfill curve: {error!r}. Pass what to_dict returned.") from error

    def to_dict(self) -> dict[str, JsonValue]:
        """Return a result of kind ``backfill_curve`` for the report."""
        return {
            "kind": "backfill_curve",
            "metric": self.metric,
            "orders": {name: curve.to_dict(self.fractions) for name, curve in self.orders.items()},
            "status_quo": self.status_quo,
            "full_reindex": self.full_reindex.value,
            "full_reindex_interval": _interval(self.full_reindex),
            "weights": dict(self.weights),
            "calibrated": self.calibrated,
            "judged": self.judged,
            "gallery_size": self.gallery_size,
            "reason": self.verdict,
        }


def backfill_curve(
    backlog: Backlog,
    new_gallery: Embeddings,
    task: Task,
    *,
    native_ids: Collection[str] = (),
    fitted_elsewhere: int = 0,
    orders: Sequence[str] | None = None,
    steps: int = STEPS,
) -> BackfillCurve:
    """Measure what re-embedding buys, on a gallery whose new vectors are all known.

    Rows turn from converted to native in each order, and one list is ranked by scores in the new space. Scores
    against converted rows are calibrated to native ones on ``backlog.held_out``, where validation data show that this
    helps the random order. Nothing is chosen on what is reported: queries are cross-fitted, subjects halved.

    Args:
        backlog: The gallery, old and converted, and what the orders may look at. Without a sample of queries,
            ``usefulness`` sees the queries of the other folds.
        new_gallery: The same items, in the same order, under the new model.
        task: `SearchTask` or `VerificationTask`.
        native_ids: Items that were fitted: served native from the start, and counted as re-embedded.
        fitted_elsewhere: Fitted items that are not in this gallery but are counted as well (the fitted people of a
            verification test).
        orders: Orders to measure, all that the backlog allows when None; ``random`` is always measured.
        steps: Number of equally spaced fractions, from the pairs alone to everything.

    Raises:
        InputError: If the items differ, nothing is left to re-embed, or an order needs what the backlog lacks.
        SpaceMismatchError: If converted and new vectors are not of one space.
        UnknownNameError: If an order or the metric is not known.
    """
    _check(backlog, new_gallery, orders, steps)
    available = available_orders(backlog)
    if isinstance(task, SearchTask) and "usefulness" not in available:
        available.append("usefulness")
    wanted = [*available, "recommended"] if orders is None else list(dict.fromkeys(orders))
    usable = wanted if orders is not None and "recommended" not in wanted else [*available, *wanted]
    kinds = [kind for kind in dict.fromkeys(usable) if kind not in ("random", "recommended")]
    fitted = set(native_ids)
    native = np.fromiter((item in fitted for item in new_gallery.ids.tolist()), bool, len(new_gallery))
    left = int(np.count_nonzero(~native))
    if left == 0:
        raise InputError("there must be converted rows to re-embed. Every row of the gallery was fitted.")
    measured = task.measure(backlog, new_gallery, native, kinds, steps=steps, recommend="recommended" in wanted)
    if not measured.full.values[0] > 0:
        raise InputError(f"a full reindex must find something to compare with. Its {task.metric} is 0.")
    fixed, total = fitted_elsewhere + len(native) - left, fitted_elsewhere + len(native)
    fractions = tuple(float(each) for each in (fixed + np.round(np.linspace(0, 1, steps) * left)) / total)
    return BackfillCurve(
        metric=task.metric,
        fractions=fractions,
        orders={name: _order(name, measured) for name in measured.curves if name in {"random", *wanted}},
        status_quo=measured.status_quo,
        full_reindex=measured.full.points()[0],
        weights=measured.weights,
        calibrated=measured.calibrated,
        judged=measured.judged,
        gallery_size=total,
    )


def _check(backlog: Backlog, new: Embeddings, orders: Sequence[str] | None, steps: int) -> None:
    if not np.array_equal(backlog.old.ids, new.ids):
        raise InputError(
            "the new gallery must hold the items of the old one, row by row. Join them by pair_embeddings."
        )
    require_space(backlog.converted.space, new.space, what="The converted gallery")
    for name in orders or ():
        if name not in SCORERS:
            raise UnknownNameError("order", name, SCORERS)
    if steps < 2:
        raise InputError(f"steps must be at least 2, for both ends. Got {steps}.")


def _order(name: str, measured: Measured) -> OrderCurve:
    curve = measured.curves[name]
    against = None if name == "random" else curve.auc_over(measured.curves["random"])
    return OrderCurve(curve.points(), curve.over(measured.full).points(), curve.auc(), against)


def _interval(estimate: Estimate) -> JsonValue:
    found = estimate.to_dict()
    return [found["low"], found["high"]]


def _estimate(value: float, interval: Sequence[float | None]) -> Estimate:
    low, high = interval
    return Estimate(float(value), -np.inf if low is None else float(low), np.inf if high is None else float(high))
