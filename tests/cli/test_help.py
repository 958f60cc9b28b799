"""Help: every command has examples that can be copied, and nothing is cut or named in two ways."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from embcompat.cli import app

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.compile(r"^ *```bash\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the object of every command that does something."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        children = getattr(command, "commands", {})
        waiting += [((*path, name), child) for name, child in children.items()]
        if not children:
            yield path, command


COMMANDS = dict(commands())


@pytest.fixture(params=COMMANDS, ids=" ".join)
def path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


def test_every_command_has_examples_that_its_own_parser_accepts(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    block = EXAMPLES.search(command.help)
    assert block, f"{' '.join(path)} shows no example"
    for line in block[1].replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        assert words[: len(path) + 1] == ["embcompat", *path]
        context = typer.Context(command, info_name="test")
        _, rest, _ = command.make_parser(context).parse_args(args=words[len(path) + 1 :])
        assert rest == []


def test_help_at_80_columns_cuts_nothing(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = CliRunner().invoke(app, [*path, "--help"]).stdout
    lines = [line.strip() for line in output.splitlines()]
    assert max(map(len, output.splitlines())) <= 80
    for line in EXAMPLES.search(COMMANDS[path].help)[1].splitlines():
        assert line.strip() in lines
    assert "<bool>" not in output
    assert not re.search(r"\w…", output)
    for parameter in COMMANDS[path].params:
        assert all(option in output for option in [*parameter.opts, *parameter.secondary_opts] if "-" in option)
    usage = " ".join(line.strip() for line in output.split("Usage:", 1)[1].split("\n")[:2])
    names = re.findall(r"[{\[](\w[^}\]]*)[}\]]", usage)
    assert all(name == name.upper() or "." in name for name in names)


def test_an_option_has_the_same_short_name_wherever_it_is() -> None:
    shorts: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            for long in (name for name in parameter.opts if name in ("--out", "--extractor", "--model")):
                shorts.setdefault(long, set()).add(next((name for name in parameter.opts if len(name) == 2), ""))
    assert shorts == {"--out": {"-o"}, "--extractor": {"-e"}, "--model": {"-m"}}


def test_the_reference_pages_name_every_command_and_option() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "make_cli_reference.py"))["make_pages"]()
    page = "\n## ".join(pages.values())
    for path, command in COMMANDS.items():
        section = page.split(f" `embcompat {' '.join(path)}`\n", 1)[1].split("\n## ")[0].split("\n### ")[0]
        for parameter in command.params:
            for option in parameter.opts:
                assert option in section or option == parameter.name
