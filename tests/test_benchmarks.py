"""The benchmarks run; their figures are not judged here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize(
    "name",
    [
        "fit_streaming",
        "retrieval",
        "verification",
        *(pytest.param(name, marks=pytest.mark.soak) for name in ("conversion", "serving", "startup", "training")),
    ],
)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--smoke", "--out", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    lines = json.loads((tmp_path / "out.json").read_text())["lines"]
    assert lines
    for line in lines:
        assert line["ratio"] > 0
        assert {"what", "against"} <= line.keys()


def test_the_page_of_the_docs_is_made_from_the_results() -> None:
    spec = importlib.util.spec_from_file_location("suite", FOLDER / "suite.py")
    assert spec is not None
    assert spec.loader is not None
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    results = json.loads((FOLDER / "results" / "speed.json").read_text())
    assert suite.PAGE.read_text() == suite.make_page(results)
