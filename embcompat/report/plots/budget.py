"""The picture of quality against cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embcompat.report.plots.picture import DASHES, Picture, add_legend, draw_interval, draw_reference, make_picture
from embcompat.report.plots.svg import colour
from embcompat.report.tables import name_point, tabulate_budget
from embcompat.report.wording import as_share
from embcompat.results import BudgetPoint, RetrievalReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROLES: Final = {"swap": "naive", "convert": "converted", "fused": "fused", "reindex": "new"}
_SERIES: Final = (("lazy_backfill", "old"), ("backfill", "impostor"))
"""Modes of which several budgets are measured, each with its colour."""


def draw_budget(report: RetrievalReport, points: Sequence[BudgetPoint], key: str) -> Picture | None:
    """Draw the share of a full reindex that each mode retains against what the new model embeds for it."""
    if not points:
        return None
    today = report.retentions.get("status_quo")

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_reference(axes, "today", None if today is None else today.value, "muted")
        for mode, role in _SERIES:
            _draw_series(axes, [point for point in points if point.mode == mode and len(point.needs) == 1], role)
        for point in points:
            if point.mode in _ROLES and (today is None or point.mode != "swap" or point.retention.high >= today.value):
                _draw_point(axes, point, _ROLES[point.mode])
        axes.axhline(1.0, color=colour("new"), linewidth=1.0, linestyle=DASHES[1])
        axes.xaxis.set_major_formatter(lambda value, _: as_share(value))
        axes.yaxis.set_major_formatter(lambda value, _: as_share(value))
        axes.set_xlabel("embedded by the new model, as a share of a full reindex")
        axes.set_ylabel("of a full reindex's quality")
        add_legend(figure, columns=4)

    return make_picture(
        key,
        "Quality against cost",
        "Further left is cheaper, further up is better; bars are the 95 % intervals. The cost counts everything that "
        "the new model embeds: pairs, words and items; the part of pairs and words does not grow with the gallery. "
        "Lazy backfill re-embeds the 10, 20 or 50 items that a query brings up: filled dots are the average of all "
        "queries as they came, hollow dots the first query alone. Backfill re-embeds a random part. A swap "
        "that is worse than today is in the figures alone.",
        paint,
        rows=tabulate_budget(points),
        height=380,
        wide=True,
    )


def _draw_series(axes: Axes, points: Sequence[BudgetPoint], role: str) -> None:
    for cold in (False, True):
        part = sorted((point for point in points if point.cold is cold), key=lambda point: point.share_of_reindex)
        if not part:
            continue
        shade, name = colour(role), part[0].mode.replace("_", " ")
        for point in part:
            draw_interval(axes, point.retention, point.share_of_reindex, shade, upright=True)
        axes.plot(
            [point.share_of_reindex for point in part],
            [point.retention.value for point in part],
            "o:" if cold else "o-",
            color=shade,
            fillstyle="none" if cold else "full",
            markersize=7,
            label=f"{name}, first query" if cold else name,
        )


def _draw_point(axes: Axes, point: BudgetPoint, role: str) -> None:
    place, shade = point.share_of_reindex, colour(role)
    draw_interval(axes, point.retention, place, shade, upright=True)
    axes.plot([place], [point.retention.value], "D", color=shade, markersize=9, label=name_point(point))
