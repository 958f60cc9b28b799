"""The picture of a hybrid search: each line of a model change beside a lexical run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embcompat.report.plots.picture import DASHES, Picture, draw_interval, make_picture, name_rows
from embcompat.report.plots.retrieval import LINE_ROLES, top_of
from embcompat.report.plots.svg import colour
from embcompat.report.tables import tabulate_hybrid
from embcompat.report.wording import LINES, as_interval, as_number
from embcompat.results import HybridReport, RetrievalReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_hybrid(result: RetrievalReport, hybrid: HybridReport | None, key: str) -> Picture | None:
    """Draw the metric of each line with the lexical run, and without it."""
    pure = result.lines
    if hybrid is None or not hybrid.lines:
        return None
    lines = {name: hybrid.lines[name].equal for name in LINES if name in hybrid.lines}

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(hybrid.lexical.value, color=colour("muted"), linewidth=1.2, linestyle=DASHES[2])
        for row, (name, line) in enumerate(lines.items()):
            shade = colour(LINE_ROLES[name])
            draw_interval(axes, line, row, shade)
            if name in pure:
                axes.plot([pure[name].value, line.value], [row, row], color=shade, alpha=0.3, linewidth=2)
                axes.plot([pure[name].value], [row], "o", color=shade, fillstyle="none", markersize=8)
            axes.plot([line.value], [row], "o", color=shade, markersize=9)
            beside = axes.get_yaxis_transform()
            axes.text(1.02, row, as_number(line.value), transform=beside, va="center", weight="bold")
            axes.text(1.1, row, as_interval(line), transform=beside, va="center", color=colour("muted"))
        name_rows(axes, {LINES[name]: "with the lexical run" for name in lines})
        highest = max([hybrid.lexical.value, *(top_of(line) for line in (*lines.values(), *pure.values()))])
        axes.set_xlim(0, 1.04 * highest or 1.0)
        axes.set_xlabel(result.metric)

    return make_picture(
        key,
        "Hybrid search",
        "Filled dots add the scores of the vectors and of the lexical run with equal weights, bars are the 95 % "
        "intervals; hollow dots are the vectors alone. The dotted line is the lexical run alone. Chosen weights: each "
        "query takes the weight that is best on other queries.",
        paint,
        rows=tabulate_hybrid(hybrid),
        height=70 + 46 * len(lines),
        wide=True,
    )
