"""What applications change in the moment of a switch, found by ids and digests of records.

Before the switch, the ids of converted records are noted. Afterwards, a record that is only in the old collection was
deleted from the new one if its id was noted, and came in late otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from embcompat.stores.collections.records import Provenance, Record
from embcompat.stores.collections.sides import Sides, absent

SETTLED: Final = "settled"
"""Key of the memo under which a cutover notes, at its end, what it left in the old collection."""


def begin(sides: Sides, convert: Callable[[list[Record]], None]) -> None:
    """Note that a cutover is under way, convert the last records, and note which the new collection has.

    Args:
        sides: Both collections.
        convert: Converts and writes records of the old collection.
    """
    collections, name = sides.collections, sides.target
    collections.set_memo(name, {key: value for key, value in collections.memo(name).items() if key != SETTLED})
    collections.forget(name)
    for ids in collections.ids(sides.source):
        known = sides.known(ids)
        if records := collections.read(sides.source, absent(ids, known)):
            convert(records)
            known = sides.known(ids)
        collections.see(name, _converted(known))


def is_settled(sides: Sides) -> bool:
    """Return whether the cutover has come to its end."""
    return SETTLED in sides.collections.memo(sides.target)


def settle(sides: Sides) -> None:
    """Note what the cutover left in the old collection: records that cannot be converted, with their digests."""
    collections, name = sides.collections, sides.target
    left_out: dict[str, int] = {}
    for ids in collections.ids(sides.source):
        present = collections.present(name, ids)
        unseen = absent(ids, collections.seen(name, ids))
        if latest := [key for key in unseen if key in present]:  # they came in late, and were converted
            collections.see(name, _converted(collections.provenances(name, latest)))
        records = collections.read(sides.source, absent(unseen, present))
        left_out |= zip([record.id for record in records], sides.digests(records), strict=True)
    collections.set_memo(name, {**collections.memo(name), SETTLED: {"left_out": left_out}})


def late(sides: Sides) -> Iterator[list[Record]]:
    """Find records of the old collection that those in service were not made from.

    A record that the application has written since in the new collection, or whose other data it has changed there,
    stays as it is.
    """
    left_out = sides.collections.memo(sides.target).get(SETTLED, {}).get("left_out", {})
    for records in sides.pages(sides.source):
        digests, ids = sides.digests(records), [record.id for record in records]
        entries = sides.collections.provenances(sides.target, ids)
        lacking = absent(ids, entries)
        unseen = set(absent(lacking, sides.collections.seen(sides.target, lacking)))
        outdated = _outdated(sides, records, digests, entries)
        rows = [
            record
            for record, digest in zip(records, digests, strict=True)
            if record.id in outdated or (record.id in unseen and left_out.get(record.id) != digest)
        ]
        if rows:
            yield rows


def revived(sides: Sides) -> Iterator[list[str]]:
    """Find records in service that were made from a record that is gone, unless the application wrote them since."""
    collections = sides.collections
    for ids in collections.ids(sides.target):
        orphans = collections.read(sides.target, sides.orphans(ids))
        foreign = {record.id for record in sides.foreign(orphans)} if orphans else set()
        if deleted := [record.id for record in orphans if record.id not in foreign]:
            yield deleted


def _converted(entries: Mapping[str, Provenance]) -> list[str]:
    return [key for key, entry in entries.items() if entry.source is not None]


def _outdated(sides: Sides, records: list[Record], digests: list[int], entries: Mapping[str, Provenance]) -> set[str]:
    """Return the ids of records that were made from another source record than the one that is there."""
    doubtful = {
        record.id: (record, digest)
        for record, digest in zip(records, digests, strict=True)
        if (entry := entries.get(record.id)) is not None
        and (entry.source != digest or entry.rest != record.rest_digest())
    }
    present = sides.collections.read(sides.target, list(doubtful))
    return {target.id for target in present if _is_late(*doubtful[target.id], target)}


def _is_late(record: Record, digest: int, current: Record) -> bool:
    provenance = current.provenance
    if provenance.source is None:
        return False
    if provenance.source != digest:
        return True
    return provenance.rest == current.rest_digest() != record.rest_digest()
