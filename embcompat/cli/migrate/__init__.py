"""``embcompat migrate``: a vector store into another space while it stays in service."""

from __future__ import annotations

import typer

from embcompat.cli.migrate.after import abort, drop_old, history, rollback, sweep
from embcompat.cli.migrate.forward import cutover, plan, run, status, verify

app = typer.Typer(
    name="migrate",
    help="Convert a vector store beside itself, check it, and switch over in one step.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

for _command in (plan, run, status, verify, cutover, rollback, abort, drop_old, sweep, history):
    app.command()(_command)
