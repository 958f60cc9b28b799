"""``embcompat report``: results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompat.cli.console import messages


def report(
    results: Annotated[list[Path], typer.Argument(help="Result files: what evaluate, demo or backfill wrote as JSON.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Compatibility report",
) -> None:
    r"""Show results as one self-contained HTML page, pictures first.

    The page opens offline, prints, and follows the reader's light or dark mode. The same results give the same bytes.

    Examples:
    ```bash
    embcompat report demo-out/demo.json
    embcompat report search.json faces.json --out report.html \
        --title "Upgrade to version 2"
    ```
    """
    from embcompat.report import read_result, write_report

    page = write_report([read_result(path) for path in results], out, title=title)
    messages().print(f"The pictures are in {page}: open it in a browser.", soft_wrap=True)
