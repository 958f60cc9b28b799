"""``embcompat demo``: the main job, once, on real models and real text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompat.cli.console import messages, output, print_json, show_next
from embcompat.errors import InputError

MIN_TEXTS = 100


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for galleries, artifact, demo.json and report.html.")
    ] = Path("demo-out"),
    limit: Annotated[
        int, typer.Option(help="Number of texts; with fewer, the demo is faster and less certain.")
    ] = 1_200,
    seed: Annotated[int, typer.Option(help="Seed of the pairs, the split and the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print demo.json instead of the sentences.")] = False,
) -> None:
    """Upgrade a real text search from one real model to another, end to end, in about four minutes.

    The texts are docstrings of the standard library, numpy and scipy: the query is the summary line, the document is
    the rest. The models come with packages, so nothing is downloaded. The demo shows silent mixing, plain conversion,
    conversion that reads the words, lazy backfill, a second upgrade that needs no aligner, a live LanceDB table that is
    converted, cut over and rolled back, and the verdict.

    Examples:
    ```bash
    embcompat demo
    embcompat demo --limit 600 --out quick
    ```
    """
    if limit < MIN_TEXTS:
        raise InputError(f"--limit must be at least {MIN_TEXTS}: fewer texts leave too few queries. Got {limit}.")
    from rich.padding import Padding
    from rich.text import Text

    from embcompat.cli.demo.run import run_demo

    out.mkdir(parents=True, exist_ok=True)
    result = run_demo(out, limit=limit, seed=seed)
    if as_json:
        print_json(result)
        return
    console = output()
    for number, point in enumerate(result["story"], start=1):
        console.print(f"{number}. {point['title']}", style="bold")
        console.print(Padding(Text(point["text"]), (0, 0, 1, 3)))
    messages().print(f"The pictures are in {out / 'report.html'}, the figures in {out / 'demo.json'}.")
    gallery = ("--gallery", "STORE_URL", "--text-column", "TEXTS")
    show_next("upgrade", "init", *gallery, "--extractor", "NAME")
