"""``embcompat extractors``: what is installed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from embcompat.cli.console import output, print_json, show_next


def extractors(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the extractors of the installed packages.

    Examples:
    ```bash
    embcompat extractors
    embcompat extractors --json
    ```
    """
    from rich.table import Table

    from embcompat.extractors import list_extractors

    infos = list_extractors()
    if as_json:
        print_json({"extractors": [asdict(info) for info in infos]})
        return
    if not infos:
        output().print("No extractor is installed. Try: pip install embcompat-text, -image, -face or -api")
        return
    table = Table("name", "package", "description", box=None, header_style="bold", pad_edge=False)
    for info in infos:
        table.add_row(info.name, f"{info.distribution} {info.version}", info.description)
    output().print(table)
    show_next("embed", "INPUT", "--extractor", "NAME", "--out", "NEW.parquet")
