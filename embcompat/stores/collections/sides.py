"""The two collections of a migration, and keeping them in step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from embcompat.spaces import SpaceVersion
from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import UNKNOWN, Provenance, Record, rows_of, stacked
from embcompat.stores.values import Coverage, Pairs, Rows, TargetRows

SETTLED: Final = "settled"
"""Key of the memo under which a cutover notes what it left in the old collection."""


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

    def pages(self, name: str) -> Iterator[list[Record]]:
        """Read a whole collection page by page."""
        for ids in self.collections.ids(name):
            yield self.collections.read(name, ids)

    def known(self, ids: Sequence[str]) -> dict[str, Provenance]:
        """Return the provenance of the target records that were converted, or that an application declared."""
        provenances = self.collections.provenances(self.target, ids)
        return {key: entry for key, entry in provenances.items() if entry != UNKNOWN}

    def reconciled(self, records: Sequence[Record], *, in_service: bool) -> list[Record]:
        """Complete converted records by what the target holds under their ids.

        A native vector stays if an application declared it, or if its source record is still the same. Once the target
        is in service, other data that the application has changed stays, too.

        Args:
            records: Converted records with the other data and the digest of their source records.
            in_service: Whether the target is in service.
        """
        known = self.collections.provenances(self.target, [record.id for record in records])
        present = {record.id: record for record in self.collections.read(self.target, list(known))} if known else {}
        digests = self.collections.fingerprints(stacked(records, 1))
        complete = []
        for record, digest in zip(records, digests, strict=True):
            target = present.get(record.id)
            provenance = replace(record.provenance, rest=record.rest_digest(), digest=digest)
            vector, rest = record.vector, record.rest
            if target is not None and target.provenance.artifact is None:
                if target.provenance.source is None and target.provenance.space == provenance.space:
                    continue
                if target.provenance.source == provenance.source:
                    vector = target.vector
                    provenance = replace(provenance, artifact=None, digest=target.provenance.digest)
            if target is not None and in_service and target.rest_digest() != target.provenance.rest:
                rest = target.rest
            complete.append(Record(record.id, vector, rest, provenance))
        return complete

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
        ids = [
            key
            for page in self.collections.ids(self.target)
            for key, entry in self.known(page).items()
            if entry.artifact == artifact_id
        ]
        places = np.random.default_rng(seed).permutation(len(ids))[:count]
        return [ids[place] for place in places]

    def coverage(self, space_id: str) -> Coverage:
        """Count the records of both sides, while the target is not in service."""
        rows = converted = orphans = native = 0
        for ids in self.collections.ids(self.source):
            rows += len(ids)
            converted += len(self.known(ids))
        for ids in self.collections.ids(self.target):
            entries = self.collections.provenances(self.target, ids)
            orphans += len(self._without_source(entries))
            native += sum(entry.space == space_id and entry.artifact is None for entry in entries.values())
        return Coverage(rows, 0, converted, orphans, native)

    def remove_orphans(self) -> int:
        """Remove target records that were made from a source record that is gone; return how many."""
        removed = 0
        for ids in self.collections.ids(self.target):
            orphans = self._without_source(self.collections.provenances(self.target, ids))
            self.collections.delete(self.target, orphans)
            removed += len(orphans)
        return removed

    def late(self) -> Iterator[tuple[list[Record], list[int]]]:
        """Find source records that those in service were not made from, with the digests on record.

        A record that the application has written since, or whose other data it has changed since, stays as it is. One
        that is only in the old collection came in late, unless the cutover has seen it there or it was deleted since.
        """
        grown, left_out = self._settled()
        for records in self.pages(self.source):
            entries = self.collections.provenances(self.target, [record.id for record in records])
            digests = self.rows(records, [0] * len(records)).digests().tolist()
            doubtful = [
                record.id
                for record, digest in zip(records, digests, strict=True)
                if (entry := entries.get(record.id)) is not None
                and (entry.source != digest or entry.rest != record.rest_digest())
            ]
            present = {record.id: record for record in self.collections.read(self.target, doubtful)}
            late: list[Record] = []
            recorded: list[int] = []
            for record, digest in zip(records, digests, strict=True):
                current = present.get(record.id)
                came_in = grown and record.id not in entries and record.id not in left_out
                if came_in or (current is not None and _is_late(record, digest, current)):
                    late.append(record)
                    recorded.append(0 if current is None else current.provenance.source or 0)
            if late:
                yield late, recorded

    def revived(self) -> Iterator[list[str]]:
        """Find records in service that were made from a source record that is gone."""
        for ids in self.collections.ids(self.target):
            if orphans := self._without_source(self.collections.provenances(self.target, ids)):
                yield orphans

    def foreign(self, records: Sequence[Record]) -> list[Record]:
        """Return records whose vector neither the migration nor a native write of ours put there."""
        fingerprints = self.collections.fingerprints(stacked(records, 1))
        return [
            record
            for record, fingerprint in zip(records, fingerprints, strict=True)
            if record.provenance.source is None or not self.collections.same(record.provenance.digest, fingerprint)
        ]

    def settle(self) -> None:
        """Note what the cutover left in the old collection alone: records that cannot be converted."""
        left_out = [
            key
            for ids in self.collections.ids(self.source)
            for key in _absent(ids, self.collections.provenances(self.target, ids))
        ]
        memo = self.collections.memo(self.target)
        noted = {"rows": self.collections.count(self.source), "left_out": left_out}
        self.collections.set_memo(self.target, {**memo, SETTLED: noted})

    def unsettle(self) -> None:
        """Note that a switch is coming, of which nobody knows yet what it leaves in the old collection."""
        memo = self.collections.memo(self.target)
        self.collections.set_memo(self.target, {key: value for key, value in memo.items() if key != SETTLED})

    def bring_back(self) -> tuple[int, list[str]]:
        """Bring what changed since the cutover back to the source, but no vectors.

        Records deleted since are deleted there, and other data that was changed since is changed there.

        Returns:
            The number of records in service that have no old vector of their own, because they came in or got another
            vector since; and the ids of those whose provenance is not that of their vector any more.
        """
        grown, left_out = self._settled()
        for ids in () if grown else self.collections.ids(self.source):
            absent = _absent(ids, self.collections.provenances(self.target, ids))
            self.collections.delete(self.source, [key for key in absent if key not in left_out])
        without = 0
        replaced: list[str] = []
        for records in self.pages(self.target):
            old = {record.id: record for record in self.collections.read(self.source, [r.id for r in records])}
            foreign = self.foreign(records)
            without += len({record.id for record in foreign} | {r.id for r in records if r.id not in old})
            replaced += [record.id for record in foreign if record.provenance.source is not None]
            changed = [
                replace(old[record.id], rest=record.rest)
                for record in records
                if record.id in old and record.provenance.rest != record.rest_digest() != old[record.id].rest_digest()
            ]
            self.collections.write(self.source, changed)
        return without, replaced

    def _settled(self) -> tuple[bool, set[str]]:
        """Return whether the old collection may have grown since the cutover, and what the cutover left there."""
        settled = self.collections.memo(self.target).get(SETTLED)
        if settled is None:
            return True, set()
        return self.collections.count(self.source) > settled["rows"], set(settled["left_out"])

    def _without_source(self, entries: dict[str, Provenance]) -> list[str]:
        converted = [key for key, entry in entries.items() if entry.source is not None]
        return _absent(converted, self.collections.provenances(self.source, converted))

    def _texts(self, records: Sequence[Record]) -> list[str] | None:
        if self.text_column is None:
            return None
        values = [self.collections.value(record, self.text_column) for record in records]
        return [value if isinstance(value, str) else "" for value in values]


def _is_late(record: Record, digest: int, current: Record) -> bool:
    provenance = current.provenance
    if provenance.source is None:
        return False
    if provenance.source != digest:
        return True
    return provenance.rest == current.rest_digest() != record.rest_digest()


def _absent(ids: Sequence[str], present: dict[str, Any]) -> list[str]:
    return [key for key in ids if key not in present]
