"""A new Qdrant collection beside the one in service, and an alias that moves from one to the other.

The gallery is addressed by the alias that applications use, because an alias is what Qdrant can switch in one step. A
converted point carries where it came from under the payload key ``embcompat``: ``space``, ``artifact`` (none for a
native vector), ``source`` (digest of the source vector) and ``rest`` (digest of everything else of the source point).
An application that writes native vectors of the new model sets ``{"embcompat": {"space": "name@version"}}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embcompat.errors import InputError, MigrationError, StoreError
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.qdrant.collection import notes
from embcompat.stores.qdrant.collection.sides import Return, Sides
from embcompat.stores.qdrant.configuration import (
    DISTANCES,
    copy_payload_indexes,
    create_like,
    metric_of,
    move_alias,
    record_of,
)
from embcompat.stores.qdrant.gallery import QdrantGallery
from embcompat.stores.qdrant.points import (
    PAGE_ROWS,
    PAYLOAD_KEY,
    Point,
    copy_points,
    pages,
    payload_of,
    point_id,
    provenance_of,
    recorded_digest,
    rest_digest,
    rows_of,
    vectors_of,
)
from embcompat.stores.values import Coverage, Finish, Job, Obstacle, Pairs, Rows, State, TargetRows, no_target_side


@final
class CollectionGallery(QdrantGallery):
    """A vector of a Qdrant collection behind an alias; see `GalleryStore`."""

    def state(self, job: Job) -> State:
        """Return how far the job is, read from where the alias points."""
        converted = self._converted()
        space = SpaceVersion.from_json(converted["space"], where=self.url) if "space" in converted else None
        artifact = converted.get("artifact")
        if artifact == job.artifact_id:
            return State(
                "cut_over" if self._client.collection_exists(self._source(job)) else "finished", space, artifact
            )
        started = self._client.collection_exists(self._target(job))
        return State("prepared" if started else "untouched", space, artifact)

    def obstacles(self, job: Job) -> list[Obstacle]:
        """Return what keeps the vectors of the collection from being converted, or the collection from being copied."""
        listed = super().obstacles(job)
        if self._client.get_collection(self._source(job)).config.params.sharding_method == models.ShardingMethod.CUSTOM:
            listed.append(Obstacle("Its shards are placed by the application (custom sharding), which is not copied."))
        return listed

    def _prepare(self, job: Job) -> None:
        """Make the target collection with the configuration of the source, for the new space."""
        source, target = self._served(), self._target(job)
        params, record = self._params(source, self._vector), record_of(self._client, source)
        distance = params.distance if job.metric is None else DISTANCES[job.metric]
        converted = {"space": job.target.to_json(), "artifact": job.artifact_id, "source": source}
        vectors = {**record.get("vectors", {}), self._vector: converted}
        try:
            create_like(
                self._client,
                source,
                target,
                vector=self._vector,
                params=params.model_copy(update={"size": job.target.dim, "distance": distance}),
                metadata={**record, "vector": self._vector, "vectors": vectors},
            )
        except StoreError:
            if not self._client.collection_exists(target):  # another worker was faster
                raise

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Scroll through the source collection, and look each page up in the target collection."""
        started = self._client.collection_exists(self._target(job))
        for points in pages(
            self._client, self._source(job), min(batch_size, PAGE_ROWS), with_payload=True, with_vectors=True
        ):
            present = [point for point in points if self._vector in vectors_of(point)]
            known = self._sides(job).known(present) if started else {}
            if missing_only:
                present = [point for point in present if "source" not in known.get(point.id, {})]
            if not present:
                continue
            recorded = [recorded_digest(point, known.get(point.id, {}), self._vector) for point in present]
            yield rows_of(present, recorded, self._vector, job.text_column)

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Upsert points, with everything else that the source points have now."""
        if not len(ids):
            return
        chosen = [point_id(text) for text in ids]
        rows = {text: row for row, text in enumerate(ids)}
        native = self._sides(job).native(chosen)

        def change(point: Point) -> tuple[dict[str, Any], dict[str, Any]]:
            row = rows[str(point.id)]
            provenance = {"space": job.target.id, "artifact": job.artifact_id, "source": int(digests[row])}
            vector = vectors[row].tolist()
            present = native.get(point.id)
            if present is not None and provenance_of(present)["source"] == provenance["source"]:
                del provenance["artifact"]
                vector = vectors_of(present)[self._vector]
            provenance["rest"] = rest_digest(point, self._vector)
            return {**vectors_of(point), self._vector: vector}, {**payload_of(point), PAYLOAD_KEY: provenance}

        copy_points(self._client, chosen, source=self._source(job), target=self._target(job), change=change)

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Upsert points of the target collection with another vector."""
        if self.state(job).phase == "untouched":
            raise no_target_side(self.url)
        rows = {text: row for row, text in enumerate(ids)}

        def change(point: Point) -> tuple[dict[str, Any], dict[str, Any]] | None:
            if self._vector not in vectors_of(point):
                return None
            source = {key: value for key, value in provenance_of(point).items() if key != "artifact"}
            provenance = {**source, "space": job.target.id}
            vector = vectors[rows[str(point.id)]].tolist()
            return {**vectors_of(point), self._vector: vector}, {**payload_of(point), PAYLOAD_KEY: provenance}

        target = self._target(job)
        return copy_points(self._client, list(map(point_id, ids)), source=target, target=target, change=change)

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given points."""
        return self._sides(job).read_both(ids, job.text_column)

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the given points of the target collection that say that they are of the new space."""
        if self.state(job).phase == "untouched":
            ids = []
        return self._sides(job).read_target(ids, job.target)

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids of points after random places in the order of the ids."""
        return self._sides(job).sample(job.artifact_id, count, seed=seed)

    def coverage(self, job: Job) -> Coverage:
        """Count the points of both sides, by id; of the collection in service once that is the new one."""
        return self._sides(job).coverage(job.target.id, self.state(job).phase)

    def remove_orphans(self, job: Job) -> int:
        """Remove target points whose source point or vector is gone, and bring over points without a vector."""
        return self._sides(job).remove_orphans()

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Delete target points."""
        self._sides(job).discard(ids)

    def target_metric(self, job: Job) -> Similarity | None:
        """Return how the target collection compares vectors."""
        return metric_of(self._params(self._target(job), self._vector))

    def build_index(self, job: Job) -> None:
        """Make payload indexes that are missing, and wait until the server has built all indexes."""
        copy_payload_indexes(self._client, self._source(job), self._target(job))
        self._wait_for_index(self._target(job))

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Point the alias to the target collection; points that could not be converted come without a vector."""
        for rows in self.scan(job, batch_size=self.batch_size, missing_only=True):
            self.write(job, *finish(rows))
        sides = self._sides(job)
        sides.bring_over(in_service=False)
        copy_payload_indexes(self._client, sides.source, sides.target)
        notes.begin_note(self._client, sides.target, text=job.text_column)
        move_alias(self._client, self._name, sides.target)

    def _settle(self, job: Job) -> None:
        """Bring over late points without a vector, and those that cannot be converted."""
        sides = self._sides(job)
        sides.bring_over(in_service=True)
        notes.settle_note(self._client, sides.target)

    def _unsettled(self, job: Job) -> bool:
        return not notes.is_settled(self._client, self._target(job))

    def _rollback(self, job: Job) -> int:
        """Point the alias back; what changed since the cutover follows, without new vectors."""
        if not self._is_latest(job):
            raise MigrationError(
                f"{self.url} cannot be rolled back: another vector was cut over since. Roll that back first."
            )
        sides, past = self._sides(job), Return()
        sides.bring_back(past, in_service=False)
        notes.note_ids(self._client, sides.target)
        move_alias(self._client, self._name, sides.source)
        sides.bring_back(past, in_service=True)
        notes.forget_ids(self._client, sides.target)
        return past.without

    def leftovers(self, job: Job) -> list[str]:
        """Return the target collection, and the note of its ids where a rollback was interrupted."""
        names = [self._target(job), notes.note_name(self._target(job))]
        return [f"collection {name}" for name in names if self._client.collection_exists(name)]

    def _abort(self, job: Job) -> None:
        """Delete the target collection and the note of its ids."""
        notes.forget_ids(self._client, self._target(job))
        self._client.delete_collection(self._target(job))

    def _drop_old(self, job: Job) -> None:
        """Delete the old collection, unless another alias serves it."""
        source = self._source(job)
        if others := [entry.alias_name for entry in self._client.get_collection_aliases(source).aliases]:
            raise StoreError(
                f"{self.url}: the old collection {source!r} is still served by the alias {', '.join(others)}. Move or "
                "delete that alias first. Nothing was deleted."
            )
        notes.forget_ids(self._client, self._target(job))
        self._client.delete_collection(source)

    def late_rows(self, job: Job) -> Iterator[Rows]:
        """Compare the points of the old collection with what those in service were made from."""
        sides = self._sides(job)
        if not self._is_latest(job):
            return
        for points in pages(self._client, sides.source, PAGE_ROWS, with_payload=True, with_vectors=True):
            present = [point for point in points if self._vector in vectors_of(point)]
            recorded = sides.late(present, job.text_column)
            late = [point for point in present if point.id in recorded]
            if late:
                yield rows_of(late, [recorded[point.id] for point in late], self._vector, job.text_column)

    def revived(self, job: Job) -> Iterator[Sequence[str]]:
        """Find converted points in service whose point in the old collection is gone."""
        if not self._is_latest(job):
            return
        for points in pages(self._client, self._served(), PAGE_ROWS, with_payload=[PAYLOAD_KEY]):
            if deleted := self._sides(job).deleted(points):
                yield deleted

    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find points with a vector that do not say they are of the new space."""
        of_space = models.FieldCondition(key=f"{PAYLOAD_KEY}.space", match=models.MatchValue(value=job.target.id))
        others = models.Filter(must=[models.HasVectorCondition(has_vector=self._vector)], must_not=[of_space])
        for points in pages(self._client, self._served(), PAGE_ROWS, scroll_filter=others, with_payload=False):
            yield [str(point.id) for point in points]

    def _current(self) -> tuple[str, str]:
        return self._served(), self._vector

    def _old_side(self, job: Job) -> tuple[str, str]:
        return self._source(job), self._vector

    def _served(self) -> str:
        aliases = {entry.alias_name: entry.collection_name for entry in self._client.get_aliases().aliases}
        if self._name in aliases:
            return aliases[self._name]
        if self._client.collection_exists(self._name):
            raise InputError(
                f"{self.url}: {self._name!r} is a collection, and Qdrant switches only aliases. Add ?target=vector to "
                "the address to convert into a new named vector of the same collection, which applications then name. "
                "Or make an alias for the collection, let applications use it, and name it here."
            )
        raise InputError(f"{self.url}: there is no alias {self._name!r}. Aliases: {', '.join(aliases) or 'none'}.")

    def _source(self, job: Job) -> str:
        """Return the old collection: the one in service, unless that has this vector from this job."""
        converted = self._converted()
        return str(converted["source"]) if converted.get("artifact") == job.artifact_id else self._served()

    def _converted(self) -> dict[str, Any]:
        """Return what the collection in service tells of the vector."""
        record = record_of(self._client, self._served())
        converted: dict[str, Any] = record.get("vectors", {}).get(self._vector, {})
        return converted

    def _is_latest(self, job: Job) -> bool:
        """Return whether no other vector was cut over after this one."""
        return self._served() == self._target(job)

    def _target(self, job: Job) -> str:
        return f"{self._source(job)}__{job.suffix}"

    def _sides(self, job: Job) -> Sides:
        return Sides(self._client, self._source(job), self._target(job), self._vector)
