from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from embcompat.aligners import parameter_count
from embcompat.aligners.neural import create_aligner
from embcompat.cli import app
from embcompat.embeddings import Embeddings
from embcompat.selection import KINDS
from embcompat.testing import make_pairs


def command(*words: object) -> subprocess.CompletedProcess[str]:
    code = "from embcompat.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a panel says, unwrapped."""
    return " ".join(done.stderr.replace("│", " ").split())


def test_exit_codes_and_panels(tmp_path: Path) -> None:
    pairs = make_pairs(200, source_dim=4, target_dim=4).pairs
    for name, side in (("old", pairs.source), ("new", pairs.target)):
        side.save(tmp_path / f"{name}.parquet")
    files = tmp_path / "old.parquet", tmp_path / "new.parquet"
    assert command("fit", *files, "--out", tmp_path / "a", "--kind", "ridge", "--no-refit").returncode == 0
    bad = command("fit", tmp_path / "none.parquet", files[1], "--out", tmp_path / "b")
    assert bad.returncode == 2
    assert "does not exist" in said(bad)
    assert "Traceback" not in said(bad)
    words = ["fit", tmp_path / "none.parquet", files[1], "--out", "b"]
    assert "Traceback" in command("--debug", *words).stderr
    assert "Traceback" in command(*words, "--debug").stderr
    galleries = ["--old-gallery", files[0], "--new-gallery", files[1]]
    assert command("evaluate", tmp_path / "a", *galleries, "--min-retention", 2).returncode == 3
    weights = tmp_path / "a" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    damaged = command("evaluate", tmp_path / "a", *galleries)
    assert damaged.returncode == 1
    assert "damaged" in said(damaged)
    assert command("fit", "--no-such-option").returncode == 2
    unwritable = command("fit", *files, "--out", tmp_path / "old.parquet" / "a", "--kind", "ridge")
    assert unwritable.returncode == 1
    assert "file exists" in said(unwritable)
    assert "Traceback" not in said(unwritable)


def test_output_for_machines_has_no_colour(tmp_path: Path) -> None:
    done = command("aligners", "--json")
    assert "\x1b" not in done.stdout
    assert "\x1b" not in command("aligners").stdout
    assert max(map(len, command("aligners").stdout.splitlines())) <= 80
    listed = {row["kind"]: row["parameters"] for row in json.loads(done.stdout)["aligners"]}
    assert set(listed) == {*KINDS, "text_aware"}
    assert listed["dense"] == parameter_count(create_aligner("dense", source_dim=128, target_dim=128)) == 1_337_600
    assert listed["multi_branch"] == 1_888_640
    assert listed["ridge"] == 128 * 128 + 128


def test_version() -> None:
    assert command("--version").stdout.startswith("embcompat 0.")


def test_help_shows_the_straight_line_first() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    line, rest = shown.split("The whole line in one command")
    for name in ("sample", "embed", "fit", "evaluate", "migrate"):
        assert f" {name} " in line
    for name in ("upgrade", "demo", "convert", "thresholds", "doctor", "backfill", "registry", "queries"):
        assert f" {name} " in rest


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "embcompat", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == command("--version").stdout


def test_a_shell_can_complete_commands() -> None:
    environment = os.environ | {"_EMBCOMPAT_COMPLETE": "complete_bash", "COMP_WORDS": "embcompat ev", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "embcompat"], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["evaluate"]


def test_about_names_versions_and_neither_data_nor_paths() -> None:
    about = command("doctor", "--about").stdout
    assert f"python CPython {sys.version.split()[0]}" in about
    assert "numpy " in about
    assert "/" not in about


def test_vectors_of_another_space_are_refused_by_convert(tmp_path: Path) -> None:
    pairs = make_pairs(200, source_dim=4, target_dim=4).pairs
    pairs.source.save(tmp_path / "old.parquet")
    pairs.target.save(tmp_path / "new.parquet")
    command(
        "fit",
        tmp_path / "old.parquet",
        tmp_path / "new.parquet",
        "--out",
        tmp_path / "a",
        "--kind",
        "ridge",
        "--no-refit",
    )
    refused = command("convert", tmp_path / "a", tmp_path / "new.parquet", tmp_path / "x.parquet")
    assert refused.returncode == 2
    assert "made-old@1" in said(refused)
    assert command("convert", tmp_path / "a", tmp_path / "old.parquet", tmp_path / "x.parquet").returncode == 0
    assert Embeddings.load(tmp_path / "x.parquet").space == pairs.target.space


def test_errors_for_machines_are_json_with_the_same_exit_codes(tmp_path: Path) -> None:
    galleries = ["--old-gallery", tmp_path / "a.parquet", "--new-gallery", tmp_path / "b.parquet"]
    for words, message in (
        (["evaluate", tmp_path / "none", *galleries, "--json"], "is not an artifact"),
        (["evaluate", "--json"], "Missing argument"),
        (["evaluate", "a", "--frr", "x", "--json"], "--frr"),
    ):
        refused = command(*words)
        assert refused.returncode == 2
        result = json.loads(refused.stdout)
        assert set(result) == {"schema_version", "error"}
        assert set(result["error"]) == {"type", "message", "hint"}
        assert message in result["error"]["message"]
        assert message.split()[-1] in refused.stderr  # people read standard error


def test_a_result_that_misses_a_gate_stays_one_object(tmp_path: Path) -> None:
    pairs = make_pairs(200, source_dim=4, target_dim=4).pairs
    files = tmp_path / "old.parquet", tmp_path / "new.parquet"
    for path, side in zip(files, (pairs.source, pairs.target), strict=True):
        side.save(path)
    assert command("fit", *files, "--out", tmp_path / "a", "--kind", "ridge", "--no-refit").returncode == 0
    galleries = ["--old-gallery", files[0], "--new-gallery", files[1]]
    missed = command("evaluate", tmp_path / "a", *galleries, "--min-retention", 2, "--json")
    assert missed.returncode == 3
    assert json.loads(missed.stdout)["schema_version"] == 1
    assert "must reach 2" in said(missed)
