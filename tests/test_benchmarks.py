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
                "all_images",
                "conversion",
                "doctor",
                "fit_streaming",
                "fit_verification",
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
    if "skipped" in results:
        earlier = json.dumps({"machine": {"gpu": "one"}, "steps": {}, "lines": [{"what": "training"}]})
        (tmp_path / "out.json").write_text(earlier)
        assert "skipped: " in subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert (tmp_path / "out.json").read_text() == earlier, "what a GPU gave stays"


@pytest.mark.soak
def test_the_steps_of_a_migration_are_timed(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "migration_steps.py"), "--smoke", "--out", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    results = json.loads((tmp_path / "out.json").read_text())
    lines = results["lines"]
    assert [set(line["step_seconds"]) >= {"plan", "run", "verify", "drop old"} for line in lines[::3]] == [True, True]
    assert min(line["native_candidates"] for line in lines if "ratio" in line) > 0.9
    assert "lancedb" in "\n".join(load("sections").migration_section(results))


@pytest.mark.soak
def test_the_run_at_scale_is_exact_and_survives_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "scale.py"), "--smoke", "--kinds", "kernel", "--folder", str(tmp_path)]
    subprocess.run([*command, "--out", str(tmp_path / "out.json")], check=True, capture_output=True, text=True)
    (line,) = json.loads((tmp_path / "out.json").read_text())["lines"]
    assert line["rows"] == 400_000
    assert line["largest_error"] < 1e-5


def load(name: str) -> ModuleType:
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_docs_is_made_from_the_results() -> None:
    page = load("page")
    assert page.PAGE.read_text() == page.make_page()


def test_results_replace_those_of_their_benchmark_or_stand_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = load("suite")
    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    few, many = ({"arguments": ["--rows", rows], "seconds": 1.0} for rows in ("10", "20"))
    for result, add, recorded in ((few, False, [few]), (many, True, [few, many]), (few, True, [many, few])):
        suite.record("doctor", result, add=add)
        assert json.loads((tmp_path / "speed.json").read_text()) == {"doctor": recorded}
    suite.record("texts", many, add=False)
    suite.record("doctor", many, add=False)
    assert json.loads((tmp_path / "speed.json").read_text()) == {"doctor": [many], "texts": [many]}


def test_every_benchmark_of_the_suite_has_sizes_and_a_heading() -> None:
    suite, page = load("suite"), load("page")
    assert set(suite.REDUCED) == set(suite.FULL) == set(page.SUITE)


def test_a_single_measurement_has_no_noise() -> None:
    machine, tables = load("machine"), load("tables")
    runs = {"runs": ("one", "other")}
    line = machine.line_at_most("what", "against", 2.0, 1.5, {"one": [2.0], "other": [1.0]}, **runs)
    assert tables.cells(line, None) == ["what", "against", "≤ 1.5", "2.00 (missed)", "–", "2.0 s", "1.0 s", "–"]
    seconds = {"one": [2.0, 4.0, 3.0], "other": [1e-3, 1e-3, 1e-3]}
    line = machine.line_at_least("what", "against", 2.0, 1.5, seconds, **runs)
    assert tables.cells(line, 2.0) == ["what", "against", "≥ 1.5", "2.00", "67%", "3.0 s", "1.0 ms", "2.0"]


def test_only_the_two_things_compared_are_noise() -> None:
    machine, tables = load("machine"), load("tables")
    seconds = {"one": [1.0, 1.1, 1.2], "other": [2.0, 2.0, 2.0], "preparation": [1.0, 9.0, 1.0]}
    line = machine.line_at_most("what", "against", 0.5, None, seconds, runs=("one", "other"))
    assert tables.noise(line) == pytest.approx(0.2 / 1.1)


@pytest.mark.parametrize(
    ("seconds", "load_average", "ratio"),
    [
        ([1.0, 1.0, 1.9], 4.0, "2.00"),
        ([1.0, 1.0, 2.1], 4.0, "≈ 2.00"),
        ([1.0, 1.0, 1.9], 4.1, "≈ 2.00"),
        ([1.0], None, "2.00"),
    ],
)
def test_a_ratio_that_was_measured_beside_other_work_is_marked(
    seconds: list[float], load_average: float | None, ratio: str
) -> None:
    machine, tables = load("machine"), load("tables")
    line = machine.line_at_most("what", "against", 2.0, 3.0, {"one": seconds, "other": seconds}, runs=("one", "other"))
    assert tables.cells(line, load_average)[3] == ratio


