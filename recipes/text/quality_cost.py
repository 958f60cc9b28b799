"""Quality against cost: what each budget buys, for every upgrade that text_aware.py measured.

The figures are those of text_aware.py: a run in the output folder if there is one, else the recorded one. Drawn is the
share of the gap between today and a full reindex that a mode closes, against the share of the gallery that it
re-embeds. The pairs and words of the aligner cost extra: as much for a thousand documents as for a million.

    python recipes/text/quality_cost.py --output recipes-out
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loading import Options, read_options, show, write

from embcompat.report.plots.svg import colour, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RECORDED = Path(__file__).resolve().parents[1] / "expected" / "text_text_aware.json"
DOCUMENT_SEARCHES = ("cranfield", "npl", "libraries", "manpages")
LARGE = 1_000_000
"""Documents of a gallery for which the aligner's cost is told as well."""

SHADES = {
    "light": "ink:#17191e muted:#5b626e rule:#dfe1e3 paper:#fdfdfb old:#b4521a naive:#7d838d converted:#08796a "
    "fused:#7447bd new:#2355c4",
    "dark": "ink:#e8e9ed muted:#9da4b0 rule:#30353e paper:#131519 old:#f0965c naive:#9097a2 converted:#45c8b2 "
    "fused:#b99df7 new:#86abff",
}
"""The report's colours."""


def read_upgrades(options: Options) -> dict[str, Any]:
    """Read the figures of text_aware.py."""
    fresh = options.output / "text_text_aware.json"
    return dict(json.loads((fresh if fresh.is_file() else RECORDED).read_text())["upgrades"])


def collect_points(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each mode of one upgrade: what it re-embeds of the gallery, and the gap that it closes."""
    lines = {"plain": "vectors alone", "text-aware": "text-aware", "text-aware, fused": "text-aware, fused"}
    points = {name: {"embedded": 0.0, "gap": row["lines"][line]["gap"]} for line, name in lines.items()}
    for each in row["budgets"]["lazy"]:
        first = ", first query" if each["queries"] == "cold" else ""
        fused = ", fused" if each["search"] == "fused" else ""
        points[f"lazy {each['depth']}{first}{fused}"] = {"embedded": each["embedded"], "gap": each["gap"]}
    for each in row["budgets"]["orders"]:
        fused = ", fused" if each["search"] == "fused" else ""
        name = f"{each['order']} {each['embedded']:.0%}{fused}"
        points[name] = {"embedded": each["embedded"], "gap": {"value": each["gap"]}}
    points["reindex"] = {"embedded": 1.0, "gap": {"value": 1.0}}
    return points


def aligner_costs(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what the aligner costs as a share of a reindex: of this collection, and of a million such documents."""
    here = row["lines"]["text-aware"]["share_of_reindex"]
    return {"collection": here, "million": here * row["documents"] / LARGE}


def average(upgrades: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean and least gap, and the mean cost, of each mode over the document searches."""
    rows = [points for name, points in upgrades.items() if name.rpartition(", ")[2] in DOCUMENT_SEARCHES]
    rows = rows or list(upgrades.values())
    names = [name for name in rows[0] if all(name in points for points in rows)]
    return {
        name: {
            "embedded": sum(points[name]["embedded"] for points in rows) / len(rows),
            "gap": sum(points[name]["gap"]["value"] for points in rows) / len(rows),
            "least": min(points[name]["gap"]["value"] for points in rows),
        }
        for name in names
    }


def draw_panel(axes: Axes, title: str, points: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the modes of one upgrade."""
    axes.axhline(1.0, color=colour("new"), linewidth=1.0, linestyle="dashed")
    axes.axhline(0.0, color=colour("old"), linewidth=1.0, linestyle="dashed")
    for name, role, marker in (("vectors alone", "naive", "s"), ("text-aware", "converted", "D")):
        gap = points[name]["gap"]
        axes.plot([0, 0], [gap["low"], gap["high"]], color=colour(role), alpha=0.45, linewidth=5, clip_on=True)
        axes.plot([0], [gap["value"]], marker, color=colour(role), markersize=8, label=name)
    series = {
        "random part": ("muted", "-", [name for name in points if name.startswith("random") and "fused" not in name]),
        "lazy 10, 20, 50": ("fused", "o-", [f"lazy {depth}" for depth in (10, 20, 50)]),
        "the first query": ("fused", "o:", [f"lazy {depth}, first query" for depth in (10, 20, 50)]),
    }
    for label, (role, style, names) in series.items():
        places = [points[name]["embedded"] for name in names]
        values = [points[name]["gap"]["value"] for name in names]
        hollow = "none" if "first" in label else "full"
        axes.plot(places, values, style, color=colour(role), fillstyle=hollow, markersize=6, linewidth=1.6, label=label)
    axes.set_ylim(-0.6, 1.15)
    axes.set_xlim(-0.06, 1.06)
    axes.set_title(title, fontsize=11)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}".replace("-", "−"))


def draw_all(upgrades: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one SVG file with a panel for each upgrade, in the reader's light or dark."""

    def paint(figure: Figure) -> None:
        columns = min(4, len(upgrades))
        rows = -(-len(upgrades) // columns)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, (name, points) in zip(panels, upgrades.items(), strict=False):
            draw_panel(axes, name, points)
        figure.supxlabel("of the gallery re-embedded", fontsize=12)
        figure.supylabel("of the gap to a full reindex closed", fontsize=12)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5)

    width, height = 1_100, 150 + 210 * -(-len(upgrades) // 4)
    title = "Quality against cost"
    description = "The share of the gap to a full reindex that each mode closes, against what it re-embeds."
    inline = draw(paint, key="quality-cost", title=title, description=description, width=width, height=height)
    roots = {
        scheme: ":root{" + "".join(f"--{shade};" for shade in shades.split()) + "}" for scheme, shades in SHADES.items()
    }
    style = (
        f"<style>{roots['light']}@media (prefers-color-scheme: dark){{{roots['dark']}}}"
        "svg{background:var(--paper);font-family:system-ui,sans-serif}</style>"
    )
    head, _, rest = inline.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{style}{rest}\n'


def main() -> None:
    options = read_options(__doc__)
    upgrade_rows = read_upgrades(options)
    upgrades = {name: collect_points(row) for name, row in upgrade_rows.items()}
    costs = {name: aligner_costs(row) for name, row in upgrade_rows.items()}
    means = average(upgrades)
    rows = [
        (name, f"{each['embedded']:.0%}", f"{each['gap']:+.2f}", f"{each['least']:+.2f}")
        for name, each in means.items()
        if not name.startswith(("random", "usefulness")) or "10%" in name or "20%" in name
    ]
    show("mean of the document searches", ("mode", "re-embeds", "gap closed", "least"), rows)
    show(
        "what the aligner costs, of a reindex",
        ("upgrade", "of this collection", "of a million documents"),
        [(name, f"{each['collection']:.0%}", f"{each['million']:.2%}") for name, each in costs.items()],
    )
    (options.output / "quality-cost.svg").write_text(draw_all(upgrades), encoding="utf-8", newline="\n")
    write(options, "quality_cost", {"means": means, "aligner": costs, "upgrades": upgrades})


if __name__ == "__main__":
    main()
