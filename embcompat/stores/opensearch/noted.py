"""An index of ids: which documents another index has had, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from embcompat.stores.opensearch.bulk import bulk
from embcompat.stores.opensearch.connection import Server, quoted
from embcompat.stores.opensearch.creating import create_index
from embcompat.stores.opensearch.documents import address_of, key_of
from embcompat.stores.opensearch.pages import documents

_BODY: Final = {"mappings": {"dynamic": False}, "settings": {"index.number_of_shards": "1"}}


def note_ids(server: Server, index: str, ids: Sequence[str], *, where: str) -> None:
    """Write ids to an index, which is made if it is missing."""
    if server.lookup("GET", f"/{quoted(index)}/_alias") is None:
        create_index(server, index, _BODY, where=where)
    bulk(server, index, [({"index": address_of(key)}, {}) for key in ids], where=where)


def noted_ids(server: Server, index: str, ids: Sequence[str], *, where: str) -> set[str]:
    """Return those of the given ids that were noted."""
    if not ids or server.lookup("GET", f"/{quoted(index)}/_alias") is None:
        return set()
    return {key_of(hit) for hit in documents(server, index, ids, where=where)}
