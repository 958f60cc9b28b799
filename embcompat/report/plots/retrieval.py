"""The pictures of retrieval results and of vectors; None where the part that they show is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embcompat.report.plots.picture import (
    DASHES,
    Picture,
    add_legend,
    draw_interval,
    draw_reference,
    make_picture,
    name_rows,
    scale_log,
    stroke,
)
from embcompat.report.plots.svg import colour
from embcompat.report.tables import (
    tabulate_candidates,
    tabulate_lines,
    tabulate_recall,
    tabulate_sizes,
    tabulate_times,
)
from embcompat.report.wording import (
    LINES,
    WHAT,
    as_interval,
    as_number,
    as_percent,
    as_seconds,
    as_share,
)
from embcompat.results import Estimate, Line, Point, Projection, RetrievalReport, Scored, Times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_ROLES: Final[dict[Line, str]] = {
    "status_quo": "old",
    "naive_swap": "naive",
    "converted": "converted",
    "fused": "fused",
    "full_reindex": "new",
}


def draw_lines(result: RetrievalReport, key: str, *, fidelity: bool = False) -> Picture | None:
    """Draw the five lines with their intervals."""
    lines = result.lines
    if not lines:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, (name, line) in enumerate(lines.items()):
            shade = colour(LINE_ROLES[name])
            axes.plot([0, line.value], [row, row], color=shade, alpha=0.3, linewidth=2)
            draw_interval(axes, line, row, shade)
            axes.plot([line.value], [row], "o", color=shade, markersize=9)
            beside = axes.get_yaxis_transform()
            axes.text(1.02, row, as_number(line.value), transform=beside, va="center", weight="bold")
            axes.text(1.1, row, as_interval(line), transform=beside, va="center", color=colour("muted"))
        if "status_quo" in lines:
            axes.axvline(lines["status_quo"].value, color=colour("old"), linewidth=1.2, linestyle=DASHES[1])
        name_rows(axes, {LINES[name]: WHAT[name] for name in lines})
        axes.set_xlim(0, 1.04 * max(top_of(line) for line in lines.values()) or 1.0)
        axes.set_xlabel(result.metric)

    return make_picture(
        key,
        "Five lines",
        "Dots are what was measured, bars the 95 % intervals. The dashed line is what is in service today.",
        paint,
        rows=tabulate_lines(result, fidelity=fidelity),
        height=70 + 46 * len(lines),
        wide=True,
    )


def draw_recall(result: RetrievalReport, key: str) -> Picture | None:
    """Draw recall at k for each line."""
    curves = result.recall()
    depths = sorted({depth for curve in curves.values() for depth in curve})
    if len(depths) < 2:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, (name, curve) in enumerate(curves.items()):
            axes.plot(
                list(curve), list(curve.values()), label=LINES[name], **stroke(LINE_ROLES[name], number, marker=True)
            )
        scale_log(axes, depths)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("k, the number of results")
        axes.set_ylabel("recall@k")
        add_legend(figure)

    return make_picture(
        key,
        "Recall",
        "The share of the relevant items that is among the first k results.",
        paint,
        rows=tabulate_recall(result),
    )


def draw_sizes(result: RetrievalReport, key: str) -> Picture | None:
    """Draw the share of a full reindex that each line keeps, on nested parts of the gallery."""
    parts = sorted(result.retention_by_size, key=lambda part: part.gallery_size)
    names = [name for name in LINES if any(name in part.retentions for part in parts)]
    if len(parts) < 2 or not names:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_reference(axes, "full reindex", 1.0, "new")
        top = 1.0
        for number, name in enumerate(names):
            points = [(part.gallery_size, part.retentions[name]) for part in parts if name in part.retentions]
            beside = (parts[-1].gallery_size / parts[0].gallery_size) ** (0.012 * (number - (len(names) - 1) / 2))
            for size, retention in points:
                draw_interval(axes, retention, size * beside, colour(LINE_ROLES[name]), upright=True)
                top = max(top, top_of(retention))
            values = [retention.value for _, retention in points]
            look = stroke(LINE_ROLES[name], number, marker=True)
            axes.plot([size * beside for size, _ in points], values, label=LINES[name], **look)
        scale_log(axes, [part.gallery_size for part in parts])
        axes.set_ylim(0, 1.1 * top)
        axes.yaxis.set_major_formatter(lambda value, _: as_share(value))
        axes.set_xlabel("items in the gallery")
        axes.set_ylabel("share of a full reindex")
        add_legend(figure)

    return make_picture(
        key,
        "Retention and gallery size",
        "Small galleries give optimistic figures: the same lines on nested parts of the gallery, with 95 % intervals.",
        paint,
        rows=tabulate_sizes(result),
    )


def draw_times(times: Times, key: str) -> Picture | None:
    """Draw the seconds of a full re-embedding beside those of the upgrade."""
    steps = [
        ("embed the pairs", "old", times.pairs_seconds),
        ("fit", "fused", times.fit_seconds),
        ("convert", "converted", times.convert_seconds),
    ]
    known = [(name, role, seconds) for name, role, seconds in steps if seconds is not None]
    if times.reembed_seconds is None or not known:
        return None
    reembed, total = times.reembed_seconds, sum(seconds for _, _, seconds in known)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.barh([0], [reembed], height=0.5, color=colour("new"), label="re-embed the gallery")
        left = 0.0
        for name, role, seconds in known:
            axes.barh([1], [seconds], left=[left], height=0.5, color=colour(role), label=name)
            left += seconds
        for row, seconds in enumerate((reembed, total)):
            axes.annotate(
                as_seconds(seconds), (seconds, row), (7, 0), textcoords="offset points", va="center", weight="bold"
            )
        name_rows(axes, {"Full reindex": "", "With the aligner": ""})
        axes.set_xlim(0, 1.15 * max(reembed, total))
        axes.set_xlabel("seconds")
        add_legend(figure, columns=4)

    return make_picture(
        key,
        "Time",
        "What a full reindex takes, and what the upgrade took, measured in the same run on the same machine.",
        paint,
        rows=tabulate_times(times),
        height=190,
        wide=True,
    )


def draw_candidates(candidates: Sequence[Scored], key: str) -> Picture | None:
    """Draw the scores of the aligners that were tried."""
    if not candidates:
        return None
    chosen = next((each for each in candidates if each.as_good), None)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, each in enumerate(candidates):
            shade = colour("converted" if each.as_good else "naive")
            draw_interval(axes, each.score, row, shade)
            fill = shade if each is chosen else "none"
            axes.plot(
                [each.score.value], [row], "o", color=shade, markersize=8, markerfacecolor=fill, markeredgewidth=1.6
            )
        name_rows(axes, {each.name: "chosen" if each is chosen else "" for each in candidates})
        axes.set_xlabel("score on held-out pairs")

    return make_picture(
        key,
        "Choice of the aligner",
        "The chosen candidate is the first that is not significantly worse than the best, by the paired difference.",
        paint,
        rows=tabulate_candidates(candidates),
        height=70 + 40 * len(candidates),
        wide=True,
    )


def draw_projection(projection: Projection | None, key: str) -> Picture | None:
    """Draw old, new and converted vectors of the same items in a plane."""
    if projection is None:
        return None
    old = projection.old

    def paint(figure: Figure) -> None:
        from matplotlib.collections import LineCollection

        panels = figure.subplots(1, 2 if old else 1, squeeze=False, sharex=True, sharey=True)[0]
        for axes in panels:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel("first component")
        panels[0].set_ylabel("second component")
        if old:
            panels[0].set_title("Before")
            _scatter(panels[0], "new", projection.new, "o")
            _scatter(panels[0], "old", old, "s")
            panels[1].set_title("After")
        links = list(zip(projection.converted, projection.new, strict=True))
        panels[-1].add_collection(LineCollection(links, colors=colour("muted"), alpha=0.4, linewidth=0.8))
        _scatter(panels[-1], "new", projection.new, "o")
        _scatter(panels[-1], "converted", projection.converted, "^")
        add_legend(figure)

    shares = " and ".join(as_percent(share) for share in projection.explained)
    caption = (
        f"{len(projection.new):,} items on the two main axes of the new space, which hold {shares} of its variance. "
        "Thin lines join the converted and the new vector of one item: the shorter, the better."
    )
    return make_picture(key, "Vectors", caption, paint, height=400 if old else 360, wide=bool(old))


def top_of(figure: Estimate) -> float:
    """Return the upper end of a figure, as far as it is bounded."""
    return max(figure.value, figure.high if math.isfinite(figure.high) else figure.value)


def _scatter(axes: Axes, name: str, points: Sequence[Point], marker: str) -> None:
    shade, filled = colour(name), marker == "o"
    axes.plot(
        *zip(*points, strict=True),
        marker,
        label=name,
        markersize=4.5,
        alpha=0.75,
        markerfacecolor=shade if filled else "none",
        markeredgecolor=shade,
        markeredgewidth=0 if filled else 1.2,
    )
