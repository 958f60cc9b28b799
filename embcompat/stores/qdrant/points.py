"""Points of a Qdrant collection: their ids, vectors, payload, and what tells that one changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models

from embcompat.errors import StoreError
from embcompat.stores.values import Rows

PAYLOAD_KEY: Final = "embcompat"
PAGE_ROWS: Final = 1_000

PointId = int | str | UUID
Point = models.Record
Change = Callable[[Point], tuple[dict[str, Any], dict[str, Any]] | None]
"""Gives vectors by name and payload that a point gets, or None to leave it as it is."""


def point_id(text: str) -> PointId:
    """Return the id of a point from its text.

    Example:
        >>> point_id("7"), point_id("00000000-0000-0000-0000-000000000007")
        (7, '00000000-0000-0000-0000-000000000007')
    """
    if text.isdecimal():
        return int(text)
    try:
        return str(UUID(text))
    except ValueError as error:
        raise StoreError(f"a Qdrant id is a number or a UUID. Got {text!r}.") from error


def vectors_of(point: Point) -> dict[str, Any]:
    """Return the vectors of a point by name; the unnamed one is called by the empty string."""
    if point.vector is None:
        return {}
    return dict(point.vector) if isinstance(point.vector, dict) else {"": point.vector}


def payload_of(point: Point) -> dict[str, Any]:
    """Return the payload of a point without what we wrote there."""
    return {key: value for key, value in (point.payload or {}).items() if key != PAYLOAD_KEY}


def provenance_of(point: Point) -> dict[str, Any]:
    """Return what we wrote in the payload of a point."""
    known = (point.payload or {}).get(PAYLOAD_KEY)
    return known if isinstance(known, dict) else {}


def rest_digest(point: Point, vector: str) -> str:
    """Return a digest of everything of a point but one vector: its payload and its other vectors."""
    others = {
        name: value.model_dump() if isinstance(value, models.SparseVector) else value
        for name, value in vectors_of(point).items()
        if name != vector
    }
    text = json.dumps([payload_of(point), others], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def rows_of(points: Sequence[Point], recorded: Sequence[int], vector: str, text: str | None) -> Rows:
    """Return points that all have a vector as rows, with the texts under a payload key where one is named."""
    vectors = np.array([vectors_of(point)[vector] for point in points], dtype=np.float32)
    texts = None if text is None else [text_of(point, text) for point in points]
    return Rows([str(point.id) for point in points], vectors, np.array(recorded, dtype=np.int64), texts)


def text_of(point: Point, key: str) -> str:
    """Return the text under a payload key; empty where there is none."""
    text = (point.payload or {}).get(key)
    return text if isinstance(text, str) else ""


def recorded_digest(point: Point, provenance: dict[str, Any], vector: str) -> int:
    """Return the digest on record for a source point; 0 too where anything else of the point changed."""
    return int(provenance.get("source", 0)) if provenance.get("rest") == rest_digest(point, vector) else 0


def pages(client: QdrantClient, collection: str, size: int, **options: Any) -> Iterator[list[Point]]:
    """Scroll through a collection in the order of the ids."""
    offset: Any = None
    while True:
        points, offset = client.scroll(collection, limit=size, offset=offset, **options)
        if points:
            yield points
        if offset is None:
            return


def retrieve(client: QdrantClient, collection: str, ids: Sequence[PointId], **options: Any) -> dict[PointId, Point]:
    """Look points up by id; those that are not there are left out."""
    points: dict[PointId, Point] = {}
    for start in range(0, len(ids), PAGE_ROWS):
        for point in client.retrieve(collection, list(ids[start : start + PAGE_ROWS]), **options):
            points[point.id if isinstance(point.id, int) else str(point.id)] = point
    return points


def copy_points(
    client: QdrantClient,
    ids: Sequence[PointId],
    *,
    source: str,
    target: str,
    change: Change,
) -> int:
    """Upsert points of one collection into another one; those that are gone are left out.

    Args:
        client: The client.
        ids: Which points.
        source: Where they are read, with all vectors and payload.
        target: Where they are written.
        change: What is written.

    Returns:
        Points written.
    """
    points = retrieve(client, source, ids, with_payload=True, with_vectors=True)
    copies = []
    for point in points.values():
        if (changed := change(point)) is None:
            continue
        vectors, payload = changed
        shape: Any = vectors[""] if set(vectors) == {""} else vectors
        copies.append(models.PointStruct(id=point.id, vector=shape, payload=payload))
    if copies:
        client.upsert(target, copies, wait=True)
    return len(copies)
