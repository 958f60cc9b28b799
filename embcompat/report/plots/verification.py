"""The pictures of verification results; None where the part that they show is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from embcompat.evaluation.verification.figures import one_in
from embcompat.report.plots.picture import DASHES, Picture, add_legend, draw_interval, make_picture, name_rows, stroke
from embcompat.report.plots.svg import colour
from embcompat.report.tables import Rows
from embcompat.report.verification import tabulate_groups, tabulate_scenarios
from embcompat.report.wording import NAMES, SCENARIOS, as_number, as_share
from embcompat.results import Histogram, Scenario, VerificationReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROLES: Final[dict[Scenario, str]] = {"old": "old", "S1": "new", "S2": "converted", "S3": "fused", "S4": "impostor"}


def draw_scenarios(result: VerificationReport, key: str) -> Picture:
    """Draw the false reject and false accept rates of the scenarios."""
    scenarios = result.in_order()

    def paint(figure: Figure) -> None:
        rejects, accepts = _panels(figure, {NAMES.get(name, name): SCENARIOS[name] for name in scenarios})
        for row, (name, each) in enumerate(scenarios.items()):
            shade = colour(_ROLES[name])
            places = ((rejects, each.frr, row, shade), (accepts, each.far, row + 0.16, shade))
            for axes, rate, place, fill in (*places, (accepts, each.far_at_frr, row - 0.16, "none")):
                if rate.value > 0 or axes is rejects:
                    draw_interval(axes, rate, place, shade)
                    axes.plot(
                        [rate.value], [place], "o", color=shade, markersize=8, markerfacecolor=fill, markeredgewidth=1.6
                    )
        _finish_panels(rejects, accepts, "False accepts, one in …")

    return make_picture(
        key,
        "Scenarios",
        "Filled: at scenario 1's threshold, set at a false reject rate of "
        f"{as_share(result.target_frr)} (old – old has its own). Hollow: each scenario at its own threshold for that "
        "rate. Bars are 95 % intervals; further left is better.",
        paint,
        rows=tabulate_scenarios(result),
        height=80 + 46 * len(scenarios),
        wide=True,
    )


def draw_groups(result: VerificationReport, key: str) -> Picture | None:
    """Draw the false reject and false accept rates within each group of people; None without groups."""
    groups = result.groups
    if not groups:
        return None

    def paint(figure: Figure) -> None:
        rejects, accepts = _panels(
            figure, {name: f"{next(iter(rates.values())).people:,} people" for name, rates in groups.items()}
        )
        for row, scenarios in enumerate(groups.values()):
            for number, (name, each) in enumerate(scenarios.items()):
                shade, place = colour(_ROLES[name]), row + 0.22 * (number - (len(scenarios) - 1) / 2)
                for axes, rate in ((rejects, each.frr), (accepts, each.far)):
                    if rate is not None and (rate.value > 0 or axes is rejects):
                        draw_interval(axes, rate, place, shade)
                        label = f"{NAMES.get(name, name)}, {SCENARIOS[name]}" if not row and axes is rejects else None
                        axes.plot([rate.value], [place], "o", color=shade, markersize=7, label=label)
        _finish_panels(rejects, accepts, "False accepts within the group, one in …")
        add_legend(figure)

    return make_picture(
        key,
        "Groups of people",
        "Each scenario has one threshold for everybody, its own. False accepts are between two people of one group. "
        "Bars are 95 % intervals; further left is better.",
        paint,
        rows=tabulate_groups(groups),
        height=120 + 60 * len(groups),
        wide=True,
    )


def draw_det(result: VerificationReport, key: str) -> Picture | None:
    """Draw the detection error tradeoff of each scenario."""
    curves = {name: [(far, frr) for far, frr in result.det.get(name, ()) if far > 0 and frr > 0] for name in SCENARIOS}
    if not any(curves.values()):
        return None

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes = figure.add_subplot()
        for number, (name, points) in enumerate(curves.items()):
            if points:
                label = f"{NAMES.get(name, name)}, {SCENARIOS[name]}"
                axes.plot(*zip(*points, strict=True), label=label, **stroke(_ROLES[name], number))
        _scale_far(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(lambda value, _: as_share(value))
        axes.set_xlabel("false accepts, one in …")
        axes.set_ylabel("false rejects")
        add_legend(figure)

    caption = "False rejects against false accepts as the threshold moves. Curves closer to the lower left are better."
    return make_picture(key, "Detection error tradeoff", caption, paint, height=400, wide=True)


def draw_histograms(histograms: Sequence[Histogram], key: str) -> Picture | None:
    """Draw how genuine and impostor scores are spread, with the thresholds."""
    if not histograms:
        return None

    def paint(figure: Figure) -> None:
        panels = figure.subplots(len(histograms), 1, squeeze=False, sharex=True)[:, 0]
        for axes, histogram in zip(panels, histograms, strict=True):
            for role, heights in (("impostor", histogram.impostor), ("genuine", histogram.genuine)):
                axes.stairs(heights, histogram.edges, fill=True, color=colour(role), alpha=0.25, linewidth=0)
                axes.stairs(heights, histogram.edges, color=colour(role), linewidth=1.6, label=role)
            for name, value, dash in (
                ("old threshold", histogram.threshold, DASHES[1]),
                ("transferred threshold", histogram.transferred, DASHES[0]),
            ):
                if value is not None:
                    axes.axvline(value, color=colour("ink"), linewidth=1.6, linestyle=dash, label=name)
            axes.set_title(histogram.name)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.set_ylim(bottom=0)
        panels[-1].set_xlabel("score, larger is closer")
        add_legend(figure, columns=4)

    return make_picture(
        key,
        "Scores and thresholds",
        "Each colour adds up to one. What lies right of a threshold is accepted, so impostors there are false accepts "
        "and genuine comparisons left of it are false rejects.",
        paint,
        rows=Rows(
            ("compared", "old threshold", "transferred threshold"),
            tuple((each.name, as_number(each.threshold), as_number(each.transferred)) for each in histograms),
        ),
        height=80 + 130 * len(histograms),
        wide=True,
    )


def _panels(figure: Figure, rows: Mapping[str, str]) -> tuple[Axes, Axes]:
    """Make a panel of false rejects and one of false accepts, with the same rows."""
    rejects, accepts = figure.subplots(1, 2, sharey=True)
    name_rows(rejects, rows)
    return rejects, accepts


def _finish_panels(rejects: Axes, accepts: Axes, title: str) -> None:
    """Write titles and scales, once everything is drawn."""
    rejects.set_title("False rejects")
    rejects.set_xlim(left=0)
    rejects.xaxis.set_major_formatter(lambda value, _: as_share(value))
    accepts.set_title(title)
    accepts.tick_params(axis="y", length=0)
    accepts.spines["left"].set_visible(False)
    accepts.grid(visible=False, axis="y")
    _scale_far(accepts)


def _scale_far(axes: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: one_in(value).removeprefix("1 in "))
    axes.xaxis.set_minor_formatter(NullFormatter())
