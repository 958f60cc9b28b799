"""The modes that could be chosen, each with what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_ratio
from embcompat.evaluation.retrieval.report import Line, RetrievalReport

Mode = Literal["stay", "swap", "convert", "fused", "lazy_backfill", "backfill", "reindex"]
Model = Literal["old", "new"]

MODES: tuple[Mode, ...] = ("stay", "swap", "convert", "fused", "lazy_backfill", "backfill", "reindex")
"""From the least to the most effort: the order of preference where costs are not measured [ours]."""

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


@dataclass(frozen=True)
class Option:
    """A mode that could be chosen, with what was measured of it on held-out queries.

    Attributes:
        mode: What would be done.
        difference: Its metric less that of the status quo.
        retention: Its metric as a share of a full reindex's.
        needs: The models that must be alive at query time.
        fraction: Share of the gallery that is native under ``backfill``, fitted items included; None otherwise.
        items: Items that it embeds beside the fitted ones; None where that was not counted. Those of
            ``lazy_backfill`` are what the held-out queries brought up: other queries will bring up others.
        share_of_reindex: Those items as a share of what a full reindex would embed; None where not counted.
        cold_difference: Under ``lazy_backfill`` the difference if each query were the first one and met a gallery in
            which only the fitted items are native; None otherwise.
        cold_retention: The retention in the same case.
    """

    mode: Mode
    difference: Estimate
    retention: Estimate
    needs: tuple[Model, ...]
    fraction: float | None = None
    items: int | None = None
    share_of_reindex: float | None = None
    cold_difference: Estimate | None = None
    cold_retention: Estimate | None = None

    def beats_status_quo(self) -> bool:
        """Say whether the interval of the difference lies above zero."""
        return self.difference.low > 0

    def keeps(self, floor: float) -> bool:
        """Say whether the interval of the retention lies at or above a floor."""
        return self.retention.low >= floor

    def _cold(self) -> dict[str, JsonValue] | None:
        if self.cold_difference is None or self.cold_retention is None:
            return None
        return {
            "difference": dict(self.cold_difference.to_dict()),
            "retention": dict(self.cold_retention.to_dict()),
        }

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the option as JSON."""
        return {
            "mode": self.mode,
            "needs": list(self.needs),
            "fraction": self.fraction,
            "items": self.items,
            "items_embedded": self.items,
            "share_of_reindex": self.share_of_reindex,
            "cold": self._cold(),
            "difference": dict(self.difference.to_dict()),
            "retention": dict(self.retention.to_dict()),
        }


def option_from(
    mode: Mode,
    parts: Sequence[Part],
    *,
    needs: tuple[Model, ...],
    fraction: float | None = None,
    items: int | None = None,
    share_of_reindex: float | None = None,
    cold: Sequence[Part] = (),
    seed: int = 0,
) -> Option:
    """Make an option from the metric of each held-out query; the gallery that speaks least for it counts.

    Args:
        mode: What would be done.
        parts: For each gallery the metric under the option, under the status quo and after a full reindex (m,).
        needs: The models that must be alive at query time.
        fraction: See `Option`.
        items: See `Option`.
        share_of_reindex: See `Option`.
        cold: The same as ``parts``, if each query were the first one.
        seed: Seed of the bootstrap.
    """
    cold_figures = _least(cold, seed) if cold else (None, None)
    return Option(mode, *_least(parts, seed), needs, fraction, items, share_of_reindex, *cold_figures)


def measured_options(report: RetrievalReport) -> list[Option]:
    """Return the modes that a report measured, each with the figures that speak least for it.

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
        best = min(differences, key=_low), min(retentions, key=_low)
        share = float(mode == "reindex")
        options.append(Option(mode, *best, NEEDS[mode], items=items, share_of_reindex=share))
    return options


def _least(parts: Sequence[Part], seed: int) -> tuple[Estimate, Estimate]:
    """Return difference and retention, each of the gallery in which it is lowest."""
    differences = [bootstrap_difference(values, before, seed=seed) for values, before, _ in parts]
    retentions = [bootstrap_ratio(values, goal, seed=seed) if goal.any() else _NOTHING for values, _, goal in parts]
    return min(differences, key=_low), min(retentions, key=_low)


def _low(estimate: Estimate) -> float:
    return estimate.low
