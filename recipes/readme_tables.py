"""Write the tables of results in README and docs from the recorded figures of four recipes.

python recipes/readme_tables.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
WORDS_PAGE = ROOT / "docs" / "concepts" / "text-aware.md"
MODES_PAGE = ROOT / "docs" / "concepts" / "modes.md"
EXPECTED = ROOT / "recipes" / "expected"
MARKED = re.compile(r"(<!-- results: recipes/readme_tables.py -->\n).*?(<!-- end of results -->)", re.DOTALL)


def make_tables() -> str:
    """Return the README's tables with what stands around them."""
    words = json.loads((EXPECTED / "text_text_aware.json").read_text())["upgrades"]
    texts = json.loads((EXPECTED / "text_upgrade_search.json").read_text())["upgrades"]
    faces = json.loads((EXPECTED / "beat_the_paper.json").read_text())
    return "\n".join([*words_table(words), "", *text_table(texts), "", *face_table(faces)])


def make_words_tables() -> str:
    """Return the tables of the page on text-aware conversion."""
    words = json.loads((EXPECTED / "text_text_aware.json").read_text())["upgrades"]
    return "\n".join([*lines_table(words), "", *hybrid_table(words), "", *budget_table(words)])


def make_cost_table() -> str:
    """Return the table of quality against cost on the page on modes."""
    figures = json.loads((EXPECTED / "text_quality_cost.json").read_text())
    lines = [
        "| mode | re-embeds of the gallery | gap closed, mean | gap closed, least |",
        "|---|---|---|---|",
    ]
    for name, row in figures["means"].items():
        if name.startswith(("random", "usefulness")) and not name.startswith(("random 10%", "random 20%")):
            continue
        label = name.replace("%", " %")
        lines.append(f"| {label} | {row['embedded']:.0%} | {row['gap']:+.2f} | {row['least']:+.2f} |")
    costs = figures["aligner"].values()
    here, large = ([each[size] for each in costs] for size in ("collection", "million"))
    lines += [
        "",
        f"The aligner itself costs {min(here):.0%} to {max(here):.0%} of what a reindex of these small collections",
        f"embeds, and {min(large):.2%} to {max(large):.2%} for a million such documents.",
    ]
    return "\n".join(lines)


def words_table(upgrades: dict[str, Any]) -> list[str]:
    """Write what text-aware conversion is worth, shortly."""
    lines = [
        "**Text search, converting with the texts**: share of the gap between today and a full reindex (nDCG@10) that",
        "conversion closes, by the old vector alone and with the words of the texts; the brackets show the 95 %",
        "interval. Only the new model is alive afterwards. The method was developed on Cranfield and NPL; nothing was",
        "tuned on the other four collections. Words alone, BM25, hybrids, costs and budgets:",
        "[text-aware conversion](docs/concepts/text-aware.md).",
        "Source: [text_aware.py](recipes/text/text_aware.py).",
        "",
        "| upgrade | today | vectors alone | with the words | reindex | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in upgrades.items():
        figures = row["lines"]
        cells = [value(figures["today"]), gap(figures["plain"]), gap(figures["text-aware"]), value(figures["reindex"])]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['decision']['decision']} |")
    return lines


def lines_table(upgrades: dict[str, Any]) -> list[str]:
    """Write every line of every upgrade with its interval."""
    names = ("today", "plain", "words alone", "text-aware", "text-aware, fused", "reindex")
    lines = [f"| upgrade | {' | '.join(names)} | cost |", "|---|" + "---|" * (len(names) + 1)]
    for upgrade, row in upgrades.items():
        figures = row["lines"]
        cells = [
            value(figures[name]) + ("" if name in ("today", "reindex") else f", {gap(figures[name])}") for name in names
        ]
        lines.append(f"| {upgrade} | {' | '.join(cells)} | {figures['text-aware']['share_of_reindex']:.0%} |")
    return lines


def hybrid_table(upgrades: dict[str, Any]) -> list[str]:
    """Write BM25 and the hybrids."""
    lines = [
        "| upgrade | BM25 | today's hybrid | hybrid, converted | against today's (95 %) | hybrid, reindex |",
        "|---|---|---|---|---|---|",
    ]
    for upgrade, row in upgrades.items():
        hybrid = row["hybrid"]
        today, converted, goal = (hybrid[name] for name in ("status_quo", "converted", "full_reindex"))
        against = converted["chosen_difference"]
        cells = [
            f"{row['bm25']['value']:.3f}",
            f"{today['chosen']['value']:.3f}",
            f"{converted['chosen']['value']:.3f}",
            f"{against['value']:+.3f} ({against['low']:+.3f} to {against['high']:+.3f})",
            f"{goal['chosen']['value']:.3f}",
        ]
        lines.append(f"| {upgrade} | {' | '.join(cells)} |")
    return lines


