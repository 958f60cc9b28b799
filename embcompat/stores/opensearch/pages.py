"""Reading an index: pages of a point in time, and documents by their ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from embcompat.errors import InputError, StoreError
from embcompat.stores.opensearch.connection import RequestError, Server, quoted
from embcompat.stores.opensearch.documents import address_of

_KEEP_ALIVE: Final = "30m"
"""How long a point in time waits for the next page [ours]: a page of vectors may take minutes to be embedded."""


def pages(
    server: Server, index: str, query: Mapping[str, Any], *, shards: int, size: int, where: str
) -> Iterator[list[dict[str, Any]]]:
    """Read ids and routings of the documents that meet a query, as the index is when the reading begins.

    Elasticsearch has an order over all shards. OpenSearch gets it late, in 3.3, so each of its shards is read by
    itself there, in the order of its sequence numbers.

    Args:
        server: The server.
        index: The index, not an alias.
        query: The query.
        shards: How many primary shards it has.
        size: Most documents of a page.
        where: Where the gallery is, for the errors.

    Raises:
        StoreError: If the server refuses the query, if a shard does not answer, or if a page was asked for too late.
    """
    server.request("POST", f"/{quoted(index)}/_refresh")
    whole = server.product == "elasticsearch"
    for shard in [None] if whole else range(shards):
        with _point_in_time(server, index, shard) as point:
            body: dict[str, Any] = {
                "size": size,
                "query": query,
                "sort": [{"_shard_doc" if whole else "_seq_no": "asc"}],
                "_source": False,
                "track_total_hits": False,
            }
            while True:
                body["pit"] = {"id": point["id"], "keep_alive": _KEEP_ALIVE}
                try:
                    answer = server.request("POST", "/_search", body=body)
                except RequestError as error:
                    if error.status != 404:
                        raise
                    raise StoreError(
                        f"{where}: a page of the index was asked for more than {_KEEP_ALIVE} after the one before, or "
                        "a node was restarted. Repeat the command; it goes on where it stopped."
                    ) from error
                _require_whole(answer, where)
                point["id"] = answer.get("pit_id", point["id"])
                hits = answer["hits"]["hits"]
                if hits:
                    yield hits
                if len(hits) < size:
                    break
                body["search_after"] = hits[-1]["sort"]


def count(server: Server, index: str, query: Mapping[str, Any], *, where: str) -> int:
    """Count the documents that meet a query."""
    server.request("POST", f"/{quoted(index)}/_refresh")
    answer = server.request("POST", f"/{quoted(index)}/_count", body={"query": query})
    _require_whole(answer, where)
    return int(answer["count"])


def query_of(text: str, where: str) -> Any:
    """Read a query that a user wrote as JSON.

    Raises:
        InputError: If it is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        example = '{"term": {"lang": "en"}}'
        raise InputError(f"{where} takes a query as JSON, for instance {example}. Got {text!r}.") from error


def documents(
    server: Server, index: str, keys: Sequence[str], *, where: str, only: str | None = None
) -> list[dict[str, Any]]:
    """Read documents by id, as they were last written.

    Args:
        server: The server.
        index: The index, not an alias.
        keys: Ids, with their routing where they have one.
        where: Where the gallery is, for the errors.
        only: The only field to read; all of them when None.

    Returns:
        Those that are there.
    """
    if not keys:
        return []
    parameters = {} if only is None else {"_source_includes": only}
    if server.hides_vectors and only is None:
        parameters["_source_exclude_vectors"] = "false"
    body = {"docs": [address_of(key) for key in keys]}
    answer = server.request("POST", f"/{quoted(index)}/_mget", parameters, body=body)
    for document in answer["docs"]:
        if "error" in document:
            raise StoreError(f"{where}: document {document['_id']!r} cannot be read: {document['error'].get('reason')}")
    return [document for document in answer["docs"] if document.get("found")]


@contextmanager
def _point_in_time(server: Server, index: str, shard: int | None) -> Iterator[dict[str, str]]:
    """Open a point in time of an index, or of a shard of it."""
    if server.product == "elasticsearch":
        answer = server.request("POST", f"/{quoted(index)}/_pit", {"keep_alive": _KEEP_ALIVE})
        point = {"id": answer["id"]}
        path, name = "/_pit", "id"
    else:
        answer = server.request(
            "POST",
            f"/{quoted(index)}/_search/point_in_time",
            {
                "keep_alive": _KEEP_ALIVE,
                "preference": f"_shards:{shard}",
                "allow_partial_pit_creation": "false",
            },
        )
        point = {"id": answer["pit_id"]}
        path, name = "/_search/point_in_time", "pit_id"
    try:
        yield point
    finally:
        body = {name: point["id"] if name == "id" else [point["id"]]}
        server.lookup("DELETE", path, body=body)


def _require_whole(answer: Mapping[str, Any], where: str) -> None:
    """Refuse an answer that lacks some shards."""
    failed = answer.get("_shards", {}).get("failed", 0)
    if failed or answer.get("timed_out"):
        raise StoreError(f"{where}: {failed} shards of the index did not answer. Nothing was left out; repeat later.")
