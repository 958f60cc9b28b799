"""A new named vector beside the one in service, in the same Qdrant collection; needs Qdrant 1.18.

Qdrant cannot rename a vector, so applications switch themselves: both vectors answer from the cutover to ``drop-old``,
and the metadata of the collection tells under ``embcompat.serving`` which one is in service. A converted point carries
where its new vector came from in its payload, under ``embcompat`` and the name of that vector: ``space``, ``artifact``
(none for a native vector) and ``source`` (digest of the source vector). An application that writes native vectors of
the new model sets ``{"embcompat": {"NAME": {"space": "name@version"}}}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embcompat.errors import InputError
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.qdrant.configuration import add_vector_like, metric_of, record_of, vector_names
from embcompat.stores.qdrant.gallery import QdrantGallery
from embcompat.stores.qdrant.points import PAGE_ROWS, PAYLOAD_KEY, pages, point_id, rows_of, text_of, vectors_of
from embcompat.stores.qdrant.vector.points import VectorPoints
from embcompat.stores.values import Coverage, Finish, Job, Pairs, Rows, State, TargetRows, no_target_side


@final
class VectorGallery(QdrantGallery):
    """A named vector of a Qdrant collection that gets a successor beside it; see `GalleryStore`."""

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the names of the vectors and the metadata of the collection."""
        collection, vector = self._current()
        names, known = vector_names(self._client, collection), self._known(vector)
        space = SpaceVersion.from_json(known["space"], where=self.url) if "space" in known else None
        target, artifact = self._target(job), known.get("artifact")
        if vector == target:
            return State("cut_over" if known["source"] in names else "finished", space, artifact)
        if target in names:
            return State("finished" if known.get("source") == target else "prepared", space, artifact)
        return State("finished" if artifact == job.artifact_id else "untouched", space, artifact)

    def notes(self, job: Job) -> list[str]:
        """Say that applications switch themselves."""
        return [
            f"Both vectors answer from the cutover to drop-old: applications ask for vector {self._target(job)!r} with "
            "queries of the new model from the cutover on."
        ]

    def _prepare(self, job: Job) -> None:
        """Add a vector with the parameters of the source, for the new space."""
        collection, vector = self._current()
        add_vector_like(self._client, collection, vector, self._target(job), dim=job.target.dim, metric=job.metric)

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Scroll through the collection."""
        target = self._points(job)
        collection, source = self._old_side(job)
        known = self._target(job) in vector_names(self._client, collection)
        conditions = [target.recorded()] if missing_only and known else []
        chosen = models.Filter(must=[models.HasVectorCondition(has_vector=source)], must_not=conditions)
        names = [source, self._target(job)] if known else [source]
        size = min(batch_size, PAGE_ROWS)
        for points in pages(
            self._client, collection, size, scroll_filter=chosen, with_payload=True, with_vectors=names
        ):
            yield rows_of(points, list(map(target.source_digest, points)), source, job.text_column)

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Update the vectors of points, then their provenance; points that are gone are left out."""
        target = self._points(job)
        rows = {text: row for row, text in enumerate(ids)}
        points = target.read(ids)
        written = []
        for text in ids:
            point = points.get(point_id(text))
            if point is None or target.is_native(point, job.target, beside=int(digests[rows[text]])):
                continue
            written.append(text)
        values = [
            {"space": job.target.id, "artifact": job.artifact_id, "source": int(digests[rows[text]])}
            for text in written
        ]
        target.write(written, vectors[[rows[text] for text in written]], values)

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Update the vectors of points that have a converted one."""
        if self.state(job).phase == "untouched":
            raise no_target_side(self.url)
        target = self._points(job)
        rows = {text: row for row, text in enumerate(ids)}
        points = target.read(ids)
        written = [text for text in ids if (point := points.get(point_id(text))) and target.name in vectors_of(point)]
        provenance = [target.provenance(points[point_id(text)]) for text in written]
        values = [
            {key: value for key, value in known.items() if key == "source"} | {"space": job.target.id}
            for known in provenance
        ]
        target.write(written, vectors[[rows[text] for text in written]], values)
        return len(written)

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the new vectors of the given points, where they are said to be of the new space."""
        target = self._points(job)
        points = target.read(ids) if self.state(job).phase != "untouched" else {}
        present = [
            text
            for text in ids
            if (point := points.get(point_id(text)))
            and target.name in vectors_of(point)
            and target.provenance(point).get("space") == job.target.id
        ]
        vectors = np.empty((len(present), job.target.dim), np.float32)
        for row, text in enumerate(present):
            vectors[row] = vectors_of(points[point_id(text)])[target.name]
        native = ["artifact" not in target.provenance(points[point_id(text)]) for text in present]
        return TargetRows(present, vectors, np.array(native, dtype=bool))

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Delete the new vectors of points."""
        self._points(job).discard(models.Filter(must=[models.HasIdCondition(has_id=list(map(point_id, ids)))]))

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both vectors of the given points."""
        target, (_, source) = self._points(job), self._old_side(job)
        points = target.read(ids, source)
        complete = [
            text
            for text in ids
            if (point := points.get(point_id(text))) and {source, target.name} <= vectors_of(point).keys()
        ]
        chosen = [points[point_id(text)] for text in complete]
        sides = [
            np.array([vectors_of(point)[name] for point in chosen], dtype=np.float32) for name in (source, target.name)
        ]
        native = ["artifact" not in target.provenance(point) for point in chosen]
        texts = None if job.text_column is None else [text_of(point, job.text_column) for point in chosen]
        recorded = np.array(list(map(target.source_digest, chosen)), dtype=np.int64)
        return Pairs(complete, sides[0], sides[1], np.array(native, dtype=bool), texts, recorded)

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids of points after random places in the order of the ids."""
        return self._points(job).sample(job.artifact_id, count, seed=seed)

    def coverage(self, job: Job) -> Coverage:
        """Count the points that have either vector."""
        phase, (_, source) = self.state(job).phase, self._old_side(job)
        target = self._points(job)
        has_source, has_target = (models.HasVectorCondition(has_vector=name) for name in (source, target.name))
        rows = target.count()
        if phase == "untouched":
            return Coverage(rows, rows - target.count(has_source), 0, 0, 0)
        native = target.count(has_target, target.of_space(job.target), target.without_artifact())
        if phase == "prepared":
            orphans = target.count(target.recorded(), without=has_source)
            with_source = target.count(has_source)
            return Coverage(rows, rows - with_source, target.count(has_source, target.recorded()), orphans, native)
        converted = target.count(has_target, target.of_space(job.target))
        return Coverage(rows, rows - target.count(has_target), converted, 0, native)

    def remove_orphans(self, job: Job) -> int:
        """Remove new vectors whose source vector is gone."""
        target, (_, source) = self._points(job), self._old_side(job)
        has_source = models.HasVectorCondition(has_vector=source)
        orphans = target.count(target.recorded(), without=has_source)
        if orphans:
            target.discard(models.Filter(must=[target.recorded()], must_not=[has_source]))
        return orphans

    def target_metric(self, job: Job) -> Similarity | None:
        """Return how the new vectors are compared."""
        return metric_of(self._params(self._current()[0], self._target(job)))

    def build_index(self, job: Job) -> None:  # noqa: ARG002
        """Wait until the server has built the index of the new vector."""
        self._wait_for_index(self._current()[0])

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Convert the last points, and tell in the metadata of the collection that the new vector is in service."""
        for rows in self.scan(job, batch_size=self.batch_size, missing_only=True):
            self.write(job, *finish(rows))
        known = {"space": job.target.to_json(), "artifact": job.artifact_id, "source": self._current()[1]}
        self._serve(self._target(job), known)

    def _rollback(self, job: Job) -> int:
        """Tell that the old vector is in service."""
        target, (_, source) = self._points(job), self._old_side(job)
        self._serve(source, self._known(source))
        has_source, has_target = (models.HasVectorCondition(has_vector=name) for name in (source, target.name))
        return target.count(has_target, without=has_source)

    def leftovers(self, job: Job) -> list[str]:
        """Return the new vector."""
        target = self._target(job)
        return [f"vector {target}"] if target in vector_names(self._client, self._current()[0]) else []

    def _abort(self, job: Job) -> None:
        """Delete the provenance of all points, and then the new vector."""
        self._points(job).forget()
        self._client.delete_vector_name(self._current()[0], self._target(job), wait=True)

    def _drop_old(self, job: Job) -> None:
        """Delete the old vector."""
        self._client.delete_vector_name(*self._old_side(job), wait=True)

    def late_rows(self, job: Job) -> Iterator[Rows]:
        """Compare the old vectors with what the new ones beside them were made from."""
        target, (collection, source) = self._points(job), self._old_side(job)
        filled = models.Filter(must=[models.HasVectorCondition(has_vector=source)])
        names = [source, target.name]
        for points in pages(
            self._client, collection, PAGE_ROWS, scroll_filter=filled, with_payload=True, with_vectors=names
        ):
            rows = rows_of(points, list(map(target.source_digest, points)), source, job.text_column)
            native = np.array([target.is_native(point, job.target, beside=None) for point in points], dtype=bool)
            late = rows.select((rows.digests() != rows.recorded) & ~native)
            if len(late):
                yield late

    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find points with a new vector that do not say it is of the new space."""
        target = self._points(job)
        has_target = models.HasVectorCondition(has_vector=target.name)
        others = models.Filter(must=[has_target], must_not=[target.of_space(job.target)])
        for points in pages(self._client, target.collection, PAGE_ROWS, scroll_filter=others, with_payload=False):
            yield [str(point.id) for point in points]

    def _current(self) -> tuple[str, str]:
        aliases = {entry.alias_name: entry.collection_name for entry in self._client.get_aliases().aliases}
        collection = aliases.get(self._name, self._name)
        if not self._client.collection_exists(collection):
            listed = ", ".join(entry.name for entry in self._client.get_collections().collections)
            raise InputError(f"{self.url}: there is no collection {collection!r}. Collections: {listed or 'none'}.")
        return collection, record_of(self._client, collection).get("serving", {}).get(self._vector, self._vector)

    def _old_side(self, job: Job) -> tuple[str, str]:
        collection, vector = self._current()
        return collection, self._known(vector)["source"] if vector == self._target(job) else vector

    def _target(self, job: Job) -> str:
        return f"{self._vector or 'vector'}__{job.suffix}"

    def _points(self, job: Job) -> VectorPoints:
        return VectorPoints(self._client, self._current()[0], self._target(job))

    def _known(self, vector: str) -> dict[str, Any]:
        """Return what the collection tells of a vector."""
        known: dict[str, Any] = record_of(self._client, self._current()[0]).get("vectors", {}).get(vector, {})
        return known

    def _serve(self, vector: str, known: dict[str, Any]) -> None:
        """Note in the metadata of the collection which vector is in service, and what is known of it."""
        collection, _ = self._current()
        record = record_of(self._client, collection)
        serving = {**record.get("serving", {}), self._vector: vector}
        vectors = {**record.get("vectors", {}), vector: known}
        self._client.update_collection(
            collection, metadata={PAYLOAD_KEY: {**record, "serving": serving, "vectors": vectors}}
        )
