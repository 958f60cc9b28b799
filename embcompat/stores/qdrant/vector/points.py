"""Points of a Qdrant collection that have a new vector beside the old one, and where that came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from embcompat.errors import StoreError
from embcompat.spaces import SpaceVersion
from embcompat.stores.qdrant.points import (
    PAGE_ROWS,
    PAYLOAD_KEY,
    Point,
    PointId,
    pages,
    point_id,
    retrieve,
    vectors_of,
)

_ATTEMPTS: Final = 5
"""Times that points are looked up again because an application deleted some of them in that moment [ours]."""


@dataclass(frozen=True)
class VectorPoints:
    """One vector of all points of a collection.

    Attributes:
        client: The client.
        collection: The collection.
        name: Name of the vector.
    """

    client: QdrantClient
    collection: str
    name: str

    @property
    def key(self) -> str:
        """Path of the provenance in the payload of a point."""
        return f'{PAYLOAD_KEY}."{self.name}"'

    def provenance(self, point: Point) -> dict[str, Any]:
        """Return what the payload of a point tells of the vector."""
        known = (point.payload or {}).get(PAYLOAD_KEY)
        provenance = known.get(self.name) if isinstance(known, dict) else None
        return provenance if isinstance(provenance, dict) else {}

    def source_digest(self, point: Point) -> int:
        """Return the digest of the source vector on record; 0 where the point has no such vector."""
        return int(self.provenance(point).get("source", 0)) if self.name in vectors_of(point) else 0

    def is_native(self, point: Point, space: SpaceVersion, *, beside: int | None) -> bool:
        """Return whether the new model made the vector, beside a source vector of this digest or beside none."""
        provenance = self.provenance(point)
        if self.name not in vectors_of(point) or "artifact" in provenance or provenance.get("space") != space.id:
            return False
        return "source" not in provenance or provenance["source"] == beside

    def recorded(self) -> models.Filter:
        """Return the condition of points with a vector whose source is on record."""
        unrecorded = models.IsEmptyCondition(is_empty=models.PayloadField(key=f"{self.key}.source"))
        return models.Filter(must=[models.HasVectorCondition(has_vector=self.name)], must_not=[unrecorded])

    def of_space(self, space: SpaceVersion) -> models.FieldCondition:
        """Return the condition of points whose vector is said to be of a space."""
        return models.FieldCondition(key=f"{self.key}.space", match=models.MatchValue(value=space.id))

    def without_artifact(self) -> models.IsEmptyCondition:
        """Return the condition of points whose vector no artifact made."""
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=f"{self.key}.artifact"))

    def count(self, *conditions: models.Condition, without: models.Condition | None = None) -> int:
        """Count the points that meet all conditions but one."""
        chosen = models.Filter(must=list(conditions), must_not=[] if without is None else [without])
        return int(self.client.count(self.collection, chosen, exact=True).count)

    def read(self, ids: Sequence[str], *others: str) -> dict[PointId, Point]:
        """Look points up by id, with their payload, the vector, and other vectors by name."""
        identifiers, names = list(map(point_id, ids)), [self.name, *others]
        return retrieve(self.client, self.collection, identifiers, with_payload=True, with_vectors=names)

    def write(self, ids: Sequence[str], vectors: NDArray[np.float32], provenance: Sequence[dict[str, Any]]) -> None:
        """Write vectors, and after them where they came from; points that are gone are left out.

        A kill in between leaves vectors without provenance, which are then converted again.
        """
        rows = {point_id(text): row for row, text in enumerate(ids)}
        for attempt in range(1, _ATTEMPTS + 1):
            present = list(retrieve(self.client, self.collection, list(rows), with_payload=False, with_vectors=False))
            if not present:
                return
            updates = [
                models.PointVectors(id=identifier, vector={self.name: vectors[rows[identifier]].tolist()})
                for identifier in present
            ]
            notes = [
                models.SetPayloadOperation(
                    set_payload=models.SetPayload(
                        payload={self.name: provenance[rows[identifier]]}, points=[identifier], key=PAYLOAD_KEY
                    )
                )
                for identifier in present
            ]
            try:
                self.client.update_vectors(self.collection, updates, wait=True)
                self.client.batch_update_points(self.collection, notes, wait=True)
                return
            except StoreError:  # a point was deleted in this moment; all others are written, or will be
                if attempt == _ATTEMPTS:
                    raise

    def sample(self, artifact_id: str, count: int, *, seed: int) -> list[str]:
        """Return ids of up to ``count`` points whose vector an artifact made, from random places."""
        ours = models.FieldCondition(key=f"{self.key}.artifact", match=models.MatchValue(value=artifact_id))
        converted = models.Filter(must=[ours, models.HasVectorCondition(has_vector=self.name)])
        total = int(self.client.count(self.collection, converted, exact=True).count)
        places = set(np.random.default_rng(seed).choice(total, size=min(total, count), replace=False).tolist())
        chosen: list[str] = []
        row = 0
        for points in pages(self.client, self.collection, PAGE_ROWS, scroll_filter=converted, with_payload=False):
            chosen += [str(point.id) for place, point in enumerate(points, row) if place in places]
            row += len(points)
        return chosen

    def discard(self, chosen: models.Filter) -> None:
        """Delete the vector of points, and then where it came from."""
        ids = [
            point.id
            for points in pages(self.client, self.collection, PAGE_ROWS, scroll_filter=chosen, with_payload=False)
            for point in points
        ]
        for start in range(0, len(ids), PAGE_ROWS):
            page = ids[start : start + PAGE_ROWS]
            self.client.delete_vectors(self.collection, [self.name], page, wait=True)
            self.client.delete_payload(self.collection, [self.key], page, wait=True)

    def forget(self) -> None:
        """Delete where the vector came from, for all points."""
        empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=self.key))
        self.client.delete_payload(self.collection, [self.key], models.Filter(must_not=[empty]), wait=True)