def budget_table(upgrades: dict[str, Any]) -> list[str]:
    """Write what re-embedding adds to text-aware conversion."""
    lines = [
        "| upgrade | 10 % at random | lazy 10, cold | lazy 10 | lazy 20, cold | lazy 20 | lazy 50, cold | lazy 50 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for upgrade, row in upgrades.items():
        part = next(
            each
            for each in row["budgets"]["orders"]
            if (each["search"], each["order"], round(each["embedded"], 1)) == ("converted", "random", 0.1)
        )
        lazy = {
            (each["depth"], each["queries"]): each for each in row["budgets"]["lazy"] if each["search"] == "converted"
        }
        cells = [f"{part['gap']:+.2f}"]
        for depth in (10, 20, 50):
            cells += [gap(lazy[depth, "cold"]), f"{gap(lazy[depth, 'cumulative'])}"]
            cells[-1] += f", embeds {lazy[depth, 'cumulative']['embedded']:.0%}"
        lines.append(f"| {upgrade} | {' | '.join(cells)} |")
    return lines


def value(figure: dict[str, Any]) -> str:
    """Write a line's figure."""
    return f"{figure['value']['value']:.3f}"


def gap(figure: dict[str, Any]) -> str:
    """Write the share of the gap that a line closes, with its interval."""
    closed = figure["gap"]
    return f"{closed['value']:+.2f} ({closed['low']:+.2f} to {closed['high']:+.2f})"


def text_table(upgrades: dict[str, Any]) -> list[str]:
    """Write each way to serve as the share that it closes of the gap between today and a full reindex."""
    lines = [
        "**Text search by vectors alone**, nDCG@10 on real collections. Each column shows how much of the gap between",
        "today and a full reindex it closes: 0 % is no better than today, 100 % is as good as re-embedding everything.",
        "Brackets show the 95 % confidence interval of the difference from today. *20 %* embeds a random fifth of the",
        "collection and fits on nothing else; *lazy* embeds what queries bring up, and shows the share of the gallery",
        "that was embedded in the end. Both search fused, so both models must be alive. The other columns use pairs",
        "from documents that answer no query, and a gallery without those documents. Source:",
        "[upgrade_search.py](recipes/text/upgrade_search.py).",
        "",
        "| upgrade | today | converted | fused | 20 % | lazy | reindex |",
        "|---|---|---|---|---|---|---|",
    ]
    sums: dict[str, list[float]] = {}
    for name, row in upgrades.items():
        if not row["gaps"]:
            worse = f"{row['full_reindex']:.3f}, so the verdict is: {row['decision']}"
            lines.append(f"| {name} | {row['status_quo']:.3f} | – | – | – | – | {worse} |")
            continue
        part, lazy = row["at_once"]["20 %"]["fused"], row["lazy"]["fused"]
        ways = {
            "converted": (row["gaps"]["converted"], row["differences"]["converted"]),
            "fused": (row["gaps"]["fused"], row["differences"]["fused"]),
            "20 %": (part["gaps"], part["differences"]),
            "lazy": (lazy["gap"], lazy["difference"]),
        }
        for way, (closed, _) in ways.items():
            sums.setdefault(way, []).append(closed["value"])
        cells = [
            f"{gap['value']:.0%} ({difference['low']:+.3f} to {difference['high']:+.3f})"
            for gap, difference in ways.values()
        ]
        cells[-1] += f", embeds {lazy['native_fraction']:.0%}"
        lines.append(f"| {name} | {row['status_quo']:.3f} | {' | '.join(cells)} | {row['full_reindex']:.3f} |")
    means = [f"**{sum(values) / len(values):.0%}**" for values in sums.values()]
    return [*lines, f"| mean of the true upgrades | | {' | '.join(means)} | |"]


def face_table(result: dict[str, Any]) -> list[str]:
    """Write the false accepts of converted against new vectors, and the ratio to both baselines."""
    ours, baselines = result["recommended"], result["baselines"]
    lines = [
        "**Faces**: false accepts of converted against new vectors at a false reject rate of 5 %, all images of",
        "people that were not fitted, five folds, counted by person: each person and each pair of people has one vote.",
        "FC-Aligner's Dense twice: with its own loss, and (*unit*) with the loss on unit vectors. Ours is",
        f"`{ours}` for both upgrades, with nothing tuned to either; *normalized*: the new query's scores",
        "are normalized against a cohort, which an artifact can carry.",
        "Made by [beat_the_paper.py](recipes/face/beat_the_paper.py); [the study](docs/concepts/faces.md) tells all",
        "that was tried.",
        "",
        "| upgrade | old/old | new/new | Dense | Dense, unit | ours | ours, normalized | ours / better Dense (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, upgrade in result["upgrades"].items():
        lines_shown = ["old", "S1", *(f"S3: {line}" for line in (*baselines, ours)), f"S3, queries normalized: {ours}"]
        rates = [upgrade["lines"][line]["far_at_frr"]["value"] for line in lines_shown]
        ratio = max((upgrade["ratios"][f"S3: {ours} / {base}"] for base in baselines), key=lambda each: each["value"])
        cells = [f"1/{1 / rate:,.0f}" for rate in rates]
        interval = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        lines.append(f"| {name} | {' | '.join(cells)} | {interval} |")
    return lines


def main() -> None:
    pages = {README: make_tables(), WORDS_PAGE: make_words_tables(), MODES_PAGE: make_cost_table()}
    for page, tables in pages.items():
        page.write_text(replace_marked(page.read_text(), tables))


def replace_marked(page: str, tables: str) -> str:
    """Return a page with new tables between its two marks."""
    return MARKED.sub(lambda marks: f"{marks[1]}\n{tables}\n\n{marks[2]}", page)


if __name__ == "__main__":
    main()
