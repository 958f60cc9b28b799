"""How help is shown: the same for every command."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import Any

from typer.core import TyperArgument, TyperGroup, TyperOption


class Group(TyperGroup):
    """The commands, with help that names arguments in capitals and each option in one column."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The group's own options, as help shows them."""
        return _label(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command and all below it, as help shows them; None if there is none of this name."""
        command = super().get_command(ctx, cmd_name)
        for part in _walk(command) if command is not None else ():
            _label([*part.params, part.get_help_option(ctx)])
            part.format_help = partial(_format_help, copy(part))
        return command


def _walk(command: Any) -> list[Any]:
    """A command and everything below it."""
    return [command, *(part for child in getattr(command, "commands", {}).values() for part in _walk(child))]


def _label(params: list[Any]) -> list[Any]:
    for param in params:
        if isinstance(param, TyperArgument) and param.metavar is None:
            param.metavar = str(param.name).upper()
        elif isinstance(param, TyperOption) and param.is_bool_flag:
            param.metavar = ""
            if not param.expose_value:  # --help and the like: no function gets their value, and typer would load
                param.default = False  # pydantic, a third of the time of a help page, to convert None
    return params


def _format_help(command: Any, ctx: Any, formatter: Any) -> None:
    """Show the help of a command with each option in one column, so that narrow terminals cut no name."""
    params = command.get_params(ctx)
    command.get_params = lambda _: [_in_one_column(param, ctx) for param in params]
    command.format_help(ctx, formatter)


def _in_one_column(param: Any, ctx: Any) -> Any:
    """Return an option whose long name holds all its names and its type: ``-o, --out <path>``."""
    if not isinstance(param, TyperOption):
        return param
    names = ", ".join(sorted(param.opts, key=len))
    other = f" / {', '.join(param.secondary_opts)}" if param.secondary_opts else ""
    kind = (param.display_type_rich(ctx=ctx) or "").replace("|", " | ")
    shown = copy(param)
    if param.secondary_opts and param.default is not None:  # of two names, that of the default
        default = param.opts if param.default else param.secondary_opts
        shown.show_default = max(default, key=len)
    shown.opts, shown.secondary_opts, shown.metavar = [f"{names}{other}{f' {kind}' if kind else ''}"], [], ""
    return shown
