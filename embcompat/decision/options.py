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

Mode = Literal["stay", "convert", "fused", "lazy_backfill", "backfill", "reindex"]
Model = Literal["old", "new"]

MODES: tuple[Mode, ...] = ("stay", "convert", "fused", "lazy_backfill", "backfill", "reindex")
"""From the least to the most effort: the order of preference where costs are not measured [ours]."""

_LINES: dict[Mode, Line] = {"convert": "converted", "fused": "fused", "reindex": "full_reindex"}
NEEDS: dict[Mode, tuple[Model, ...]] = {
    "stay": ("old",),
    "convert": ("new",),
    "fused": ("old", "new"),
    "reindex": ("new",),
}
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
    """

    mode: Mode
    difference: Estimate
    retention: Estimate
    needs: tuple[Model, ...]
    fraction: float | None = None
    items: int | None = None

    def beats_status_quo(self) -> bool:
        """Say whether the interval of the difference lies above zero."""
        return self.difference.low > 0

    def keeps(self, floor: float) -> bool:
        """Say whether the interval of the retention lies at or above a floor."""
        return self.retention.low >= floor

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the option as JSON."""
        return {
            "mode": self.mode,
            "needs": list(self.needs),
            "fraction": self.fraction,
            "items": self.items,
            "difference": dict(self.difference.to_dict()),
            "retention": dict(self.retention.to_dict()),
        }


def option_from(
    mode: Mode,
    parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]],
    *,
    needs: tuple[Model, ...],
    fraction: float | None = None,
    items: int | None = None,
    seed: int = 0,
) -> Option:
    """Make an option from the metric of each held-out query; the gallery that speaks least for it counts.

    Args:
        mode: What would be done.
        parts: For each gallery the metric under the option, under the status quo and after a full reindex (m,).
        needs: The models that must be alive at query time.
        fraction: See `Option`.
        items: See `Option`.
        seed: Seed of the bootstrap.
    """
    differences = [bootstrap_difference(values, before, seed=seed) for values, before, _ in parts]
    retentions = [bootstrap_ratio(values, goal, seed=seed) if goal.any() else _NOTHING for values, _, goal in parts]
    return Option(mode, min(differences, key=_low), min(retentions, key=_low), needs, fraction, items)


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
        items = report.gallery_size - report.native_items if mode == "reindex" else 0
        best = min(differences, key=_low), min(retentions, key=_low)
        options.append(Option(mode, *best, NEEDS[mode], items=items))
    return options


def _low(estimate: Estimate) -> float:
    return estimate.low
