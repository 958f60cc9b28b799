"""Write the tables of docs/concepts/faces.md from what four recipes beside this script recorded.

python recipes/face/study_tables.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "concepts" / "faces.md"
EXPECTED = ROOT / "recipes" / "expected"

NAMES = {"dense_paper": "Dense, the paper's loss", "dense": "Dense, loss on unit vectors"}


def beaten(result: dict[str, Any]) -> list[str]:
    """Write every line of the comparison: its own threshold, and scenario 1's."""
    ours = result["recommended"]
    lines = []
    for upgrade, comparison in result["upgrades"].items():
        lines += [f"**{upgrade}**", "", "| scenario 3 | FAR at FRR 5 % | FRR at S1's threshold | FAR there |"]
        lines.append("|---|---|---|---|")
        for line, row in comparison["lines"].items():
            if line.startswith("S2"):
                continue
            name = line.removeprefix("S3: ")
            for short, long in NAMES.items():
                name = long if name == short else name.replace(f": {short}", f": {long}").replace("S3, ", "")
            at_own_threshold = one_in(row["far_at_frr"]["value"])
            fixed = (
                "– | –" if "fused" in line or line == "old" else f"{row['fixed_frr']:.1%} | {one_in(row['fixed_far'])}"
            )
            lines.append(f"| {f'**{name}**' if ours in name else name} | {at_own_threshold} | {fixed} |")
        lines += ["", "| FAR of ours as a multiple of | value (95 %) | fold by fold |", "|---|---|---|"]
        for what, ratio in comparison["ratios"].items():
            scenario, _, base = what.partition(f": {ours} / ")
            plain = base.removeprefix("S3: ")
            scenario += ", Dense without" if plain != base else ""
            by_fold = ", ".join("–" if each is None else f"{each:.2f}" for each in ratio["by_fold"])
            interval = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            lines.append(f"| {NAMES[plain]}, {scenario} | {interval} | {by_fold} |")
        lines.append("")
    return lines[:-1]


def tried(result: dict[str, Any]) -> list[str]:
    """Write what was tried: the FAR of each as a multiple of Dense's."""
    upgrades = result["upgrades"]
    lines = [f"| tried | {' | '.join(upgrades)} |", "|---|" + "---|" * len(upgrades)]
    for name in next(iter(upgrades.values())):
        cells = [f"{rows[name]['far_at_frr'] / rows['dense']['far_at_frr']:.2f}" for rows in upgrades.values()]
        lines.append(f"| {NAMES.get(name, name)} | {' | '.join(cells)} |")
    return lines


