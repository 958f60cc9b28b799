from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from embcompat.aligners import parameter_count
from embcompat.aligners.neural import create_aligner
from embcompat.cli import app, main
from embcompat.embeddings import Embeddings
from embcompat.selection import KINDS
from embcompat.testing import make_pairs


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code and both streams."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """The text of the panel on standard error, unwrapped."""
        return " ".join(self.stderr.replace("│", " ").split())


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line as the shell calls it, in this process: a new one would load everything each time."""

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["embcompat", *map(str, words)])
        monkeypatch.setattr("embcompat.cli.console._printed", [])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Outcome(code, *capsys.readouterr())

    return run


def shell(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    words = (sys.executable, "-m", "embcompat", *map(str, words))
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_exit_codes_and_panels(command: Command, tmp_path: Path) -> None:
    pairs = make_pairs(200, source_dim=4, target_dim=4).pairs
    for name, side in (("old", pairs.source), ("new", pairs.target)):
        side.save(tmp_path / f"{name}.parquet")
    files = tmp_path / "old.parquet", tmp_path / "new.parquet"
    assert command("fit", *files, "--out", tmp_path / "a", "--kind", "ridge", "--no-refit").returncode == 0
    bad = command("fit", tmp_path / "none.parquet", files[1], "--out", tmp_path / "b")
    assert bad.returncode == 2
    assert "does not exist" in bad.message
    assert "Traceback" not in bad.message
    words = ["fit", tmp_path / "none.parquet", files[1], "--out", "b"]
    assert "Traceback" in command("--debug", *words).stderr
    assert "Traceback" in command(*words, "--debug").stderr
    galleries = ["--old-gallery", files[0], "--new-gallery", files[1]]
    assert command("evaluate", tmp_path / "a", *galleries, "--min-retention", 2).returncode == 3
    weights = tmp_path / "a" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    damaged = command("evaluate", tmp_path / "a", *galleries)
    assert damaged.returncode == 1
    assert "damaged" in damaged.message
    assert command("fit", "--no-such-option").returncode == 2
    unwritable = command("fit", *files, "--out", tmp_path / "old.parquet" / "a", "--kind", "ridge")
    assert unwritable.returncode == 1
    assert "file exists" in unwritable.message
    assert "Traceback" not in unwritable.message


def test_output_for_machines_has_no_colour(command: Command) -> None:
    table = shell("aligners").stdout
    assert "\x1b" not in table
    assert max(map(len, table.splitlines())) <= 80
    result = command("aligners", "--json").stdout
    assert "\x1b" not in result
    listed = {row["kind"]: row["parameters"] for row in json.loads(result)["aligners"]}
    assert set(listed) == {*KINDS, "text_aware"}
    assert listed["dense"] == parameter_count(create_aligner("dense", source_dim=128, target_dim=128)) == 1_337_600
    assert listed["multi_branch"] == 1_888_640
    assert listed["ridge"] == 128 * 128 + 128


def test_version(command: Command) -> None:
    assert command("--version").stdout.startswith("embcompat 0.")


def test_help_shows_the_straight_line_first() -> None:
    page = CliRunner().invoke(app, ["--help"]).stdout
    line, rest = page.split("The whole upgrade in one command")
    for name in ("sample", "embed", "fit", "evaluate", "migrate"):
        assert f" {name} " in line
    for name in ("upgrade", "demo", "convert", "thresholds", "doctor", "backfill", "registry", "queries"):
        assert f" {name} " in rest


def test_python_dash_m_is_the_same_command(command: Command) -> None:
    assert shell("--version").stdout == command("--version").stdout
    refused = shell("evaluate", "none", "--old-gallery", "a.npy", "--new-gallery", "b.npy")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_a_shell_can_complete_commands() -> None:
    environment = os.environ | {"_EMBCOMPAT_COMPLETE": "complete_bash", "COMP_WORDS": "embcompat ev", "COMP_CWORD": "1"}
    completion = subprocess.run(
        [sys.executable, "-m", "embcompat"], capture_output=True, text=True, check=True, env=environment
    )
    assert completion.stdout.split() == ["evaluate"]


def test_about_names_versions_and_neither_data_nor_paths(command: Command) -> None:
    about = command("doctor", "--about").stdout
    assert f"python CPython {sys.version.split()[0]}" in about
    assert "numpy " in about
    assert "/" not in about


def test_vectors_of_another_space_are_refused_by_convert(command: Command, tmp_path: Path) -> None:
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
    assert "made-old@1" in refused.message
    assert command("convert", tmp_path / "a", tmp_path / "old.parquet", tmp_path / "x.parquet").returncode == 0
    assert Embeddings.load(tmp_path / "x.parquet").space == pairs.target.space


def test_errors_for_machines_are_json_with_the_same_exit_codes(command: Command, tmp_path: Path) -> None:
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


def test_a_result_that_misses_a_gate_stays_one_object(command: Command, tmp_path: Path) -> None:
    pairs = make_pairs(200, source_dim=4, target_dim=4).pairs
    files = tmp_path / "old.parquet", tmp_path / "new.parquet"
    for path, side in zip(files, (pairs.source, pairs.target), strict=True):
        side.save(path)
    assert command("fit", *files, "--out", tmp_path / "a", "--kind", "ridge", "--no-refit").returncode == 0
    galleries = ["--old-gallery", files[0], "--new-gallery", files[1]]
    missed = command("evaluate", tmp_path / "a", *galleries, "--min-retention", 2, "--json")
    assert missed.returncode == 3
    assert json.loads(missed.stdout)["schema_version"] == 1
    assert "must reach 2" in missed.message


@pytest.mark.parametrize("words", [["fit", "--help"], ["migrate", "plan", "--help"]])
def test_a_command_that_is_built_alone_is_that_of_the_whole(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        app(args=words, prog_name="embcompat")
    whole = capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["embcompat", *words])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr() == whole
