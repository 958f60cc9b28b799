"""The pictures of a metric along something: pairs fitted, or items embedded with the new model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embcompat.report.parts import Interval
from embcompat.report.plots.picture import DASHES, Picture, add_legend, draw_reference, make_picture, scale_log, stroke
from embcompat.report.plots.svg import colour
from embcompat.report.results import BackfillCurve, LearningCurve
from embcompat.report.tables import tabulate_backfill, tabulate_learning
from embcompat.report.wording import as_share

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
        _band(axes, result.pairs, result.intervals, "converted")
        axes.plot(result.pairs, result.values, label="converted", **stroke("converted", 0, marker=True))
        if result.enough is not None:
            axes.axvline(result.enough, color=colour("muted"), linewidth=1.2, linestyle=DASHES[2])
        scale_log(axes, result.pairs)
        axes.margins(y=0.12)
        axes.set_xlabel("pairs fitted")
        axes.set_ylabel(result.metric)

    dotted = "" if result.enough is None else f": {result.enough:,} are enough (dotted)"
    return make_picture(
        key,
        "How many pairs are enough",
        f"Where the curve is flat, more pairs buy nothing{dotted}. The band is the 95 % interval.",
        paint,
        rows=tabulate_learning(result),
        wide=True,
    )


def draw_backfill(result: BackfillCurve, key: str) -> Picture:
    """Draw a metric against the fraction that is embedded with the new model, for each order."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_reference(axes, "status quo", result.status_quo, "old", left=True)
        draw_reference(axes, "full reindex", result.full_reindex, "new", left=True)
        ordered = sorted(result.orders, key=lambda name: name == "random")
        for number, name in enumerate(ordered):
            order = result.orders[name]
            role = "naive" if name == "random" else _ORDER_ROLES[number % len(_ORDER_ROLES)]
            if len(result.orders) <= 3:
                _band(axes, order.fractions, order.intervals, role)
            axes.plot(order.fractions, order.metric, label=name.replace("_", " "), **stroke(role, number, marker=True))
        axes.xaxis.set_major_formatter(lambda value, _: as_share(value))
        axes.margins(y=0.12)
        axes.set_xlabel("of the gallery embedded with the new model, pairs included")
        axes.set_ylabel(result.metric)
        add_legend(figure, columns=4)

    return make_picture(
        key,
        "What re-embedding a part buys",
        "The rest of the gallery is converted. A curve above the random order knows which items matter.",
        paint,
        rows=tabulate_backfill(result),
        height=380,
        wide=True,
    )


def _band(axes: Axes, x: Sequence[float], intervals: Sequence[Interval], role: str) -> None:
    bounded = [
        (place, low, high)
        for place, (low, high) in zip(x, intervals, strict=False)
        if low is not None and high is not None
    ]
    if bounded:
        places, lows, highs = zip(*bounded, strict=True)
        axes.fill_between(places, lows, highs, color=colour(role), alpha=0.18, linewidth=0)
