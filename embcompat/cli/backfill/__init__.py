"""``embcompat backfill``: re-embed the few items that matter most, the others stay converted."""

from __future__ import annotations

import typer

from embcompat.cli.backfill.curve import curve
from embcompat.cli.backfill.plan import plan
from embcompat.cli.backfill.run import run

app = typer.Typer(
    name="backfill",
    help="Re-embed the few items that matter most; the others stay converted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def _group() -> None:
    pass


for _command in (curve, plan, run):
    app.command()(_command)
