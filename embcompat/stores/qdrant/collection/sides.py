"""Keeping two Qdrant collections in step: everything of a point but the vector that is converted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from embcompat.spaces import SpaceVersion
from embcompat.stores.qdrant.collection.notes import forget_points, noted, noted_text
from embcompat.stores.qdrant.points import (
    PAGE_ROWS,
    PAYLOAD_KEY,
    Point,
    PointId,
    copy_points,
    pages,
    payload_of,
    point_id,
    provenance_of,
    rest_digest,
    retrieve,
    rows_of,
    text_of,
    vectors_of,
)
from embcompat.stores.values import Coverage, Pairs, Phase, TargetRows


@dataclass
class Return:
    """What a rollback has brought back.

    Attributes:
        without: Points with a new vector that have no old one.
        copied: Points that were copied, because they came in or got another vector.
        changed: Digest of what the application has changed of each point beside the vector, by id.
    """

    without: int = 0
    copied: set[PointId] = field(default_factory=set)
    changed: dict[PointId, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sides:
    """The two collections of a migration.

    Attributes:
        client: The client.
        source: The old collection.
        target: The new collection.
        vector: Name of the vector that is converted; empty for the unnamed one.
    """

    client: QdrantClient
    source: str
    target: str
    vector: str

    def sample(self, artifact_id: str, count: int, *, seed: int) -> list[str]:
        """Return ids of up to ``count`` converted points from random places in the order of the ids."""
        ours = models.FieldCondition(key=f"{PAYLOAD_KEY}.artifact", match=models.MatchValue(value=artifact_id))
        converted = models.Filter(must=[ours])
        total = self.client.count(self.target, converted, exact=True).count
        keep = set(np.random.default_rng(seed).choice(total, size=min(total, count), replace=False).tolist())
        chosen: list[str] = []
        row = 0
        for points in pages(self.client, self.target, PAGE_ROWS, scroll_filter=converted, with_payload=False):
            chosen += [str(point.id) for place, point in enumerate(points, row) if place in keep]
            row += len(points)
        return chosen

    def coverage(self, space_id: str, phase: Phase) -> Coverage:
        """Count the points of both collections, by id; of the target alone once it is in service."""
        has_vector = models.HasVectorCondition(has_vector=self.vector)
        of_space = models.FieldCondition(key=f"{PAYLOAD_KEY}.space", match=models.MatchValue(value=space_id))
        without_artifact = models.IsEmptyCondition(is_empty=models.PayloadField(key=f"{PAYLOAD_KEY}.artifact"))
        exists, in_service = phase != "untouched", phase in ("cut_over", "finished")
        collection = self.target if in_service else self.source
        native = self._count(self.target, has_vector, of_space, without_artifact) if exists else 0
        rows, with_vector = self._count(collection), self._count(collection, has_vector)
        converted = self._count(collection, has_vector, of_space) if in_service else 0
        orphans = 0
        if phase == "prepared":
            filled = models.Filter(must=[has_vector])
            for points in pages(self.client, self.source, PAGE_ROWS, scroll_filter=filled, with_payload=False):
                converted += sum("source" in known for known in self.known(points).values())
            for points in pages(self.client, self.target, PAGE_ROWS, with_payload=[PAYLOAD_KEY]):
                orphans += len(self.orphans(points))
        return Coverage(rows, rows - with_vector, converted, orphans, native)

    def native(self, ids: Sequence[PointId]) -> dict[PointId, Point]:
        """Return those of some target points that are native beside an old vector."""
        points = retrieve(self.client, self.target, ids, with_payload=[PAYLOAD_KEY], with_vectors=False)
        provenances = {identifier: provenance_of(point) for identifier, point in points.items()}
        native = [
            identifier for identifier, known in provenances.items() if "source" in known and "artifact" not in known
        ]
        return retrieve(self.client, self.target, native, with_payload=[PAYLOAD_KEY], with_vectors=True)

    def read_both(self, ids: Sequence[str], text: str | None) -> Pairs:
        """Read the points that have the vector in both collections."""
        source, target = self._retrieve(self.source, ids), self._retrieve(self.target, ids)
        common = [name for name in ids if point_id(name) in source and point_id(name) in target]
        arrays = [
            np.array([vectors_of(side[point_id(name)])[self.vector] for name in common], dtype=np.float32)
            for side in (source, target)
        ]
        native = ["artifact" not in provenance_of(target[point_id(name)]) for name in common]
        recorded = [int(provenance_of(target[point_id(name)]).get("source", 0)) for name in common]
        texts = None if text is None else [text_of(source[point_id(name)], text) for name in common]
        digests = np.array(recorded, dtype=np.int64)
        return Pairs(common, arrays[0], arrays[1], np.array(native, dtype=bool), texts, digests)

    def late(self, points: Sequence[Point], text: str | None) -> dict[PointId, int]:
        """Tell which source points the target points were not made from; return the digests on record.

        A point that the application has written since, with a vector of its own or another payload, stays as it is. One
        that the target lacks came in late unless its id was noted before the switch: then it was deleted since.
        """
        target = self._look_up(self.target, points)
        unseen = set(self._unseen(points, target))
        digests = rows_of(points, [0] * len(points), self.vector, text).digests().tolist() if points else []
        late: dict[PointId, int] = {}
        for point, digest in zip(points, digests, strict=True):
            present = target.get(point.id)
            provenance = {} if present is None else provenance_of(present)
            recorded = int(provenance.get("source", 0))
            if present is None:
                late |= {point.id: 0} if point.id in unseen else {}
                continue
            if "source" not in provenance:
                if not provenance and self.vector not in vectors_of(present):
                    late[point.id] = 0
            elif recorded != digest:
                late[point.id] = recorded
            elif provenance.get("rest") == rest_digest(present, self.vector) != rest_digest(point, self.vector):
                late[point.id] = 0
        return late

    def deleted(self, points: Sequence[Point]) -> list[str]:
        """Return converted target points whose source point is gone."""
        source = self._look_up(self.source, points)
        converted = [point for point in points if "source" in provenance_of(point)]
        return [str(point.id) for point in converted if point.id not in source]

    def read_target(self, ids: Sequence[str], space: SpaceVersion) -> TargetRows:
        """Read the target points that say that they are of a space."""
        points = self._retrieve(self.target, ids)
        known = {text: provenance_of(points[point_id(text)]) for text in ids if point_id(text) in points}
        names = [text for text, provenance in known.items() if provenance.get("space") == space.id]
        vectors = np.empty((len(names), space.dim), np.float32)
        for row, text in enumerate(names):
            vectors[row] = vectors_of(points[point_id(text)])[self.vector]
        return TargetRows(names, vectors, np.array(["artifact" not in known[text] for text in names], dtype=bool))

    def _retrieve(self, collection: str, ids: Sequence[str]) -> dict[PointId, Point]:
        """Look up points that have the vector."""
        identifiers = [point_id(text) for text in ids]
        points = retrieve(self.client, collection, identifiers, with_payload=True, with_vectors=True)
        return {identifier: point for identifier, point in points.items() if self.vector in vectors_of(point)}

    def known(self, points: Sequence[Point]) -> dict[PointId, dict[str, Any]]:
        """Return the provenance of the target points of some source points."""
        ids = [point.id for point in points]
        targets = retrieve(self.client, self.target, ids, with_payload=[PAYLOAD_KEY], with_vectors=False)
        return {identifier: provenance_of(point) for identifier, point in targets.items()}

    def orphans(self, points: Sequence[Point]) -> list[PointId]:
        """Return target points that were converted from a source point or vector that is gone."""
        source = self._look_up(self.source, points)
        return [
            point.id
            for point in points
            if point.id not in source
            or ("source" in provenance_of(point) and self.vector not in vectors_of(source[point.id]))
        ]

    def remove_orphans(self) -> int:
        """Remove orphans, and bring over points without a vector; return how many were removed."""
        removed = 0
        for points in pages(self.client, self.target, PAGE_ROWS, with_payload=[PAYLOAD_KEY]):
            orphans = self.orphans(points)
            self._delete(self.target, orphans)
            removed += len(orphans)
        lacking = models.Filter(must_not=[models.HasVectorCondition(has_vector=self.vector)])
        for points in pages(self.client, self.source, PAGE_ROWS, scroll_filter=lacking, with_payload=False):
            there = self._look_up(self.target, points)
            native = [point.id for point in points if point.id in there and self.vector in vectors_of(there[point.id])]
            self._copy([point.id for point in points if point.id not in native], self.source, self.target)
        return removed

    def bring_over(self, *, in_service: bool) -> None:
        """Bring points that are still missing to the target, without a vector: they could not be converted.

        Args:
            in_service: Whether the target is in service: then a point that is missing may have been deleted there.
        """
        for points in pages(self.client, self.source, PAGE_ROWS, with_payload=False):
            there = self._look_up(self.target, points)
            missing = self._unseen(points, there) if in_service else [p.id for p in points if p.id not in there]
            self._copy(missing, self.source, self.target)

    def bring_back(self, past: Return, *, in_service: bool) -> None:
        """Bring what changed since the cutover back to the source, without new vectors.

        Args:
            past: What was brought back before; what is brought back now is added.
            in_service: Whether the source is in service again: then what the application has changed there stays.
        """
        for points in pages(self.client, self.source, PAGE_ROWS, with_payload=False):
            there = self._look_up(self.target, points)
            missing = [point.id for point in points if point.id not in there]
            deleted = list(noted(self.client, self.target, missing)) if missing else []
            self._delete(self.source, deleted)
            forget_points(self.client, self.target, deleted)
        past.without, text = 0, noted_text(self.client, self.target)
        for points in pages(self.client, self.target, PAGE_ROWS, with_payload=True, with_vectors=True):
            there = self._look_up(self.source, points)
            native = {point.id for point in points if "source" not in provenance_of(point)}
            lacking = self._without_old(points, there, native, text)
            past.without += len(lacking)
            absent = {point.id for point in points if point.id not in there}
            copies = (absent & native) - past.copied if in_service else absent | lacking
            self._copy(sorted(copies, key=str), self.target, self.source)
            past.copied |= copies
            for point in points:
                if point.id in there and point.id not in copies:
                    self._bring_change(point, there[point.id], past, in_service=in_service)

    def _without_old(
        self, points: Sequence[Point], there: Mapping[PointId, Point], native: Collection[PointId], text: str | None
    ) -> set[PointId]:
        """Return ids of native points with a new vector whose old vector is not there, or not theirs any more.

        An old vector that an application has written since the switch, by the old collection's own name, is theirs.
        """
        new = [point.id for point in points if point.id in native and self.vector in vectors_of(point)]
        old = [there[identifier] for identifier in new if identifier in there]
        old = [point for point in old if self.vector in vectors_of(point)]
        digests = rows_of(old, [0] * len(old), self.vector, text).digests().tolist() if old else []
        recorded = noted(self.client, self.target, new) if new else {}
        current = {
            point.id
            for point, digest in zip(old, digests, strict=True)
            if recorded.get(point.id, (None, None)) not in ((None, None), (digest, rest_digest(point, self.vector)))
        }
        return set(new) - current

    def _bring_change(self, point: Point, old: Point, past: Return, *, in_service: bool) -> None:
        """Bring the payload and the other vectors of a point back, if the application has changed them."""
        digest, known = rest_digest(point, self.vector), past.changed.get(point.id, provenance_of(point).get("rest"))
        if digest == known:
            return
        past.changed[point.id] = digest
        current = rest_digest(old, self.vector)
        if digest == current or (in_service and current != known):
            return
        self.client.overwrite_payload(self.source, payload_of(point), points=[point.id], wait=True)
        vectors, present = ({k: v for k, v in vectors_of(p).items() if k != self.vector} for p in (point, old))
        if vectors:
            entry = models.PointVectors(id=point.id, vector=vectors)
            self.client.update_vectors(self.source, [entry], wait=True)
        if gone := sorted(present.keys() - vectors.keys()):
            self.client.delete_vectors(self.source, gone, points=[point.id], wait=True)

    def _unseen(self, points: Sequence[Point], there: Collection[PointId]) -> list[PointId]:
        """Return ids of source points that are not in the target, and were not there before the switch."""
        missing = [point.id for point in points if point.id not in there]
        earlier = noted(self.client, self.target, missing) if missing else {}
        return [identifier for identifier in missing if identifier not in earlier]

    def _look_up(self, collection: str, points: Sequence[Point]) -> dict[PointId, Point]:
        ids = [point.id for point in points]
        return retrieve(self.client, collection, ids, with_payload=True, with_vectors=True)

    def _count(self, collection: str, *conditions: models.Condition) -> int:
        return int(self.client.count(collection, models.Filter(must=list(conditions)), exact=True).count)

    def discard(self, ids: Sequence[str]) -> None:
        """Delete target points."""
        self._delete(self.target, [point_id(text) for text in ids])

    def _delete(self, collection: str, ids: list[PointId]) -> None:
        if ids:
            self.client.delete(collection, models.PointIdsList(points=list(ids)), wait=True)

    def _copy(self, ids: Sequence[PointId], source: str, target: str) -> None:
        def change(point: Point) -> tuple[dict[str, Any], dict[str, Any]]:
            others = {name: value for name, value in vectors_of(point).items() if name != self.vector}
            return others, payload_of(point)

        for start in range(0, len(ids), PAGE_ROWS):
            copy_points(self.client, ids[start : start + PAGE_ROWS], source=source, target=target, change=change)
