"""A gallery that is converted into a second collection, which then takes over the name of the first.

Provenance stands beside each converted record: ``space``, ``artifact`` (none for a native vector), ``source`` (digest
of the source record), ``rest`` (digest of everything else of it) and ``digest`` (digest of the vector itself).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import MigrationError
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.base import GalleryStore
from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.draws import drawn_ids, look_up
from embcompat.stores.collections.late import begin, is_settled, late, revived, settle
from embcompat.stores.collections.records import Provenance, Record
from embcompat.stores.collections.returning import Return, bring_back
from embcompat.stores.collections.sides import Sides
from embcompat.stores.values import Coverage, Finish, Job, Pairs, Rows, State, TargetRows, no_target_side

_BATCH_BYTES: Final = 4 << 20
_PAGES_AHEAD: Final = 16  # pages whose records wait to be written; another shard's never are


class CollectionsGallery(GalleryStore):
    """A vector of the records of a collection; see `GalleryStore`.

    Args:
        url: Where it is.
        collections: The collections of the store.
        name: The collection in service.
        vector: Name of the vector, where records have several; empty where they have one.

    Attributes:
        url: As given.
        batch_size: Rows of one write.
        keeps_norms: Always.
        tolerance: Vectors are stored as float32.
    """

    keeps_norms = True
    reads_texts = True
    draws_directly = True

    def __init__(self, url: str, collections: Collections, name: str, vector: str = "") -> None:
        self.url, self.tolerance = url, 1e-4
        self._collections, self._name, self._vector = collections, name, vector
        self.batch_size = max(100, min(collections.page_rows, _BATCH_BYTES // (4 * max(1, self.dim()))))
        self._prefix = f"{vector}__" if vector else ""
        self._ahead: dict[str, Record] = {}

    @final
    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return self._collections.dim(self._name)

    @final
    def state(self, job: Job) -> State:
        """Return how far the job is, read from what is noted about the collection in service."""
        converted = self._collections.memo(self._name).get("vectors", {}).get(self._vector, {})
        space = SpaceVersion.from_json(converted["space"], where=self.url) if "space" in converted else None
        artifact = converted.get("artifact")
        if artifact == job.artifact_id:
            return State("cut_over" if self._collections.exists(self._old(job)) else "finished", space, artifact)
        return State("prepared" if self._collections.exists(self._target(job)) else "untouched", space, artifact)

    def _prepare(self, job: Job) -> None:
        self._collections.create_like(self._name, self._target(job), dim=job.target.dim, metric=job.metric)

    def _resume(self, job: Job) -> None:
        """Note what the target is; a kill may have come before that, or another vector was cut over since."""
        target, others = self._target(job), self._collections.memo(self._name).get("vectors", {})
        source, memo = self._collections.own_name(self._name), self._collections.memo(target)
        entry = {"space": job.target.to_json(), "artifact": job.artifact_id, "source": source}
        note = {"vector": self._vector, "vectors": others | {self._vector: entry}}
        if memo | note != memo:
            self._collections.set_memo(target, memo | note)

    @final
    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Read the source collection, and look each page up in the target collection."""
        sides = self._sides(job)
        started = sides.source != sides.target
        empty = not started or not self._collections.count(sides.target)
        self._ahead = {}
        for page in self._collections.ids(sides.source):
            for start in range(0, len(page), batch_size):
                ids = page[start : start + batch_size]
                known = {} if empty else sides.known(ids)
                if missing_only:
                    ids = [key for key in ids if key not in known]
                records = self._collections.read(sides.source, ids)
                if not records:
                    continue
                latest = {record.id: record for record in records} if missing_only and started else {}
                self._ahead = dict(list((self._ahead | latest).items())[-_PAGES_AHEAD * batch_size :])
                yield sides.rows(records, [_recorded(record, known.get(record.id)) for record in records])

    @final
    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Write records with everything else that the source records hold."""
        if not len(ids):
            return
        sides = self._sides(job, begun=True)
        sources = {key: self._ahead.pop(key) for key in ids if key in self._ahead}
        unread = [key for key in ids if key not in sources]
        sources |= {record.id: record for record in self._collections.read(sides.source, unread)}
        records = [
            Record(key, vector, sources[key].rest, Provenance(job.target.id, job.artifact_id, source))
            for key, vector, source in zip(ids, vectors, digests.tolist(), strict=True)
            if key in sources
        ]
        with self._collections.exclusive():
            existing = self._collections.existing(sides.target, [record.id for record in records])
            records = sides.reconciled(records, existing, in_service=sides.target == self._name)
            self._collections.put(sides.target, records, existing)

    @final
    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Replace vectors of the target collection, and nothing else of its records."""
        sides = self._sides(job, begun=True)
        with self._collections.exclusive():
            records = sides.with_native(ids, vectors, job.target.id)
            self._collections.write_vectors(sides.target, records)
        return len(records)

    @final
    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given records."""
        return self._sides(job).read_both(ids)

    @final
    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the given records of the target collection that say that they are of the new space."""
        started = self.state(job).phase != "untouched"
        return self._sides(job).read_target(ids if started else [], job.target)

    @final
    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Choose among the ids of all converted records."""
        return self._sides(job).sample(job.artifact_id, count, seed=seed)

    @final
    def draw(
        self, _job: Job, count: int | None, *, seed: int, columns: Sequence[str] = (), where: str | None = None
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Choose ids first, and read the chosen records alone; ``where`` is a condition in the store's language."""
        ids = drawn_ids(self._collections, self._name, count, seed=seed, where=where)
        return look_up(self._collections, self._name, ids, columns=columns)

    @final
    def look_up(
        self, _job: Job, ids: Sequence[str], *, columns: Sequence[str] = ()
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Read the records with the given ids."""
        return look_up(self._collections, self._name, ids, columns=columns)

    @final
    def coverage(self, job: Job) -> Coverage:
        """Count the records of both sides, by id; of the collection in service once that is the new one."""
        phase = self.state(job).phase
        if phase == "untouched":
            return Coverage(self._collections.count(self._name), 0, 0, 0, 0)
        return self._sides(job).coverage(job.target.id, in_service=phase != "prepared")

    @final
    def remove_orphans(self, job: Job) -> int:
        """Remove target records whose source record is gone."""
        return self._sides(job).remove_orphans()

    @final
    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Delete target records."""
        self._collections.delete(self._sides(job).target, ids)

    @final
    def index_kind(self) -> str | None:
        """Return the kind of index of the collection in service."""
        return self._collections.index_kind(self._name)

    @final
    def target_metric(self, job: Job) -> Similarity | None:
        """Return how the target collection compares vectors."""
        return self._collections.metric(self._target(job))

    @final
    def build_index(self, job: Job) -> None:
        """Wait until the target collection is indexed."""
        self._collections.finish_index(self._target(job))

    @final
    def _cutover(self, job: Job, finish: Finish) -> None:
        """Convert the last records and switch the collections; what comes in meanwhile follows as late rows."""
        sides = self._sides(job)
        begin(sides, lambda records: self.write(job, *finish(sides.rows(records, [0] * len(records)))))
        self._collections.switch(self._name, parked=self._old(job), entering=self._target(job))

    @final
    def _settle(self, job: Job) -> None:
        settle(self._sides(job))

    @final
    def _unsettled(self, job: Job) -> bool:
        return self._is_latest() and not is_settled(self._sides(job))

    @final
    def _rollback(self, job: Job) -> int:
        """Bring back what changed since the cutover, switch the collections, and bring back what changed meanwhile."""
        self._require_latest("be rolled back")
        past = Return()
        bring_back(self._sides(job), past, in_service=False)
        self._collections.switch(self._name, parked=self._target(job), entering=self._old(job))
        bring_back(self._sides(job), past, in_service=True)
        self.discard(job, past.replaced)
        self._collections.forget(self._target(job))
        return past.without

    @final
    def leftovers(self, job: Job) -> list[str]:
        """Return the target collection."""
        target = self._target(job)
        return [f"collection {target}"] if self._collections.exists(target) else []

    @final
    def _abort(self, job: Job) -> None:
        self._collections.drop(self._target(job))

    @final
    def _drop_old(self, job: Job) -> None:
        self._collections.drop(self._old(job))
        if self._is_latest():
            self._collections.forget(self._name)

    @final
    def late_rows(self, job: Job) -> Iterator[Rows]:
        """Compare the records of the old collection with what those in service were made from."""
        sides = self._sides(job)
        for records in late(sides) if self._is_latest() else ():
            yield sides.rows(records, [0] * len(records))

    @final
    def revived(self, job: Job) -> Iterator[Sequence[str]]:
        """Find converted records in service whose record in the old collection is gone."""
        if self._is_latest():
            yield from revived(self._sides(job))

    @final
    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find records that are not of the new space, or whose vector was replaced since."""
        if not self._collections.notes_each_vector:
            self._require_latest("be swept")
        sides = self._sides(job)
        for records in sides.pages(self._name):
            replaced = {record.id for record in sides.foreign(records) if record.provenance.source is not None}
            flagged = [
                record.id for record in records if record.id in replaced or record.provenance.space != job.target.id
            ]
            if flagged:
                yield flagged

    @final
    def close(self) -> None:
        """Let go of files and connections."""
        self._collections.close()

    def _target(self, job: Job) -> str:
        """Return the name of the collection that a job fills."""
        return f"{self._name}__{self._prefix}{job.suffix}"

    def _old(self, job: Job) -> str:
        """Return the name of the collection that a job has taken out of service."""
        return f"{self._name}__old_{self._prefix}{job.suffix}"

    def _require_latest(self, to: str) -> None:
        if not self._is_latest():
            latest = self._collections.memo(self._name)["vector"]
            raise MigrationError(f"{self.url} cannot {to}: {latest!r} was cut over since. Roll that back first.")

    def _is_latest(self) -> bool:
        """Return whether no other vector of the records was cut over after this one."""
        return bool(self._collections.memo(self._name).get("vector") == self._vector)

    def _sides(self, job: Job, *, begun: bool = False) -> Sides:
        """Return both collections; twice the one in service where there is no other, unless one must be."""
        phase = self.state(job).phase
        if begun and phase == "untouched":
            raise no_target_side(self.url)
        source = self._old(job) if phase == "cut_over" else self._name
        target = self._target(job) if phase == "prepared" else self._name
        return Sides(self._collections, source, target, job.text_column)


def _recorded(record: Record, known: Provenance | None) -> int:
    """Return the digest on record; 0 too where anything else of the record changed."""
    return 0 if known is None or known.rest != record.rest_digest() else known.source or 0
