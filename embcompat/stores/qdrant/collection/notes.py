"""The ids that a collection has had while it was in service, in a collection of their own.

They tell points that came into the other collection meanwhile from those that were deleted from this one since, and the
digests beside them tell which points of the old collection an application has written by its own name. The note is
there from shortly before the switch until the old collection is dropped or back in service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdrant_client import QdrantClient, models

from embcompat.stores.qdrant.configuration import record_of
from embcompat.stores.qdrant.points import PAGE_ROWS, PAYLOAD_KEY, PointId, pages, provenance_of, retrieve


def note_name(collection: str) -> str:
    """Return the name of the collection of ids."""
    return f"{collection}__ids"


def begin_note(client: QdrantClient, collection: str, *, text: str | None) -> None:
    """Note the ids of a collection before a switch, in the place of an earlier note.

    Args:
        client: The client.
        collection: The collection.
        text: Payload key of the texts that the digests of its source points are of, too, or None.
    """
    forget_ids(client, collection)
    _create(client, collection, text=text)
    note_ids(client, collection)


def note_ids(client: QdrantClient, collection: str) -> None:
    """Note the ids of a collection, and the digests of the source points of those that were converted."""
    name = note_name(collection)
    if not client.collection_exists(name):
        _create(client, collection, text=None)
    for points in pages(client, collection, PAGE_ROWS, with_payload=[PAYLOAD_KEY]):
        origins = {point.id: (provenance_of(point).get("source"), provenance_of(point).get("rest")) for point in points}
        others = [identifier for identifier, (source, _) in origins.items() if source is None]
        known = retrieve(client, name, others, with_payload=False, with_vectors=False)
        entries = [
            models.PointStruct(id=identifier, vector={}, payload={"source": source, "rest": rest})
            for identifier, (source, rest) in origins.items()
            if identifier not in known
        ]
        if entries:
            client.upsert(name, entries, wait=True)


def settle_note(client: QdrantClient, collection: str) -> None:
    """Note the ids that came in since, and that the cutover has come to its end."""
    note_ids(client, collection)
    record = {**_record(client, collection), "settled": True}
    client.update_collection(note_name(collection), metadata={PAYLOAD_KEY: record})


def forget_ids(client: QdrantClient, collection: str) -> None:
    """Delete a note, if there is one."""
    if client.collection_exists(note_name(collection)):
        client.delete_collection(note_name(collection))


def is_settled(client: QdrantClient, collection: str) -> bool:
    """Return whether there is a note of a cutover that has come to its end."""
    return bool(_record(client, collection).get("settled"))


def noted_text(client: QdrantClient, collection: str) -> str | None:
    """Return the payload key of the texts that the digests are of, too, or None."""
    text: str | None = _record(client, collection).get("text")
    return text


def noted(
    client: QdrantClient, collection: str, ids: Sequence[PointId]
) -> dict[PointId, tuple[int | None, str | None]]:
    """Return those of some ids that are noted; none without a note.

    With each come the digests of the vector of its source point and of everything else of it, if it was converted.
    """
    if not client.collection_exists(note_name(collection)):
        return {}
    points: dict[PointId, Any] = retrieve(client, note_name(collection), ids, with_payload=True, with_vectors=False)
    payloads = {identifier: point.payload or {} for identifier, point in points.items()}
    return {identifier: (payload.get("source"), payload.get("rest")) for identifier, payload in payloads.items()}


def forget_points(client: QdrantClient, collection: str, ids: Sequence[PointId]) -> None:
    """Forget some ids: what comes back under them is new."""
    if ids:
        client.delete(note_name(collection), models.PointIdsList(points=list(ids)), wait=True)


def _create(client: QdrantClient, collection: str, *, text: str | None) -> None:
    record = {PAYLOAD_KEY: {"text": text, "settled": False}}
    client.create_collection(note_name(collection), vectors_config={}, metadata=record)


def _record(client: QdrantClient, collection: str) -> dict[str, Any]:
    name = note_name(collection)
    return record_of(client, name) if client.collection_exists(name) else {}
