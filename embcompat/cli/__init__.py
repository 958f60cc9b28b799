"""The command line: one module for each command group. Heavy modules are imported inside the commands."""

from __future__ import annotations

import os
import sys
import traceback
from copy import copy
from typing import Annotated

import typer

from embcompat.cli.backfill import app as backfill
from embcompat.cli.collect import embed, queries, sample
from embcompat.cli.console import fail, fail_json, print_version, remember_command
from embcompat.cli.convert import convert
from embcompat.cli.demo import demo
from embcompat.cli.doctor import doctor
from embcompat.cli.evaluate import evaluate
from embcompat.cli.fit import fit
from embcompat.cli.help import Group
from embcompat.cli.lists import aligners, extractors
from embcompat.cli.migrate import app as migrate
from embcompat.cli.registry import registry
from embcompat.cli.report import report
from embcompat.cli.serve import serve
from embcompat.cli.shards import app as shards
from embcompat.cli.thresholds import thresholds
from embcompat.cli.unweight import unweight
from embcompat.cli.upgrade import app as upgrade
from embcompat.errors import GateError, InputError, MissingExtraError
from embcompat.redaction import redact

app = typer.Typer(
    name="embcompat",
    help="Replace an embedding model without throwing away the vectors you have stored.",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

EXIT_FAILED, EXIT_INPUT, EXIT_GATE = 1, 2, 3

_UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
"""The error of typer for wrong usage; typer does not export the class."""


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    pass


LINE, WHOLE, BESIDES = "The upgrade, step by step", "The whole upgrade in one command", "Other commands"

for _step in (sample, embed, fit, evaluate):
    app.command(rich_help_panel=LINE)(_step)
app.add_typer(migrate, rich_help_panel=LINE)
app.command(rich_help_panel=WHOLE)(demo)
app.add_typer(upgrade, rich_help_panel=WHOLE)
for _command in (convert, unweight, serve, thresholds, doctor, report, aligners, extractors):
    app.command(rich_help_panel=BESIDES)(_command)
for _group in (shards, backfill, registry, queries):
    app.add_typer(_group, rich_help_panel=BESIDES)


def main() -> None:
    """Run the command line: exit code 0 ok, 1 the run failed, 2 bad input, 3 a gate is not met."""
    debug = "--debug" in sys.argv  # before the command or after it
    words = [word for word in sys.argv[1:] if word != "--debug"]
    remember_command(words)
    try:
        try:
            if "--json" in words:
                sys.exit(_run_for_machines(words))
            _app_of(words)(args=words, prog_name="embcompat")
        finally:
            sys.stdout.flush()  # or a full disk would be found out after the exit code
    except Exception as error:  # of drivers, servers and decoders, too: their classes cannot be listed
        if debug:
            sys.stderr.write(redact(traceback.format_exc()))
        _leave_output()
        if "--json" in words:
            fail_json(error)
        fail(error)
        if isinstance(error, (InputError, MissingExtraError)):
            sys.exit(EXIT_INPUT)
        sys.exit(EXIT_GATE if isinstance(error, GateError) else EXIT_FAILED)


def _app_of(words: list[str]) -> typer.Typer:
    """Return the command line with only the first word's command: typer builds the options of all that it has."""
    name = next(iter(words), None)
    part = copy(app)
    part.registered_commands = [
        each for each in app.registered_commands if getattr(each.callback, "__name__", 0) == name
    ]
    part.registered_groups = [
        each for each in app.registered_groups if each.typer_instance and each.typer_instance.info.name == name
    ]
    return part if part.registered_commands or part.registered_groups else app


def _run_for_machines(words: list[str]) -> int:
    """Run a command with ``--json``: typer's errors are JSON, too. Return the exit code."""
    try:
        return int(_app_of(words)(args=words, prog_name="embcompat", standalone_mode=False) or 0)
    except _UsageError as error:
        fail_json(InputError(error.format_message()))
        error.show()
        return EXIT_INPUT


def _leave_output() -> None:
    """Discard output that cannot be written: the interpreter would try again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
