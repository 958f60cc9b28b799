"""The benchmarks run; their figures are not judged here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize(
    "name",
    [
        "retrieval",
        "texts",
        *(
            pytest.param(name, marks=pytest.mark.soak)
            for name in (
                "conversion",
                "doctor",
                "fit_streaming",
                "gateway",
                "selection",
                "serving",
                "startup",
                "training",
                "verification",
            )
        ),
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


@pytest.mark.soak
def test_the_benchmark_of_a_gpu_measures_or_says_why_not(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "gpu.py"), "--smoke", "--out", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    results = json.loads((tmp_path / "out.json").read_text())
    assert results["lines"] or "CUDA" in results["skipped"]


@pytest.mark.soak
def test_the_steps_of_a_migration_are_timed(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "migration_steps.py"), "--smoke", "--out", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    results = json.loads((tmp_path / "out.json").read_text())
    lines = results["lines"]
    assert [set(line["step_seconds"]) >= {"plan", "run", "verify", "drop old"} for line in lines[::3]] == [True, True]
    assert min(line["native_candidates"] for line in lines if "ratio" in line) > 0.9
    assert "lancedb" in "\n".join(load("suite").steps(results))


@pytest.mark.soak
def test_the_run_at_scale_is_exact_and_survives_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "scale.py"), "--smoke", "--kinds", "kernel", "--folder", str(tmp_path)]
    subprocess.run([*command, "--out", str(tmp_path / "out.json")], check=True, capture_output=True, text=True)
    (line,) = json.loads((tmp_path / "out.json").read_text())["lines"]
    assert line["rows"] == 400_000
    assert line["largest_error"] < 1e-5


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_docs_is_made_from_the_results() -> None:
    suite = load("suite")
    results = json.loads((FOLDER / "results" / "speed.json").read_text())
    assert suite.PAGE.read_text() == suite.make_page(results)


def test_a_single_measurement_has_no_noise() -> None:
    machine, suite = load("machine"), load("suite")
    line = machine.line_at_most("what", "against", 2.0, 1.5, {"one": [2.0], "other": [1.0]})
    assert suite.cells(line) == ["what", "against", "≤ 1.5", "2.00 (missed)", "–"]
    line = machine.line_at_least("what", "against", 2.0, 1.5, {"one": [2.0, 4.0, 3.0], "other": [1.0, 1.0, 1.0]})
    assert suite.cells(line) == ["what", "against", "≥ 1.5", "2.00", "67%"]
