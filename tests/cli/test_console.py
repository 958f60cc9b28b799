from __future__ import annotations

import io
from typing import Any

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from embcompat.cli import console as console_module
from embcompat.cli.console import fail, fail_json, show_controls
from embcompat.errors import InputError

HOSTILE = "[/b] [link=http://a]x[/link] :smile: \x1b[2J\x1b]0;title\x07 \x9b31m \u202eabc \r\ud800"
SHOWN = r"[/b] [link=http://a]x[/link] :smile: \x1b[2J\x1b]0;title\x07 \x9b31m \u202eabc \r\ud800"


def table() -> Table:
    grid = Table(HOSTILE)
    grid.add_row(HOSTILE)
    return grid


@pytest.mark.parametrize(
    "renderable",
    [HOSTILE, Text(HOSTILE), Panel(HOSTILE), Panel(Text(HOSTILE)), Tree(HOSTILE), table()],
    ids=["str", "Text", "Panel", "Panel of Text", "Tree", "Table"],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_text_is_never_markup_and_controls_are_shown(renderable: Any, terminal: bool) -> None:
    stream = io.StringIO()
    console = console_module._PlainConsole(file=stream, width=200, force_terminal=terminal, color_system=None)
    console.print(renderable)
    printed = stream.getvalue()
    stripped = SHOWN.replace(r"\x07", "").replace(r"\r", "")  # rich leaves these two out of a Text
    assert SHOWN in printed or stripped in printed
    assert not set("\x9b\u202e\ud800\x07\r") & set(printed)
    assert "\x1b[2J" not in printed


def test_lines_and_tabs_stay() -> None:
    assert show_controls("a\n\tb — ≥ é 漢") == "a\n\tb — ≥ é 漢"


def test_both_consoles_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    console_module.output().print("[red]x[/red]")
    console_module.messages().print("[red]y[/red]")
    console_module.fail(ValueError("[/b]\x1b"))
    streams = capsys.readouterr()
    assert "[red]x[/red]" in streams.out
    assert "[red]y[/red]" in streams.err
    assert r"[/b]\x1b" in streams.err


def test_an_error_of_the_library_names_options_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "_printed", [])
    fail(InputError("x has no column 'c' (vector_column=…). Or pass split=…."))
    output = capsys.readouterr().err
    assert "(--vector-column)" in output
    assert "split=…" in output
    fail_json(InputError("Got nothing. Say which one it is (space=…)."))
    assert "(--space, or --old-space and --new-space)" in capsys.readouterr().out
    fail(OSError(30, "Read-only file system", "docs.faiss"))
    assert "─ file ─" in capsys.readouterr().err
