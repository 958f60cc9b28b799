"""Figures 1 and 2 of the FC-Aligner paper, drawn anew: where aligners work, and what Multi-branch is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

INK, MUTED = "#1f2933", "#64707d"
OLD, CONVERTED, NEW, PLAIN = "#dbe9f8", "#dff2e1", "#e9e0f5", "#f3f4f6"

Point = tuple[float, float]


def draw_production(figure: Figure) -> None:
    """Draw Figure 1: old galleries pass an aligner each, new images the newest model; both meet in one space."""
    axes = _canvas(figure, 100, 52)
    _region(axes, (1, 16), (64, 35), "once, when the model changes")
    _region(axes, (1, 1), (64, 13), "every day")
    for row, version in enumerate(("11", "16", "27")):
        y = 41.5 - 9.5 * row
        _box(axes, (13, y), (18, 6.5), f"vectors of\nmodel {version}", OLD)
        _box(axes, (46, y), (20, 6.5), f"FC-Aligner\n{version} → 46.4", CONVERTED)
        _arrow(axes, [(22, y), (36, y)])
        _arrow(axes, [(56, y), (71, 35.5 - 2.5 * row)])
    _box(axes, (80, 33), (18, 10), "gallery in the\nspace of 46.4", CONVERTED)
    _box(axes, (13, 6), (18, 6.5), "new\nface image", PLAIN)
    _box(axes, (46, 6), (20, 6.5), "model 46.4", NEW)
    _arrow(axes, [(22, 6), (36, 6)])
    _arrow(axes, [(56, 6), (71, 6)])
    _box(axes, (80, 6), (18, 6.5), "new vector", NEW)
    axes.add_patch(Polygon([(80, 24.5), (91, 19), (80, 13.5), (69, 19)], facecolor=PLAIN, edgecolor=INK, linewidth=1))
    axes.text(80, 19, "distance\n< threshold?", ha="center", va="center", fontsize=8.5, color=INK)
    _arrow(axes, [(80, 28), (80, 24.5)])
    _arrow(axes, [(80, 9.25), (80, 13.5)])
    _arrow(axes, [(91, 19), (97, 19)])
    axes.text(94, 21, "match\nor not", ha="center", va="bottom", fontsize=8.5, color=MUTED)


def draw_multi_branch(figure: Figure) -> None:
    """Draw Figure 2: a wide and a deep branch, concatenated and merged; Dense is the deep branch and the merge."""
    axes = _canvas(figure, 110, 40)
    top, bottom, middle = 30.0, 10.0, 20.0
    _box(axes, (7, middle), (11, 9), "old vector\n128", OLD)
    _layers(axes, [(27, top)], ["Linear 2048\nBatchNorm\nReLU"])
    _layers(axes, [(27, bottom), (47, bottom)], ["Linear 1024\nBatchNorm\nReLU"] * 2)
    for y in (top, bottom):
        _arrow(axes, [(12.5, middle), (20, y)])
        _layers(axes, [(64, y)], ["Linear\n128"], width=11)
        _arrow(axes, [(69.5, y), (76.5, middle + (2.5 if y > middle else -2.5))])
    _arrow(axes, [(34, top), (58.5, top)])
    _arrow(axes, [(34, bottom), (40, bottom)])
    _arrow(axes, [(54, bottom), (58.5, bottom)])
    _layers(axes, [(81, middle), (93, middle)], ["concat\n256", "Linear\n128"], width=9)
    _arrow(axes, [(85.5, middle), (88.5, middle)])
    _box(axes, (105, middle), (9.5, 9), "converted\n128", NEW)
    _arrow(axes, [(97.5, middle), (100.2, middle)])
    axes.text(20, 37, "wide branch", fontsize=9, color=MUTED, va="center")
    axes.text(
        20, 2.5, "deep branch: with the last Linear layer alone, this is Dense", fontsize=9, color=MUTED, va="center"
    )


def _canvas(figure: Figure, width: float, height: float) -> Axes:
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return axes


def _layers(axes: Axes, centres: Sequence[Point], texts: Sequence[str], *, width: float = 14) -> None:
    for centre, text in zip(centres, texts, strict=True):
        _box(axes, centre, (width, 9.5), text, CONVERTED)


def _box(axes: Axes, centre: Point, size: tuple[float, float], text: str, colour: str) -> None:
    corner = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    style: Any = "round,pad=0,rounding_size=1"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=colour, edgecolor=INK, linewidth=1))
    axes.text(*centre, text, ha="center", va="center", fontsize=9, color=INK)


def _region(axes: Axes, corner: Point, size: tuple[float, float], text: str) -> None:
    style: Any = "round,pad=0,rounding_size=1"
    axes.add_patch(
        FancyBboxPatch(corner, *size, boxstyle=style, facecolor="none", edgecolor=MUTED, linewidth=0.8, linestyle="--")
    )
    axes.text(corner[0] + 1.2, corner[1] + size[1] - 0.9, text, ha="left", va="top", fontsize=8.5, color=MUTED)


def _arrow(axes: Axes, points: Sequence[Point]) -> None:
    start, end = points
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    )
