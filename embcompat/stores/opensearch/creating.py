"""Making an index, which templates of the server may give more than was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embcompat.errors import StoreError
from embcompat.stores.opensearch.aliases import aliases_of
from embcompat.stores.opensearch.connection import RequestError, Server, quoted


def create_index(server: Server, name: str, body: Mapping[str, Any], *, where: str) -> None:
    """Make an index, unless another worker was faster.

    Raises:
        StoreError: If the server refuses it, or a template puts it behind an alias.
    """
    try:
        server.request("PUT", f"/{quoted(name)}", body=body)
    except RequestError as error:
        if error.kind != "resource_already_exists_exception":
            raise
        return
    if aliases := aliases_of(server, name):
        server.lookup("DELETE", f"/{quoted(name)}")
        raise StoreError(f"{where}: {template_sentence(name, aliases)} Nothing was converted.")


def template_aliases(server: Server, name: str) -> list[str]:
    """Return the aliases that index templates would give an index; none where the user may not look at templates."""
    try:
        answer = server.lookup("POST", f"/_index_template/_simulate_index/{quoted(name)}") or {}
    except RequestError as error:
        if error.status != 403:
            raise
        return []
    return sorted(answer.get("template", {}).get("aliases", {}))


def template_sentence(name: str, aliases: Mapping[str, Any] | list[str]) -> str:
    """Return what to do about a template that puts a new index behind an alias."""
    return (
        f"An index template puts each new index of the name {name!r} behind the alias {', '.join(aliases)}, where "
        "readers would see it half filled. Change the index patterns of the template, or its aliases, before the run."
    )
