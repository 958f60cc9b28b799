"""What re-embedding a part of the gallery gains: a metric against the fraction that is native, pairs included."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from embcompat.backfill.backlog import Backlog
from embcompat.backfill.curves.measured import Measured
from embcompat.backfill.curves.search import SearchTask
from embcompat.backfill.curves.verification import VerificationTask
from embcompat.backfill.order import SCORERS, available_orders
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, UnknownNameError
from embcompat.results import BackfillCurve, OrderCurve
from embcompat.spaces import require_space

Task = SearchTask | VerificationTask

STEPS = 11
"""Equally spaced fractions, both ends included [ours]."""


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
    names = [*available, "recommended"] if orders is None else list(dict.fromkeys(orders))
    usable = names if orders is not None and "recommended" not in names else [*available, *names]
    kinds = [kind for kind in dict.fromkeys(usable) if kind not in ("random", "recommended")]
    fitted = set(native_ids)
    native = np.fromiter((item in fitted for item in new_gallery.ids.tolist()), bool, len(new_gallery))
    remaining = int(np.count_nonzero(~native))
    if remaining == 0:
        raise InputError("there are no converted rows to re-embed: the aligner was fitted on every row of the gallery.")
    measured = task.measure(backlog, new_gallery, native, kinds, steps=steps, recommend="recommended" in names)
    if not measured.full.values[0] > 0:
        raise InputError(f"a full reindex must score above 0 to be compared with. Its {task.metric} is 0.")
    fixed, total = fitted_elsewhere + len(native) - remaining, fitted_elsewhere + len(native)
    fractions = tuple(float(each) for each in (fixed + np.round(np.linspace(0, 1, steps) * remaining)) / total)
    return BackfillCurve(
        metric=task.metric,
        orders={name: _order(name, measured, fractions) for name in measured.curves if name in {"random", *names}},
        status_quo=measured.status_quo,
        full_reindex=measured.full.points()[0],
        weights=measured.weights,
        calibrated=measured.calibrated,
        judged=measured.judged,
        gallery_size=total,
        weighted_queries=isinstance(task, SearchTask) and task.weighted_queries is not None,
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


def _order(name: str, measured: Measured, fractions: tuple[float, ...]) -> OrderCurve:
    curve = measured.curves[name]
    return OrderCurve(
        fractions=fractions,
        metric=curve.points(),
        retention=curve.over(measured.full).points(),
        auc=curve.auc(),
        auc_against_random=None if name == "random" else curve.auc_over(measured.curves["random"]),
    )
