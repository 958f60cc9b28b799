"""Write the pages of docs/reference/cli from the commands' own help: ``python docs/make_cli_reference.py``."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from embcompat.cli import app

FOLDER = Path(__file__).parent / "reference"
GROUPS = ("migrate", "upgrade", "backfill", "registry")
HEAD = "# Command line\n\nEvery command and option, as `--help` shows them.\n"


def make_pages() -> dict[str, str]:
    """Return the pages by their paths below docs/reference: large groups of commands have a page each."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="embcompat")
    text = get_docs_for_click(obj=command, ctx=context, name="embcompat")
    text = re.sub(r"```console\n\$ (.*)\n```", r"```text\n\1\n```", text)  # usage lines are no commands to copy
    text = re.sub(r"^# `embcompat`\n\n.*\n\n", "", text, count=1)
    sections = re.split(r"^(?=## `embcompat )", text, flags=re.MULTILINE)
    pages = {}
    for group in GROUPS:
        (section,) = (each for each in sections if each.startswith(f"## `embcompat {group}`"))
        sections.remove(section)
        pages[f"cli/{group}.md"] = re.sub(r"^#(?=#+ )", "", section, flags=re.MULTILINE).rstrip() + "\n"
    links = "\n".join(f"* [`embcompat {group}`](cli/{group}.md)" for group in GROUPS)
    start, *others = sections
    main = f"{HEAD}\nThe groups with many commands have pages of their own:\n\n{links}\n\n{start}{''.join(others)}"
    return {"cli.md": main.rstrip() + "\n", **pages}


if __name__ == "__main__":
    (FOLDER / "cli").mkdir(exist_ok=True)
    for name, page in make_pages().items():
        (FOLDER / name).write_text(page)
