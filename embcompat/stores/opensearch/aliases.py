"""Aliases: what a name stands for, and moving all aliases of an index to another one."""

from __future__ import annotations

from typing import Any

from embcompat.errors import InputError
from embcompat.stores.opensearch.connection import RequestError, Server, quoted


def index_of(server: Server, name: str, *, where: str) -> str:
    """Return the index that an alias stands for; the name itself where it is that of an index, or of nothing.

    Raises:
        InputError: If it stands for several indexes.
    """
    answer = server.lookup("GET", f"/_alias/{quoted(name)}")
    if answer is None:
        return name
    indexes = sorted(entry for entry, known in answer.items() if name in known.get("aliases", {}))
    if len(indexes) > 1:
        raise InputError(
            f"{where}: alias {name!r} stands for {len(indexes)} indexes: {', '.join(indexes)}. Migrate each of them "
            "behind an alias of its own."
        )
    return indexes[0] if indexes else name


def aliases_of(server: Server, index: str) -> dict[str, dict[str, Any]]:
    """Return the aliases of an index, with their filters and routings."""
    answer = server.request("GET", f"/{quoted(index)}/_alias")
    return {name: dict(settings) for name, settings in answer[index]["aliases"].items()}


def move_aliases(server: Server, leaving: str, entering: str) -> None:
    """Take all aliases from an index, and give them to another one, in one step."""
    aliases = aliases_of(server, leaving)
    actions: list[dict[str, Any]] = []
    for alias, settings in aliases.items():
        actions.append({"remove": {"index": leaving, "alias": alias}})
        actions.append({"add": {"index": entering, "alias": alias, **settings}})
    try:
        server.request("POST", "/_aliases", body={"actions": actions})
    except RequestError:
        if not aliases.keys() <= aliases_of(server, entering).keys():  # the answer to an earlier try was lost
            raise