def test_other_work_does_not_change_a_peak_of_memory() -> None:
    line = {"what": "peak", "against": "few rows", "ratio": 1.5, "aim_at_most": 1.2, "peak_bytes": [2e8, 3e9]}
    cells = load("tables").cells(line, 20.0)
    assert cells == ["peak", "few rows", "≤ 1.2", "1.50 (missed)", "–", "3.0 GB", "200 MB", "20.0"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-5, "20.0 µs"), (0.25, "250 ms"), (59.94, "59.9 s"), (250.0, "250 s"), (1_500.0, "25.0 min"), (9e3, "2.5 h")],
)
def test_a_time_is_written_in_the_unit_in_which_it_is_easy_to_read(seconds: float, text: str) -> None:
    assert load("tables").duration(seconds) == text


def test_the_durations_of_tests_are_those_of_the_report(tmp_path: Path) -> None:
    cases = "".join(
        f'<testcase classname="tests.test_a" name="test_{number}" time="{number}.5"/>' for number in range(30)
    )
    path = tmp_path / "tests.xml"
    path.write_text(f'<testsuites><testsuite name="pytest" tests="30" time="400.25">{cases}</testsuite></testsuites>')
    result = load("durations").summarize(path)
    assert (result["tests"], result["seconds"]) == (30, 400.25)
    assert result["slowest"][0] == {"name": "tests.test_a.test_29", "seconds": 29.5}
    text = load("sections").tests_section({"machine": {**MACHINE, "load_average": [2.0]}, **result})
    assert "| all | 30 | ≤ 360 s | 400 s (missed) |" in text
    assert "| `tests.test_a.test_29` | 1 | ≤ 20.0 s | 29.5 s (missed) |" in text


MACHINE = {"processor": "Abacus", "processors": 2, "memory_bytes": 24e9, "python": "3.11", "versions": {"numpy": "2"}}
BY_HAND = {
    "scale": {
        "machine": {**MACHINE, "load_average": [2.5]},
        "lines": [
            {
                "kind": "kernel",
                "rows": 100_000_000,
                "resumed_rows": 688_128,
                "rows_per_second_of_a_process": 50_000.4,
                "last_third_against_first": 0.987,
                "largest_error": 2.5e-7,
                "peak_bytes": 416_000_000,
                "peak_bytes_of_thirds": [395e6, 405e6, 416e6],
                "extrapolated": [
                    {
                        "rows": 1e9,
                        "processes": 640,
                        "hours": 1e9 / 50_000 / 640 / 3600,
                        "price": 1e9 / 50_000 / 3600 * 0.04,
                    }
                ],
            }
        ],
    },
    "migration_steps": {
        "machine": MACHINE,
        "lines": [
            {
                "what": "migration of 1,000,000 rows with an index, lancedb, 128 → 128",
                "step_seconds": {"making the gallery": 70.0, "plan": 2.0, "run": 60.0, "verify": 8.0, "drop old": 10.0},
                "rows": 1_000_000,
                "load_average": 2.5,
            },
            {
                "what": "lazy search, lancedb, 1,000,000 rows, depth 50, 16 threads: p99",
                "against": "the bare search",
                "ratio": 1.2,
                "aim_at_most": 1.3,
                "times": {"bare": {"seconds": 0.1, "spread": 0.2}, "lazy": {"seconds": 0.12, "spread": 0.1}},
                "runs": ["lazy", "bare"],
                "load_average": 2.5,
            },
        ],
    },
    "gpu": {"machine": MACHINE, "skipped": "torch sees no CUDA device", "lines": []},
}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "scale",
            [
                "| kernel | 100,000,000 | 50,000 | 0.99 | 2.5e-07 | 395 MB → 405 MB → 416 MB | 688,128 |",
                "| kernel | 1,000,000,000 | 640 | 31.2 s | 5.6 | 0.04 | 0.22 |",  # 20,000 s of one core
                "2 × Abacus, 24.0 GB of memory",
            ],
        ),
        (
            "migration_steps",
            [
                "lancedb, 128 → 128 | 2.0 s | 60.0 s | 8.0 s | – | 10.0 s | 80.0 s | 12,500 | 2.5 |",
                "depth 50, 16 threads: p99 | the bare search | ≤ 1.3 | 1.20 | 20% | 120 ms | 100 ms | 2.5 |",
            ],
        ),
        ("gpu", ["Not measured: torch sees no CUDA device."]),
    ],
)
def test_the_page_shows_a_file_of_results_when_it_exists(name: str, parts: list[str], tmp_path: Path) -> None:
    page = load("page")
    without = page.make_page(tmp_path)
    (tmp_path / f"{name}.json").write_text(json.dumps(BY_HAND[name]))
    text = page.make_page(tmp_path)
    for part in parts:
        assert part in text
        assert part not in without
    assert f"* `benchmarks/{name}.py`;" in without
    assert f"* `benchmarks/{name}.py`;" not in text
