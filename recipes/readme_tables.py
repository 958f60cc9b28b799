"""Write the README's tables of results from the recorded figures of two recipes.

python recipes/readme_tables.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
EXPECTED = ROOT / "recipes" / "expected"
MARKED = re.compile(r"(<!-- results: recipes/readme_tables.py -->\n).*?(<!-- end of results -->)", re.DOTALL)


def make_tables() -> str:
    """Return both tables with what stands around them."""
    texts = json.loads((EXPECTED / "text_upgrade_search.json").read_text())["upgrades"]
    faces = json.loads((EXPECTED / "beat_the_paper.json").read_text())
    return "\n".join([*text_table(texts), "", *face_table(faces)])


def text_table(upgrades: dict[str, Any]) -> list[str]:
    """Write each way to serve as the share that it closes of the gap between today and a full reindex."""
    lines = [
        "**Text search**, nDCG@10 on real collections. Each column shows how much of the gap between today and a",
        "full reindex it closes: 0 % is no better than today, 100 % is as good as re-embedding everything. Brackets",
        "show the 95 % confidence interval of the difference from today. *20 %* embeds a random fifth of the",
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
        part, lazy = row["backfill"]["20 %"]["fused"], row["lazy_backfill"]["fused"]
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
        cells[-1] += f", embeds {lazy['curve']['native_fraction'][-1]:.0%}"
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
    for name, found in result["upgrades"].items():
        lines_shown = ["old", "S1", *(f"S3: {line}" for line in (*baselines, ours)), f"S3, queries normalized: {ours}"]
        rates = [found["lines"][line]["far_at_frr"]["value"] for line in lines_shown]
        ratio = max((found["ratios"][f"S3: {ours} / {base}"] for base in baselines), key=lambda each: each["value"])
        cells = [f"1/{1 / rate:,.0f}" for rate in rates]
        interval = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        lines.append(f"| {name} | {' | '.join(cells)} | {interval} |")
    return lines


def main() -> None:
    README.write_text(MARKED.sub(lambda found: f"{found[1]}\n{make_tables()}\n\n{found[2]}", README.read_text()))


if __name__ == "__main__":
    main()
