"""A picture on the page, and the strokes that all pictures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from embcompat.report.plots.svg import colour, draw
from embcompat.report.tables import Rows
from embcompat.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 900, 432
"""Widths in points: of the whole page, and of half of it."""

DASHES: Final = ("solid", (0, (5, 2)), (0, (1.5, 2)), (0, (7, 2, 1.5, 2)), (0, (10, 3)))
MARKERS: Final = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class Picture:
    """A drawing, with its figures as a table.

    Attributes:
        key: Prefix of the ids inside the drawing.
        title: What it is, short.
        caption: The message of the drawing, in a sentence or two.
        svg: The drawing.
        rows: The figures as a table, or None.
        wide: Whether it needs the whole width of the page.
    """

    key: str
    title: str
    caption: str
    svg: str
    rows: Rows | None
    wide: bool


def make_picture(
    key: str,
    title: str,
    caption: str,
    paint: Callable[[Figure], None],
    *,
    rows: Rows | None = None,
    height: float = 320,
    wide: bool = False,
) -> Picture:
    """Draw a picture; the caption is read out in its place."""
    width = WIDE if wide else NARROW
    svg = draw(paint, key=key, title=title, description=caption, width=width, height=height)
    return Picture(key, title, caption, svg, rows, wide)


def stroke(role: str, number: int, *, marker: bool = False) -> dict[str, Any]:
    """Return the style of a role's curve; dash and marker differ too, for readers who cannot tell the colours apart."""
    options: dict[str, Any] = {"color": colour(role), "linestyle": DASHES[number % len(DASHES)]}
    if marker:
        options |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 5.5}
    return options


def draw_interval(axes: Axes, figure: Estimate, place: float, shade: str, *, upright: bool = False) -> None:
    """Draw the interval of a figure as a bar through its dot, as far as it is bounded."""
    if math.isinf(figure.low) or math.isinf(figure.high):
        return
    along, across = [figure.low, figure.high], [place, place]
    axes.plot(*((across, along) if upright else (along, across)), color=shade, alpha=0.45, linewidth=6)


def name_rows(axes: Axes, names: Mapping[str, str]) -> None:
    """Turn the vertical axis into named rows, the first on top, each with what it is below its name."""
    axes.set_yticks(range(len(names)), list(names.values()), va="top")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=11)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    beside: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    for row, (name, detail) in enumerate(names.items()):
        axes.annotate(
            name, (0, row), (-4, 2 if detail else 0), va="bottom" if detail else "center", ha="right", **beside
        )


def draw_reference(axes: Axes, name: str, value: float | None, role: str, *, left: bool = False) -> None:
    """Draw a dashed line at a figure to compare with, and write its name on one end of it."""
    if value is None:
        return
    axes.axhline(value, color=colour(role), linewidth=1.2, linestyle=DASHES[1])
    axes.annotate(
        name,
        (0 if left else 1, value),
        (4 if left else 0, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left" if left else "right",
        color=colour(role),
    )


def scale_log(axes: Axes, places: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, with ticks where something was measured."""
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    axes.set_xticks(list(places), [f"{place:,}" for place in places])
    axes.xaxis.set_minor_formatter(NullFormatter())


def add_legend(figure: Figure, *, columns: int = 3) -> None:
    """Explain the curves of all panels below them."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        named |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(named.values()), list(named), loc="outside lower left", ncols=min(columns, len(named)), handlelength=2.4
    )
