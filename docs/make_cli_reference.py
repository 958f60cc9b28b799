"""Write docs/reference/cli.md from the commands' own help: ``python docs/make_cli_reference.py``."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from embcompat.cli import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = "# Command line\n\nEvery command and option, as `--help` shows them.\n"


def make_page() -> str:
    """Return the page."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="embcompat")
    text = get_docs_for_click(obj=command, ctx=context, name="embcompat")
    text = re.sub(r"```console\n\$ (.*)\n```", r"```text\n\1\n```", text)  # usage lines are no commands to copy
    return HEAD + "\n" + re.sub(r"^# `embcompat`\n\n.*\n\n", "", text, count=1).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(make_page())
