"""The demo on real models and real texts, at its smallest size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from embcompat.artifact import read_artifact
from embcompat.cli import app
from embcompat.cli.demo.texts import read_docstrings
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.upgrade import MODES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo")
    done = CliRunner().invoke(app, ["demo", "--limit", "300", "--out", str(path)])
    assert done.exit_code == 0, done.output
    return path


def test_the_demo_measures_what_it_says(folder: Path) -> None:
    found = json.loads((folder / "demo.json").read_text())
    for name in ("metric", "status_quo", "naive_swap", "converted", "full_reindex", "retention", "reason"):
        assert found[name] is not None, name
    assert found["decision"] in MODES
    assert found["retention_interval"][0] <= found["retention"] <= found["retention_interval"][1]
    assert found["retention"] == pytest.approx(found["converted"] / found["full_reindex"])
    spent = found["pairs_seconds"] + found["fit_seconds"] + found["convert_seconds"]
    assert found["speedup"] == pytest.approx(found["reembed_seconds"] / spent)
    assert found["queries"] == 225
    assert found["native_fraction"] == 0.25
    assert len(found["examples"]) == 4


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
        "old-to-new",
        "old.parquet",
        "report.html",
    ]


def test_texts_are_real_distinct_and_spread() -> None:
    texts = read_docstrings(500)
    assert len(texts) == 500
    assert len({text.summary for text in texts}) == len({text.body for text in texts}) == 500
    assert {"numpy", "scipy"} < {text.name.partition(".")[0] for text in texts}
    assert [text.name for text in texts] == sorted(text.name for text in texts)


def test_too_few_texts_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--limit", "10", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "out").exists()
