"""Running an upgrade, step by step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from embcompat.errors import InputError
from embcompat.upgrade.line.description import read_upgrade
from embcompat.upgrade.line.state import StepState, UpgradeLine

Runner = Callable[[Sequence[str]], None]
"""Runs a command of embcompat, and raises an error if it fails."""


def upgrade_line(file: str | Path) -> UpgradeLine:
    """Open an upgrade.

    Args:
        file: The file that describes it, as `embcompat upgrade init` writes it.

    Raises:
        InputError: If it is missing, or a line cannot be used.
    """
    path = Path(file)
    return UpgradeLine(path, read_upgrade(path))


def run_command(words: Sequence[str]) -> None:
    """Run a command of embcompat in a process of its own.

    Raises:
        InputError: If it fails; its own message says why.
    """
    code = subprocess.run([sys.executable, "-m", "embcompat", *words], check=False).returncode
    if code:
        raise InputError(f"embcompat {words[0]} must succeed. It exited with {code}; see its own message.")


def run_upgrade(
    file: str | Path, *, run: Runner = run_command, on_step: Callable[[StepState], None] | None = None
) -> UpgradeLine:
    """Sample a gallery in use, embed the sample with the new model, fit, evaluate and report.

    A step that is done is not repeated; one whose result is out of date is repeated, and so are all after it. The
    process may be killed anywhere.

    Args:
        file: The file that describes the upgrade; see `Upgrade`. Results are in the folder of its name.
        run: Runs the command of a step; a process of its own by default.
        on_step: Called with each step before it is run or passed over.

    Returns:
        The upgrade, with its `verdict`.

    Raises:
        InputError: If the file cannot be used, or a step fails.
    """
    line = upgrade_line(file)
    for place in range(len(line.states())):
        each = line.states()[place]  # the steps before it may have made it stale
        if on_step is not None:
            on_step(each)
        if each.state != "done":
            run(line.begin(each.step))
            line.finish(each.step)
    return line


def apply_upgrade(line: UpgradeLine, *, run: Runner = run_command) -> None:
    """Convert the gallery beside the vectors in service, and verify it; nothing is switched.

    Raises:
        InputError: If a measuring step is not done, or out of date.
        MigrationError: If the verdict begins with no conversion.
    """
    line.require_converting()
    if (unweighting := line.unweighting()) is not None:
        run(unweighting)
    for words in line.migration("run", "verify"):
        run(words)
    line.note_applied()
