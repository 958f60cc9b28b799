"""The pictures of a metric along something: pairs fitted, or items embedded with the new model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embcompat.report.plots.picture import DASHES, Picture, add_legend, draw_reference, make_picture, scale_log, stroke
from embcompat.report.plots.svg import colour
from embcompat.report.tables import tabulate_backfill, tabulate_learning
from embcompat.report.wording import as_share
from embcompat.results import BackfillCurve, Estimate, LearningCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ORDER_ROLES: Final = ("converted", "fused", "new", "old", "impostor")


def draw_learning(result: LearningCurve, key: str) -> Picture:
    """Draw a metric against the number of pairs."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_reference(axes, "status quo", result.status_quo, "old")
        draw_reference(axes, "full reindex", result.full_reindex, "new")
        _band(axes, result.pairs, result.values, "converted")
        values = [each.value for each in result.values]
        axes.plot(result.pairs, values, label="converted", **stroke("converted", 0, marker=True))
        axes.axvline(result.enough, color=colour("muted"), linewidth=1.2, linestyle=DASHES[2])
        scale_log(axes, result.pairs)
        axes.margins(y=0.12)
        axes.set_xlabel("pairs fitted")
        axes.set_ylabel(result.metric)

    return make_picture(
        key,
        "How many pairs are enough",
        f"Where the curve is flat, more pairs gain nothing: {result.enough:,} are enough (dotted). "
        "The band is the 95 % interval.",
        paint,
        rows=tabulate_learning(result),
        wide=True,
    )


def draw_backfill(result: BackfillCurve, key: str) -> Picture:
    """Draw a metric against the fraction that is embedded with the new model, for each order."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_reference(axes, "status quo", result.status_quo, "old", left=True)
        draw_reference(axes, "full reindex", result.full_reindex.value, "new", left=True)
        ordered = sorted(result.orders, key=lambda name: name == "random")
        for number, name in enumerate(ordered):
            order = result.orders[name]
            role = "naive" if name == "random" else _ORDER_ROLES[number % len(_ORDER_ROLES)]
            if len(result.orders) <= 3:
                _band(axes, order.fractions, order.metric, role)
            values = [each.value for each in order.metric]
            axes.plot(order.fractions, values, label=name.replace("_", " "), **stroke(role, number, marker=True))
        axes.xaxis.set_major_formatter(lambda value, _: as_share(value))
        axes.margins(y=0.12)
        axes.set_xlabel("of the gallery embedded with the new model, pairs included")
        axes.set_ylabel(result.metric)
        add_legend(figure, columns=4)

    return make_picture(
        key,
        "What re-embedding a part gains",
        "The rest of the gallery is converted. A curve above the random order knows which items matter.",
        paint,
        rows=tabulate_backfill(result),
        height=380,
        wide=True,
    )


def _band(axes: Axes, x: Sequence[float], figures: Sequence[Estimate], role: str) -> None:
    bounded = [
        (place, figure.low, figure.high)
        for place, figure in zip(x, figures, strict=True)
        if math.isfinite(figure.low) and math.isfinite(figure.high)
    ]
    if bounded:
        places, lows, highs = zip(*bounded, strict=True)
        axes.fill_between(places, lows, highs, color=colour(role), alpha=0.18, linewidth=0)
