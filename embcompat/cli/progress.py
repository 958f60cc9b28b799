"""Progress of long work: bars on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console

from embcompat.cli.console import messages
from embcompat.durations import format_duration
from embcompat.errors import EmbcompatError

PLAIN_LINE_SECONDS = 5.0
"""Seconds between the plain lines of work that is counted."""

SIGN_OF_LIFE_SECONDS = 30.0
"""Seconds between the plain lines of a step of unknown length."""

STATUS_SECONDS = 2.0
"""Seconds after which a terminal shows how far such a step is."""


@contextmanager
def track(description: str, total: int | None, *, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """Show the progress of long work: done, rate and time left.

    On a terminal this is a bar. Elsewhere it is a plain line every few seconds, because a bar would print nothing
    until its end.

    Args:
        description: What is being done ("Embedding").
        total: Number of units to do; None if unknown.
        unit: Name of the units.

    Yields:
        A function to call with the number of units newly done.
    """
    console = messages()
    if not console.is_terminal:
        yield _plain_lines(description, total, unit, console)
        return
    from embcompat.cli.bars import counted_bar

    with counted_bar(lambda rate: format_rate(rate, unit), console) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


def format_rate(rate: float, unit: str) -> str:
    """Write units per second, or the time of one unit if that is longer than a second.

    Example:
        >>> format_rate(1234.5, "rows"), format_rate(0.4, "fits")
        ('1,234 rows/s', '2.5 s for each of the fits')
    """
    return f"{rate:,.0f} {unit}/s" if rate >= 1 else f"{format_duration(1 / rate)} for each of the {unit}"


def _plain_lines(description: str, total: int | None, unit: str, console: Console) -> Callable[[int], None]:
    start = last_line = time.monotonic()
    total_done = 0

    def advance(count: int) -> None:
        nonlocal total_done, last_line
        total_done += count
        now = time.monotonic()
        if now - last_line < PLAIN_LINE_SECONDS:
            return
        last_line = now
        rate = total_done / (now - start)
        of = "" if total is None else f" of {total:,}"
        left = "" if total is None else f", {format_duration(max(total - total_done, 0) / max(rate, 1e-9))} left"
        console.print(f"{description}: {total_done:,}{of} {unit}, {format_rate(rate, unit)}{left}")

    return advance


@contextmanager
def show_step(description: str, status: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Show that a step of unknown length is running, and for how long.

    On a terminal this is a spinner. Elsewhere it is a plain line at the beginning and one every half minute.

    Args:
        description: What is being done ("Building the index").
        status: Returns how far the step is, or None; called in a thread of its own.
    """
    console, start = messages(), time.monotonic()
    if not console.is_terminal:
        console.print(f"{description} …")

        def print_line() -> None:
            state = _known(status)
            elapsed = format_duration(time.monotonic() - start)
            console.print(f"{description}: {elapsed} so far{f', {state}' if state else ''}")

        with _repeating(print_line, SIGN_OF_LIFE_SECONDS):
            yield
        return
    from embcompat.cli.bars import spinner

    with spinner(console) as progress:
        task = progress.add_task(description, total=None)

        def show_state() -> None:
            if state := _known(status):
                progress.update(task, description=f"{description}: {state}")

        with _repeating(show_state, STATUS_SECONDS):
            yield


def _known(status: Callable[[], str | None]) -> str | None:
    """Return a status; None if the store cannot be read now, which must not end the step."""
    try:
        return status()
    except EmbcompatError:
        return None


@contextmanager
def _repeating(action: Callable[[], object], seconds: float) -> Iterator[None]:
    """Repeat an action every ``seconds``, in a thread."""
    end = Event()

    def repeat() -> None:
        while not end.wait(seconds):
            action()

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
