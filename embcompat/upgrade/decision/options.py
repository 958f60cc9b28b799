"""The modes that could be chosen, each with what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_ratio
from embcompat.results import ColdStart, Estimate, Line, Mode, Model, Option, RetrievalReport

LINE_OF: dict[Mode, Line] = {
    "swap": "naive_swap",
    "convert": "converted",
    "fused": "fused",
    "reindex": "full_reindex",
}
"""The line that measures each mode, where a line does."""

NEEDS: dict[Mode, tuple[Model, ...]] = {
    "stay": ("old",),
    "swap": ("new",),
    "convert": ("new",),
    "fused": ("old", "new"),
    "reindex": ("new",),
}
Part = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""The metric of each query in one gallery: under a mode, under the status quo, and after a full reindex (m,)."""

_ALL, _NOTHING = Estimate(1.0, 1.0, 1.0), Estimate(0.0, 0.0, 0.0)


def option_from(
    mode: Mode,
    parts: Sequence[Part],
    *,
    needs: tuple[Model, ...],
    fraction: float | None = None,
    depth: int | None = None,
    items: int | None = None,
    share_of_reindex: float | None = None,
    cold: Sequence[Part] = (),
    seed: int = 0,
) -> Option:
    """Make an option from the metric of each held-out query; of several galleries the least favourable one counts.

    Args:
        mode: The mode.
        parts: For each gallery the metric under the option, under the status quo and after a full reindex (m,).
        needs: The models that must be alive at query time.
        fraction: See `Option`.
        depth: See `Option`.
        items: See `Option`.
        share_of_reindex: See `Option`.
        cold: As ``parts``, but as if each query were the first one.
        seed: Seed of the bootstrap.
    """
    difference, retention = _least(parts, seed)
    return Option(
        mode=mode,
        needs=needs,
        difference=difference,
        retention=retention,
        fraction=fraction,
        depth=depth,
        items=items,
        share_of_reindex=share_of_reindex,
        cold=_cold_start(cold, seed) if cold else None,
    )


def measured_options(report: RetrievalReport) -> list[Option]:
    """Return the modes that a report measured, each with its least favourable figures.

    Where items were fitted, the figures with and without them in the gallery must both hold: the lower ends count.
    """
    options = []
    for mode, line in LINE_OF.items():
        if line not in report.lines:
            continue
        # A full reindex has no converted rows, so the fitted items cannot bias it.
        parts = report.parts[:1] if mode == "reindex" else report.parts
        differences = [part.differences[line] for part in parts]
        retentions = [_ALL if mode == "reindex" else part.retentions.get(line, _NOTHING) for part in parts]
        items = report.gallery_size - report.native_items if mode == "reindex" else 0
        options.append(
            Option(
                mode=mode,
                needs=NEEDS[mode],
                difference=min(differences, key=_low),
                retention=min(retentions, key=_low),
                items=items,
                share_of_reindex=float(mode == "reindex"),
            )
        )
    return options


def _cold_start(parts: Sequence[Part], seed: int) -> ColdStart:
    difference, retention = _least(parts, seed)
    return ColdStart(difference=difference, retention=retention)


def _least(parts: Sequence[Part], seed: int) -> tuple[Estimate, Estimate]:
    """Return difference and retention, each of the gallery in which it is lowest."""
    differences = [bootstrap_difference(values, today, seed=seed) for values, today, _ in parts]
    retentions = [bootstrap_ratio(values, goal, seed=seed) if goal.any() else _NOTHING for values, _, goal in parts]
    return min(differences, key=_low), min(retentions, key=_low)


def _low(estimate: Estimate) -> float:
    return estimate.low
