"""The ids that a collection had right before a switch, in a collection of their own.

They tell points that came into the other collection in that moment from those that were deleted from this one since.
The note is there from shortly before the switch until its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_client import QdrantClient, models

from embcompat.stores.qdrant.points import PAGE_ROWS, PointId, pages, retrieve


def note_name(collection: str) -> str:
    """Return the name of the collection of ids."""
    return f"{collection}__ids"


def note_ids(client: QdrantClient, collection: str) -> None:
    """Note the ids of a collection, in the place of an earlier note."""
    forget_ids(client, collection)
    client.create_collection(note_name(collection), vectors_config={})
    for points in pages(client, collection, PAGE_ROWS, with_payload=False):
        client.upsert(
            note_name(collection), [models.PointStruct(id=point.id, vector={}) for point in points], wait=True
        )


def forget_ids(client: QdrantClient, collection: str) -> None:
    """Delete a note, if there is one."""
    if are_noted(client, collection):
        client.delete_collection(note_name(collection))


def are_noted(client: QdrantClient, collection: str) -> bool:
    """Return whether there is a note."""
    return bool(client.collection_exists(note_name(collection)))


def noted(client: QdrantClient, collection: str, ids: Sequence[PointId]) -> set[PointId]:
    """Return those of some ids that are noted; all of them where there is no note, since nothing came in late then."""
    if not are_noted(client, collection):
        return set(ids)
    return set(retrieve(client, note_name(collection), ids, with_payload=False, with_vectors=False))
