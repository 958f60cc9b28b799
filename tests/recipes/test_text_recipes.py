"""Every text recipe runs, small, on texts that every machine has, and what is recorded of the large runs holds up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"loading", "corpora", "budgets"}
RECIPES = sorted(path.stem for path in (ROOT / "recipes" / "text").glob("*.py") if path.stem not in MODULES)
EXPECTED = ROOT / "recipes" / "expected"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, so that the texts are embedded once."""
    return tmp_path_factory.mktemp("recipes")


def run(recipe: str, output: Path) -> dict[str, Any]:
    pytest.importorskip("tokenizers", reason="the text models are not installed")
    command = [sys.executable, "-W", "error", ROOT / "recipes" / "text" / f"{recipe}.py", "--smoke", "--output", output]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines() if line[:1].isspace()) <= 80
    return dict(json.loads((output / f"text_{recipe}.smoke.json").read_text()))


def test_upgrade_search(output: Path) -> None:
    (found,) = run("upgrade_search", output)["upgrades"].values()
    assert found["status_quo"] < found["full_reindex"]
    assert 0 <= found["converted"] <= 1
    assert found["native_fraction"] == 0, "pairs stay out of the gallery"


def test_similarity_search(output: Path) -> None:
    (found,) = run("similarity_search", output)["upgrades"].values()
    assert found["metric"] == "map"
    assert found["status_quo"] < found["full_reindex"]
    assert found["native_fraction"] > 0, "the fitted part of the gallery counts as re-embedded"


def test_clustering(output: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    (found,) = run("clustering", output)["upgrades"].values()
    assert found["new"]["ari_new"] == pytest.approx(1), "a clustering agrees with itself"
    assert all(0 <= clustering["purity"] <= 1 for clustering in found.values())
    assert found["old"]["nmi_new"] < found["new"]["nmi_new"]


def test_same_family(output: Path) -> None:
    found = run("same_family", output)["successors"]
    assert found["para_l3"]["verdict"] == "no aligner needed", "the very same model"
    assert found["static64"]["verdict"] == "stay", "a weaker model"
    assert "naive_swap" not in found["static64"], "its vectors have another length"


def test_out_of_domain(output: Path) -> None:
    found = run("out_of_domain", output)["trainings"]
    home, foreign = found["docstrings"], found["characters"]
    assert foreign["converted"] < home["converted"]
    assert foreign["gate"] == "not held"
    assert foreign["far_out"] > home["far_out"]


def test_universal_aligner(output: Path) -> None:
    found = run("universal_aligner", output)["aligners"]
    each, stacked = found["ridge, each"], found["ridge, stacked"]
    assert stacked["floats"] < each["floats"], "one bias instead of two"
    for old, lines in each["nDCG@10"].items():
        near = stacked["nDCG@10"][old]["converted"]["value"]
        assert lines["converted"]["value"] == pytest.approx(near, abs=0.15), "side by side they hardly share anything"


def test_pairs_needed(output: Path) -> None:
    curves = run("pairs_needed", output)["curves"]
    assert set(curves) == {"ridge", "kernel"}
    for curve in curves.values():
        assert curve["pairs"] == sorted(curve["pairs"])
        assert curve["enough"] in curve["pairs"]


def test_text_aware(output: Path) -> None:
    (result,) = run("text_aware", output)["upgrades"].values()
    lines, budgets = result["lines"], result["budgets"]
    assert lines["today"]["value"]["value"] < lines["reindex"]["value"]["value"]
    assert lines["words alone"]["share_of_reindex"] < lines["text-aware"]["share_of_reindex"]
    assert lines["reindex"]["gap"]["value"] == pytest.approx(1)
    cold = {each["depth"]: each for each in budgets["lazy"] if each["queries"] == "cold"}
    assert cold[50]["embedded"] > cold[10]["embedded"]
    ends = {each["embedded"]: each for each in budgets["orders"] if each["search"] == "converted"}
    assert ends[1.0]["gap"] == pytest.approx(1), "a gallery that is embedded anew is a reindex"


def test_quality_cost(output: Path) -> None:
    figures = run("quality_cost", output)
    recorded = json.loads((EXPECTED / "text_text_aware.json").read_text())["upgrades"]
    assert set(figures["upgrades"]) == set(recorded)
    means = figures["means"]
    rows = [row for name, row in recorded.items() if name.split(", ")[1] not in ("wordnet", "banking77")]
    gaps = [row["lines"]["text-aware"]["gap"]["value"] for row in rows]
    assert means["text-aware"]["gap"] == pytest.approx(sum(gaps) / 8)
    assert means["text-aware"]["least"] == min(gaps)
    assert means["lazy 10, first query"]["embedded"] < means["lazy 10"]["embedded"]
    assert all(cost["million"] < 0.01 < cost["collection"] for cost in figures["aligner"].values())
    assert figures["means"] == json.loads((EXPECTED / "text_quality_cost.json").read_text())["means"], "run it again"
    drawing = (output / "quality-cost.svg").read_text()
    assert drawing.startswith("<svg ")
    assert "prefers-color-scheme: dark" in drawing
    assert drawing.count("minilm") >= len(recorded)


def test_every_recipe_has_a_test_and_recorded_figures() -> None:
    for recipe in RECIPES:
        assert f"test_{recipe}" in globals(), f"{recipe} has no test"
        recorded = json.loads((EXPECTED / f"text_{recipe}.json").read_text())
        assert recorded["recipe"] == f"text/{recipe}.py"
        assert not recorded["smoke"]
