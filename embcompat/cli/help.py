"""How help is shown: the same for every command."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperGroup, TyperOption


class Group(TyperGroup):
    """The commands, with help that names arguments in capitals and no type for flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The group's own options, as help shows them."""
        return _label(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command and all below it, as help shows them; None if there is none of this name."""
        command = super().get_command(ctx, cmd_name)
        for part in _walk(command) if command is not None else ():
            _label([*part.params, part.get_help_option(ctx)])
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
    return params
