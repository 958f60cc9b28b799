"""Moving the aliases of an index to another one, and the documents without a vector with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from embcompat.stores.opensearch.aliases import move_aliases
from embcompat.stores.opensearch.bulk import bulk
from embcompat.stores.opensearch.connection import Server
from embcompat.stores.opensearch.documents import address_of, key_of, without_provenance
from embcompat.stores.opensearch.pages import documents, pages

_PAGE_ROWS: Final = 500


def switch(
    server: Server, leaving: str, entering: str, *, vectors: Mapping[str, Any], shards: Mapping[str, int], where: str
) -> None:
    """Move all aliases from an index to another one in one step.

    Documents without a vector are copied before. Those that come in meanwhile are copied afterwards, unless the
    application has written them to the other index, too.

    Args:
        server: The server.
        leaving: The index that goes out of service.
        entering: The one that comes into service.
        vectors: Query of the documents with a vector.
        shards: How many primary shards each of the two has.
        where: Where the gallery is, for the errors.
    """

    def without_vector(index: str) -> Iterator[list[dict[str, Any]]]:
        query = {"bool": {"must_not": [vectors]}}
        for hits in pages(server, index, query, shards=shards[index], size=_PAGE_ROWS, where=where):
            yield documents(server, index, [key_of(hit) for hit in hits], where=where)

    def copy(action: str) -> None:
        for hits in without_vector(leaving):
            copies = [({action: address_of(key_of(hit))}, without_provenance(hit["_source"])) for hit in hits]
            bulk(server, entering, copies, where=where)

    copy("index")
    for hits in without_vector(entering):
        keys = [key_of(hit) for hit in hits]
        present = {key_of(hit) for hit in documents(server, leaving, keys, where=where)}
        bulk(server, entering, [({"delete": address_of(key)}, None) for key in keys if key not in present], where=where)
    move_aliases(server, leaving, entering)
    copy("create")
