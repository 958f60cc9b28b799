"""Printing: results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.panel import Panel
from rich.segment import Segment
from rich.text import Text

from embcompat.errors import EmbcompatError
from embcompat.redaction import redact, redact_values

_printed: list[bool] = []
"""Whether this process printed a result as JSON."""

_command: list[str] = []
"""The words of the command line, if one runs."""

_shows_next: ContextVar[bool] = ContextVar("shows_next", default=True)
"""Whether commands print the next command; False where one command runs others."""

_FLAGS: Final = {
    "delimiter": "--delimiter",
    "id_column": "--id-column",
    "ids": "--ids",
    "label_column": "--label-column",
    "labels": "--labels",
    "on_skip": "--skip-errors",
    "space": "--space, or --old-space and --new-space",
    "text_column": "--text-column",
    "vector_column": "--vector-column",
    "where": "--where",
}
"""Arguments as the library's errors name them (``ids=…``), and the option for each."""

_ARGUMENT = re.compile(rf"\b({'|'.join(_FLAGS)})=…")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys instead of showing, those that reverse the text's direction, and half characters."""


def show_controls(text: str) -> str:
    r"""Replace control characters by what Python writes for them: ids, labels and file names may hold any.

    Example:
        >>> print(show_controls("a\x1b[31mb"))
        a\x1b[31mb
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class _PlainConsole(Console):
    """A console to which no text is markup, and which shows control characters instead of sending them."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make plain text; coloured output is a `Text` with a style."""
        return super().render_str(show_controls(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything, whatever text it was made of."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else show_controls(text), style, control)


def output() -> Console:
    """Return the console for results: at most 80 columns wide when piped."""
    return _PlainConsole(width=None if sys.stdout.isatty() else 80, highlight=False)


def messages() -> Console:
    """Return the console for progress and errors."""
    return _PlainConsole(stderr=True, width=None if sys.stderr.isatty() else 80, highlight=False)


def remember_command(words: list[str]) -> None:
    """Remember the words of the command line, for `describe_run`."""
    _command[:] = words


def describe_run() -> dict[str, str]:
    """Describe when a result is measured, by which version and, on the command line, by which command."""
    from importlib.metadata import version

    command = {"command": redact(shlex.join(["embcompat", *_command]))} if _command else {}
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": date, **command, "embcompat": version("embcompat")}


def show_next(*words: str | Path, instead: Sequence[str | Path] = ()) -> None:
    """Print the command that comes next, to standard error. Words in capitals are for the user to fill in.

    Args:
        words: The command, without ``embcompat``.
        instead: An alternative to it.
    """
    if _shows_next.get():
        commands = (redact(shlex.join(["embcompat", *map(str, each)])) for each in (words, instead) if each)
        messages().print(f"Next: {', or '.join(commands)}", soft_wrap=True)


@contextmanager
def without_next() -> Iterator[None]:
    """Run commands inside another one, which alone prints the next command."""
    token = _shows_next.set(False)
    try:
        yield
    finally:
        _shows_next.reset(token)


def option_words(**options: str | Path | None) -> list[str]:
    """Return options as words of a command line; those without a value are left out.

    Example:
        >>> option_words(text_column="body", items=None)
        ['--text-column', 'body']
    """
    values = {f"--{name.replace('_', '-')}": str(value) for name, value in options.items() if value is not None}
    return [word for pair in values.items() for word in pair]


def print_json(result: Mapping[str, Any]) -> None:
    """Print a result for machines: one JSON object with its ``schema_version`` on standard output."""
    _printed.append(True)
    sys.stdout.write(_json_text(result))


def write_json(result: Mapping[str, Any], path: Path) -> None:
    """Write what `print_json` prints to a file, which appears only when it is complete."""
    from embcompat.files.writing.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(_json_text(result), encoding="utf-8")


def _json_text(result: Mapping[str, Any]) -> str:
    from embcompat.results import SCHEMA_VERSION

    public = {name: redact_values(value) for name, value in result.items()}
    versioned = {"schema_version": SCHEMA_VERSION, **public}
    return json.dumps(versioned, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def fail_json(error: Exception) -> None:
    """Print an error for machines: ``{"error": {"type", "message", "hint"}}`` on standard output.

    If a result was printed already, such as one that misses a gate, nothing is printed: standard output stays one
    object.
    """
    if _printed:
        return
    message = name_options(redact(str(error)))
    hint = re.search(r"Got .*?\. (\S.*)$", message, flags=re.DOTALL)
    description = {"type": type(error).__name__, "message": message, "hint": None if hint is None else hint[1]}
    print_json({"error": description})


def name_options(text: str) -> str:
    """Replace the arguments that an error of the library names by options of the command line.

    Example:
        >>> name_options("Say which column holds the ids (id_column=…).")
        'Say which column holds the ids (--id-column).'
    """
    return _ARGUMENT.sub(lambda match: _FLAGS[match[1]], text)


def print_version(requested: bool) -> None:
    """Print the version and exit."""
    if requested:
        from importlib.metadata import version

        sys.stdout.write(f"embcompat {version('embcompat')}\n")
        raise typer.Exit


def fail(error: Exception) -> None:
    """Show an error as one short panel."""
    kind = "File" if type(error) is OSError else type(error).__name__.removesuffix("Error")
    if not isinstance(error, (EmbcompatError, OSError)):  # OSError: a full disk, a folder that may not be written
        kind = f"Unexpected{kind}"
    title = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind).strip()
    messages().print(Panel(Text(name_options(redact(str(error)))), title=title, border_style="red", title_align="left"))
