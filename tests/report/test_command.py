from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from embcompat.cli.report import report
from embcompat.errors import UnknownNameError


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_results_become_a_page(tmp_path: Path, learning_curve: dict[str, Any], backfill_curve: dict[str, Any]) -> None:
    paths = [tmp_path / "learning.json", tmp_path / "backfill.json"]
    for path, result in zip(paths, (learning_curve, backfill_curve), strict=True):
        path.write_text(json.dumps(result))
    outcome = run(*paths, "--out", tmp_path / "report.html", "--title", "Made-up curves")
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<h1>Made-up curves</h1>" in page
    assert page.count("<svg") == 2


def test_an_unknown_kind_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "weather.json").write_text('{"kind": "weather"}')
    outcome = run(tmp_path / "weather.json", "--out", tmp_path / "report.html")
    assert isinstance(outcome.exception, UnknownNameError)
    assert not (tmp_path / "report.html").exists()


def test_help_shows_examples() -> None:
    outcome = run("--help")
    assert "embcompat report demo-out/demo.json" in outcome.output


@pytest.mark.parametrize("arguments", [[], ["--out", "x.html"]])
def test_a_result_is_needed(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2
