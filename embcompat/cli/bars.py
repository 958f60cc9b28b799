"""The bars of a terminal, apart from the rest because rich.progress takes long to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


def counted_bar(format_rate: Callable[[float], str], console: Console) -> Progress:
    """Return a bar of counted work, with its rate and the time left."""
    rate = _Rate(format_rate)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def spinner(console: Console) -> Progress:
    """Return a spinner for a step of unknown length, with the time so far."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


@final
class _Rate(ProgressColumn):
    """Units a second."""

    def __init__(self, format_rate: Callable[[float], str]) -> None:
        super().__init__()
        self._format_rate = format_rate

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else self._format_rate(speed), style="dim")
