"""The two collections of a migration, and keeping them in step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.spaces import SpaceVersion
from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import UNKNOWN, Provenance, Record, rows_of, stacked
from embcompat.stores.values import Coverage, Pairs, Rows, TargetRows


@dataclass(frozen=True)
class Sides:
    """The two collections of a migration.

    Attributes:
        collections: The store's collections.
        source: The collection with the old vectors.
        target: The collection with the new vectors.
        text_column: Where the texts are that the aligner reads, or None.
    """

    collections: Collections
    source: str
    target: str
    text_column: str | None = None

    def rows(self, records: Sequence[Record], recorded: Sequence[int]) -> Rows:
        """Return source records as rows."""
        return rows_of(records, recorded, self._texts(records), self.collections.dim(self.source))

    def digests(self, records: Sequence[Record]) -> list[int]:
        """Return the digests of source records, as `Rows.digests` does."""
        digests: list[int] = self.rows(records, [0] * len(records)).digests().tolist()
        return digests

    def pages(self, name: str) -> Iterator[list[Record]]:
        """Read a whole collection page by page."""
        for ids in self.collections.ids(name):
            yield self.collections.read(name, ids)

    def known(self, ids: Sequence[str]) -> dict[str, Provenance]:
        """Return the provenance of the target records that were converted, or that an application declared."""
        provenances = self.collections.provenances(self.target, ids)
        return {key: entry for key, entry in provenances.items() if entry != UNKNOWN}

    def reconciled(
        self, records: Sequence[Record], existing: Mapping[str, Record], *, in_service: bool
    ) -> list[Record]:
        """Complete converted records by what the target holds under their ids.

        A native vector stays if an application declared it, or if its source record is still the same. Once the target
        is in service, other data that the application has changed stays, too.

        Args:
            records: Converted records with the other data and the digest of their source records.
            existing: The target records that are there, by id.
            in_service: Whether the target is in service.
        """
        digests = self.collections.fingerprints(stacked(records, 1))
        complete = []
        for record, digest in zip(records, digests, strict=True):
            target = existing.get(record.id)
            provenance = record.provenance._replace(rest=record.rest_digest(), digest=digest)
            vector, rest = record.vector, record.rest
            if target is not None and target.provenance.artifact is None:
                if target.provenance.source is None and target.provenance.space == provenance.space:
                    continue
                if target.provenance.source == provenance.source:
                    vector = target.vector
                    provenance = provenance._replace(artifact=None, digest=target.provenance.digest)
            if target is not None and in_service and target.rest_digest() != target.provenance.rest:
                rest = target.rest
            complete.append(Record(record.id, vector, rest, provenance))
        return complete

    def with_native(self, ids: Sequence[str], vectors: NDArray[np.float32], space_id: str) -> list[Record]:
        """Return the target records of some ids with native vectors (n, target_dim) instead of those that they have."""
        rows = {key: row for row, key in enumerate(ids)}
        digests = self.collections.fingerprints(vectors)
        records = []
        for record in self.collections.read(self.target, ids):
            row = rows[record.id]
            provenance = record.provenance._replace(space=space_id, artifact=None, digest=digests[row])
            records.append(record._replace(vector=vectors[row], provenance=provenance))
        return records

    def read_both(self, ids: Sequence[str]) -> Pairs:
        """Read the records that are on both sides."""
        source = {record.id: record for record in self.collections.read(self.source, ids)}
        target = [record for record in self.collections.read(self.target, ids) if record.id in source]
        old = [source[record.id] for record in target]
        source_vectors = stacked(old, self.collections.dim(self.source))
        target_vectors = stacked(target, self.collections.dim(self.target))
        native = np.array([record.provenance.artifact is None for record in target], dtype=bool)
        recorded = np.array([record.provenance.source or 0 for record in target], dtype=np.int64)
        ids = [record.id for record in target]
        return Pairs(ids, source_vectors, target_vectors, native, self._texts(old), recorded)

    def read_target(self, ids: Sequence[str], space: SpaceVersion) -> TargetRows:
        """Read the target records that are of a space."""
        records = [record for record in self.collections.read(self.target, ids) if record.provenance.space == space.id]
        native = np.array([record.provenance.artifact is None for record in records], dtype=bool)
        return TargetRows([record.id for record in records], stacked(records, space.dim), native)

    def sample(self, artifact_id: str, count: int, *, seed: int) -> list[str]:
        """Return up to ``count`` ids of converted records, each with the same chance."""
        ids = [key for page in self.collections.ids(self.target) for key in page]
        ids = [ids[place] for place in np.random.default_rng(seed).permutation(len(ids)).tolist()]
        chosen: list[str] = []
        for start in range(0, len(ids), self.collections.page_rows):
            page = ids[start : start + self.collections.page_rows]
            entries = self.known(page)
            chosen += [key for key in page if key in entries and entries[key].artifact == artifact_id]
            if len(chosen) >= count:
                break
        return chosen[:count]

    def coverage(self, space_id: str, *, in_service: bool) -> Coverage:
        """Count the records of both sides; of the target alone once that is in service."""
        if in_service:
            return self._target_coverage(space_id)
        if not self.collections.count(self.target):
            return Coverage(self.collections.count(self.source), 0, 0, 0, 0)
        rows = present = converted = orphans = native = 0
        for ids in self.collections.ids(self.source):
            entries = self.collections.provenances(self.target, ids).values()
            rows += len(ids)
            present += len(entries)
            converted += sum(entry != UNKNOWN for entry in entries)
            native += sum(entry.artifact is None and entry.space == space_id for entry in entries)
        if present != self.collections.count(self.target):  # it has records that the source lacks
            native = 0
            for ids in self.collections.ids(self.target):
                orphans += len(self.orphans(ids))
                entries = self.collections.provenances(self.target, ids).values()
                native += sum(entry.artifact is None and entry.space == space_id for entry in entries)
        return Coverage(rows, 0, converted, orphans, native)

    def _target_coverage(self, space_id: str) -> Coverage:
        of_space = [
            entry
            for ids in self.collections.ids(self.target)
            for entry in self.collections.provenances(self.target, ids).values()
            if entry.space == space_id
        ]
        native = sum(entry.artifact is None for entry in of_space)
        return Coverage(self.collections.count(self.target), 0, len(of_space), 0, native)

    def remove_orphans(self) -> int:
        """Remove target records that were made from a source record that is gone; return how many."""
        removed = 0
        for ids in self.collections.ids(self.target):
            orphans = self.orphans(ids)
            self.collections.delete(self.target, orphans)
            removed += len(orphans)
        return removed

    def foreign(self, records: Sequence[Record]) -> list[Record]:
        """Return records whose vector neither the migration nor a native write of ours put there."""
        fingerprints = self.collections.fingerprints(stacked(records, 1))
        return [
            record
            for record, fingerprint in zip(records, fingerprints, strict=True)
            if record.provenance.source is None or not self.collections.same(record.provenance.digest, fingerprint)
        ]

    def orphans(self, ids: Sequence[str]) -> list[str]:
        """Return those of the given ids whose target record was converted, and whose source record is gone."""
        lacking = absent(ids, self.collections.present(self.source, ids))
        entries = self.collections.provenances(self.target, lacking)
        converted = [key for key, entry in entries.items() if entry.source is not None]
        return absent(converted, self.collections.present(self.source, converted))  # it may have come back meanwhile

    def _texts(self, records: Sequence[Record]) -> list[str] | None:
        if self.text_column is None:
            return None
        values = [self.collections.value(record, self.text_column) for record in records]
        return [value if isinstance(value, str) else "" for value in values]


def absent(ids: Sequence[str], present: Collection[str]) -> list[str]:
    """Return the ids that are not among those present."""
    return [key for key in ids if key not in present]
