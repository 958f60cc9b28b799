"""The suite of every store as a third party runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from embcompat.testing.stores.suite import harness_class

HARNESS = '''
from tests.stores.sqlite.test_gallery import SqliteHarness

class Forgetful(SqliteHarness):
    """A harness whose notes are never the same: nothing may pass that looks at them."""

    calls = 0

    def notes(self, url):
        self.calls += 1
        return {key: f"{note} {self.calls}" for key, note in super().notes(url).items()}
'''
ROOT = Path(__file__).parents[3]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "embcompat.testing.stores.plugin", "-p", "no:cacheprovider"]
    command += ["--pyargs", "embcompat.testing.stores.suite", "-k", "abort or repeated", *arguments]
    path = ":".join([str(folder), str(ROOT), *sys.path])
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": path, "PATH": ""}, check=False, capture_output=True, text=True
    )


def test_a_harness_named_on_the_command_line_is_checked(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HARNESS)
    result = run(tmp_path, "--store-harness", "mine:Forgetful")
    assert "1 failed, 1 passed" in result.stdout, result.stdout + result.stderr
    assert "an abort must change nothing beside the vectors" in result.stdout


@pytest.mark.parametrize("name", [None, "pathlib", "pathlib:Path", "pathlib:none"])
def test_a_harness_that_is_none_is_named(name: str | None) -> None:
    with pytest.raises(
        pytest.UsageError, match="must name a subclass of embcompat.testing.StoreHarness as MODULE:CLASS"
    ):
        harness_class(name)
    with pytest.raises(pytest.UsageError, match="'no_such_module' cannot be imported"):
        harness_class("no_such_module:Harness")