def served(result: dict[str, Any]) -> list[str]:
    """Write what normalized scores and other strengths are worth, and templates beside them."""
    upgrades = result["upgrades"]
    heads = [f"{name}, {upgrade['folds']} folds" for name, upgrade in upgrades.items()]
    lines = [f"| FAR as a multiple of ours (95 %) | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for name in next(iter(upgrades.values()))["lines"]:
        if name != "ours":
            ratios = [upgrade["lines"][name]["to_ours"] for upgrade in upgrades.values()]
            cells = [f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" for ratio in ratios]
            lines.append(f"| {name.replace('strength', 'reweighted, strength')} | {' | '.join(cells)} |")
    lines += ["", f"| FAR at FRR {result['template_frr']:.0%}, queries – gallery | {' | '.join(heads)} |"]
    lines.append("|---|" + "---|" * len(heads))
    for name in next(iter(upgrades.values()))["templates"]:
        cells = [one_in(upgrade["templates"][name]) for upgrade in upgrades.values()]
        lines.append(f"| {'old' if name.startswith('old') else 'new'} – {name} | {' | '.join(cells)} |")
    return lines


def simulated(result: dict[str, Any]) -> list[str]:
    """Write scenario 3 of the simulated life-cycle, beside the paper's."""
    lines = []
    for name, cell in result["cells"].items():
        far, frr = cell["S1"]["far"], cell["S1"]["frr"]
        lines += [f"**{name}, simulated**: scenario 1 has an FRR of {frr:.2%} and a FAR of {one_in(far)}", ""]
        heads = ("scenario 3", "FRR, FAR at S1's threshold", "FRR, FAR at the transferred threshold", "FAR at S1's FRR")
        lines += [f"| {' | '.join(heads)} |", "|---|---|---|---|"]
        for way, scenarios in cell["ways"].items():
            row = scenarios["S3"]
            rates = [(row["frr"], row["far"]), (row["transferred_frr"], row["transferred_far"])]
            cells = [f"{frr:.1%}, × {rate / far:.2f}" for frr, rate in rates]
            lines.append(f"| {way} | {' | '.join(cells)} | × {row['far_at_frr'] / far:.2f} |")
        paper = cell["paper"]
        lines.append(f"| old among themselves | – | – | × {cell['old']['far_at_frr'] / far:.2f} |")
        for oracle in cell["oracle"]:
            name = f"the oracle, aimed at × {oracle['times']:.2f}"
            lines.append(f"| {name} | {oracle['frr']:.1%}, × {oracle['far'] / far:.2f} | – | – |")
        times = paper["S3"]["far"] / paper["S1"]["far"]
        lines += [f"| the paper's Multi-branch, its own faces | {paper['S3']['frr']:.1%}, × {times:.2f} | – | – |", ""]
    return lines[:-1]


def raw(result: dict[str, Any]) -> list[str]:
    """Write scenario 3 on raw vectors of LFW, each at its own threshold."""
    upgrades = result["lfw"]
    lines = [f"| FAR at FRR 5 % | {' | '.join(upgrades)} |", "|---|" + "---|" * len(upgrades)]
    for name, key in (("new among themselves (S1)", "S1"), ("old among themselves", "old")):
        lines.append(f"| {name} | {' | '.join(one_in(each[key]['far_at_frr']) for each in upgrades.values())} |")
    for way in next(iter(upgrades.values()))["ways"]:
        cells = [one_in(each["ways"][way]["S3"]["far_at_frr"]) for each in upgrades.values()]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    for length in next(iter(upgrades.values()))["lengths"]:
        cells = [one_in(each["lengths"][length]) for each in upgrades.values()]
        lines.append(f"| the last one, length {length} | {' | '.join(cells)} |")
    return lines


def networks(result: dict[str, Any]) -> list[str]:
    """Write scenario 3 of networks in raw spaces, as a multiple of the kernel aligner's."""
    upgrades = result["networks"]
    lines = [f"| FAR at S1's FRR | {' | '.join(upgrades)} |", "|---|" + "---|" * len(upgrades)]
    for way in next(iter(upgrades.values()))["ways"]:
        rates = [(each["ways"][way]["S3"], each["ways"]["kernel, reweighted"]["S3"]) for each in upgrades.values()]
        cells = [f"{one_in(row['far_at_frr'])}, × {row['far_at_frr'] / base['far_at_frr']:.2f}" for row, base in rates]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def normalized(result: dict[str, Any]) -> list[str]:
    """Write what normalized scores are worth in raw spaces, as a multiple of the plain ones."""
    upgrades = result["normalized"]
    lines = [f"| FAR at FRR 5 % | {' | '.join(upgrades)} |", "|---|" + "---|" * len(upgrades)]
    for name in next(iter(upgrades.values())):
        cells = []
        for each in upgrades.values():
            rate, ratio = one_in(each[name]["far_at_frr"]["value"]), each[name]["to_plain"]
            times = f", × {ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if "," in name else ""
            cells.append(rate + times)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def one_in(rate: float) -> str:
    return f"1/{1 / rate:,.0f}" if rate else "none"


def fill(text: str, name: str, lines: list[str]) -> str:
    """Put lines between the page's markers of a table."""
    marked = re.compile(rf"(<!-- {name}: recipes/face/study_tables.py -->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda mark: "\n".join([mark[1], *lines, "", mark[2]]), text)


def make_page() -> str:
    """Return the page with its tables."""
    text = PAGE.read_text()
    tables = {
        "beat_the_paper": (beaten,),
        "tried": (tried,),
        "served": (served,),
        "raw_spaces": (simulated, raw, networks, normalized),
    }
    for name, makers in tables.items():
        figures = json.loads((EXPECTED / f"{name}.json").read_text())
        for make in makers:
            text = fill(text, make.__name__ if len(makers) > 1 else name, make(figures))
    return text


if __name__ == "__main__":
    PAGE.write_text(make_page())
