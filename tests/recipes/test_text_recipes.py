"""Every text recipe runs, small, on texts that every machine has, and what is recorded of the large runs holds up."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"loading", "corpora", "budgets"}
RECIPES = sorted(path.stem for path in (ROOT / "recipes" / "text").glob("*.py") if path.stem not in MODULES)
EXPECTED = ROOT / "recipes" / "expected"


Run = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, so that the texts are embedded once."""
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture
def run(output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a recipe as a script does, in this process, so that the models are loaded once."""
    pytest.importorskip("tokenizers", reason="the text models are not installed")

    def run_smoke(recipe: str) -> dict[str, Any]:
        path = ROOT / "recipes" / "text" / f"{recipe}.py"
        monkeypatch.syspath_prepend(str(path.parent))
        monkeypatch.setattr(sys, "argv", [str(path), "--smoke", "--output", str(output)])
        runpy.run_path(str(path), run_name="__main__")
        assert max(len(line) for line in capsys.readouterr().out.splitlines() if line[:1].isspace()) <= 80
        return dict(json.loads((output / f"text_{recipe}.smoke.json").read_text()))

    return run_smoke


def test_upgrade_search(run: Run) -> None:
    (upgrade,) = run("upgrade_search")["upgrades"].values()
    assert upgrade["status_quo"] < upgrade["full_reindex"]
    assert 0 <= upgrade["converted"] <= 1
    assert upgrade["native_fraction"] == 0, "pairs stay out of the gallery"


def test_similarity_search(run: Run) -> None:
    (upgrade,) = run("similarity_search")["upgrades"].values()
    assert upgrade["metric"] == "map"
    assert upgrade["status_quo"] < upgrade["full_reindex"]
    assert upgrade["native_fraction"] > 0, "the fitted part of the gallery counts as re-embedded"


def test_clustering(run: Run) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    (upgrade,) = run("clustering")["upgrades"].values()
    assert upgrade["new"]["ari_new"] == pytest.approx(1), "a clustering agrees with itself"
    assert all(0 <= clustering["purity"] <= 1 for clustering in upgrade.values())
    assert upgrade["old"]["nmi_new"] < upgrade["new"]["nmi_new"]


def test_same_family(run: Run) -> None:
    successors = run("same_family")["successors"]
    assert successors["para_l3"]["verdict"] == "no aligner needed", "the very same model"
    assert successors["static64"]["verdict"] == "stay", "a weaker model"
    assert "naive_swap" not in successors["static64"], "its vectors have another length"


def test_out_of_domain(run: Run) -> None:
    trainings = run("out_of_domain")["trainings"]
    home, foreign = trainings["docstrings"], trainings["characters"]
    assert foreign["converted"] < home["converted"]
    assert foreign["gate"] == "not held"
    assert foreign["far_out"] > home["far_out"]


def test_universal_aligner(run: Run) -> None:
    aligners = run("universal_aligner")["aligners"]
    each, stacked = aligners["ridge, each"], aligners["ridge, stacked"]
    assert stacked["floats"] < each["floats"], "one bias instead of two"
    for old, lines in each["nDCG@10"].items():
        near = stacked["nDCG@10"][old]["converted"]["value"]
        assert lines["converted"]["value"] == pytest.approx(near, abs=0.15), "side by side they hardly share anything"


def test_pairs_needed(run: Run) -> None:
    curves = run("pairs_needed")["curves"]
    assert set(curves) == {"ridge", "kernel"}
    for curve in curves.values():
        assert curve["pairs"] == sorted(curve["pairs"])
        assert curve["enough"] in curve["pairs"]


def test_text_aware(run: Run) -> None:
    (result,) = run("text_aware")["upgrades"].values()
    lines, budgets = result["lines"], result["budgets"]
    assert lines["today"]["value"]["value"] < lines["reindex"]["value"]["value"]
    assert lines["words alone"]["share_of_reindex"] < lines["text-aware"]["share_of_reindex"]
    assert lines["reindex"]["gap"]["value"] == pytest.approx(1)
    cold = {each["depth"]: each for each in budgets["lazy"] if each["queries"] == "cold"}
    assert cold[50]["embedded"] > cold[10]["embedded"]
    ends = {each["embedded"]: each for each in budgets["orders"] if each["search"] == "converted"}
    assert ends[1.0]["gap"] == pytest.approx(1), "a gallery that is embedded anew is a reindex"


def test_weighted_queries(run: Run) -> None:
    (result,) = run("weighted_queries")["upgrades"].values()
    gaps = {way: {name: each["gap"]["value"] for name, each in lines.items()} for way, lines in result["ways"].items()}
    assert gaps["rows weighted"]["every row native"] == pytest.approx(1), "rows are weighted where they are converted"
    assert gaps["nothing weighted"]["every row native"] == pytest.approx(1)
    assert gaps["queries weighted"]["every row native"] != pytest.approx(1), "queries are weighted everywhere"


@pytest.mark.soak  # every kind is fitted and judged
def test_default_path(run: Run) -> None:
    (result,) = run("default_path")["upgrades"].values()
    lines, chosen = result["lines"], result["chosen"]
    kinds = [name for name in lines if name not in chosen]
    for name, kind in chosen.items():
        known = [each for each in kinds if name == "fit with texts" or each != "text_aware"]
        assert kind in known
        assert lines[name] == lines[kind], "a choice is worth what its kind is worth by name"
        best = max(known, key=lambda each: lines[each]["value"]["value"])
        expected = lines[name]["value"]["value"] - lines[best]["value"]["value"]
        assert result["against_best"][name]["difference"]["value"] == pytest.approx(expected)


def test_quality_cost(run: Run, output: Path) -> None:
    figures = run("quality_cost")
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
