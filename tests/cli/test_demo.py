"""The demo on real models and real texts, small."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import lancedb
import pytest
from typer.testing import CliRunner

from embcompat.artifact import read_artifact
from embcompat.cli import app
from embcompat.cli.demo.story import describe_cost, share_at
from embcompat.cli.demo.texts import Docstring, read_docstrings
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.results import Workload
from embcompat.upgrade import MODES

TEXTS = 100


def read_short(limit: int) -> list[Docstring]:
    """Read two small packages alone, and the beginnings of their docstrings: the models are real."""
    return [replace(text, body=text.body[:200]) for text in read_docstrings(limit, packages=["unittest", "numpy.ma"])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("embcompat.cli.demo.run"), "read_docstrings", read_short)
        patch.chdir(path.parent)
        outcome = CliRunner().invoke(
            app, ["demo", "--limit", str(TEXTS), "--out", path.name]
        )  # relative, as by default
    assert outcome.exit_code == 0, outcome.output
    return path


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "demo.json").read_text()))


def test_the_demo_measures_what_it_says(result: dict[str, Any]) -> None:
    for name in ("metric", "status_quo", "naive_swap", "converted", "full_reindex", "retention", "reason"):
        assert result[name] is not None, name
    assert result["decision"] in MODES
    assert result["retention_interval"][0] <= result["retention"] <= result["retention_interval"][1]
    assert result["retention"] == pytest.approx(result["converted"] / result["full_reindex"])
    spent = sum(result[f"{name}_seconds"] for name in ("pairs", "table", "fit", "convert"))
    assert result["speedup"] == pytest.approx(result["reembed_seconds"] / spent)
    assert result["queries"] == 75
    assert result["native_fraction"] == 0, "pairs stay out of the gallery"
    assert result["gallery_size"] == 75
    assert len(result["examples"]) == 4


def test_the_story_tells_what_was_measured(result: dict[str, Any]) -> None:
    texts = [point["text"] for point in result["story"]]
    assert len(texts) == 7
    assert f"to {result['naive_swap']:.3f}" in texts[0]
    assert f"{result['plain']['converted']:.3f}" in texts[1]
    assert f"{result['converted']:.3f}" in texts[2]
    assert f"{100 * result['options'][0]['cold']['retention']['value']:.1f}" in texts[3]
    assert texts[4].endswith(result["second_upgrade"]["reason"])
    assert texts[6] == result["reason"]


def test_the_second_upgrade_swaps_the_model_alone(result: dict[str, Any]) -> None:
    assert result["second_upgrade"]["decision"] in ("swap", "stay"), "a quantized copy is worth no migration"


def test_the_live_table_is_back_where_it_was(result: dict[str, Any], folder: Path) -> None:
    migration = result["migration"]
    assert (migration["rows"], migration["missing"]) == (TEXTS, 0)
    assert migration["hits_back"] == migration["hits_before"]
    table = lancedb.connect(folder / "lancedb").open_table("docs")
    assert table.count_rows() == TEXTS


def test_the_cost_is_fixed() -> None:
    cost = Workload(unit="words", pairs=20, pieces=20, table=10, gallery=100, items=10)
    assert share_at(cost, 10) == 0.5
    assert share_at(cost, 100) == 0.05
    assert describe_cost(cost)["share_of_reindex"] == 0.5


def test_the_galleries_are_in_their_spaces(folder: Path) -> None:
    artifact = read_artifact(folder / "old-to-new")
    old, converted = (Embeddings.load(folder / f"{name}.parquet") for name in ("old", "converted"))
    assert old.space == artifact.source
    assert converted.space == artifact.target
    assert old.ids.tolist() == converted.ids.tolist()


def test_the_report_is_written_and_nothing_half_done_is_left(folder: Path) -> None:
    assert "<svg" in (folder / "report.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        "converted.parquet",
        "demo.json",
        "lancedb",
        "old-to-new",
        "old.parquet",
        "report.html",
    ]


def test_texts_are_real_distinct_and_spread() -> None:
    texts = read_docstrings(100, packages=["unittest", "numpy.ma", "no_such_package"])
    assert len(texts) == 100
    assert len({text.summary for text in texts}) == len({text.body for text in texts}) == 100
    assert {"unittest", "numpy"} == {text.name.partition(".")[0] for text in texts}
    assert [text.name for text in texts] == sorted(text.name for text in texts)


def test_too_few_texts_are_refused(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["demo", "--limit", "10", "--out", str(tmp_path / "out")])
    assert isinstance(outcome.exception, InputError)
    assert not (tmp_path / "out").exists()
