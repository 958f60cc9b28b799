"""What a rollback brings back to the old collection: deletions and changed data, but no vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from embcompat.stores.collections.records import Record
from embcompat.stores.collections.sides import Sides, absent

_PASSES: Final = 20
"""Times that a rollback looks for changes, before the switch and after it [ours]."""


@dataclass
class Return:
    """What the application changed in the new collection, as far as it has been brought back.

    Attributes:
        without: Records of the new collection that have no old vector, because they came in or got another vector.
        replaced: Ids of those whose provenance is not that of their vector any more.
        changed: Digest of the other data of each record that the application has changed, by id.
        deleted: Ids of the records that were deleted.
    """

    without: int = 0
    replaced: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)


def bring_back(sides: Sides, past: Return, *, in_service: bool) -> None:
    """Look at all records and bring back what changed, until a look finds nothing.

    Args:
        sides: Both collections.
        past: What was brought back before; what is brought back now is added.
        in_service: Whether the old collection is in service again: then what the application has changed or written
            there stays.
    """
    for _ in range(_PASSES):
        if not _bring_deletions(sides, past) + _bring_changes(sides, past, in_service=in_service):
            break


def _bring_deletions(sides: Sides, past: Return) -> int:
    collections = sides.collections
    count = 0
    for ids in collections.ids(sides.source):
        lacking = absent(ids, collections.present(sides.target, ids))
        deleted = collections.seen(sides.target, lacking) - past.deleted
        collections.delete(sides.source, sorted(deleted))
        past.deleted |= deleted
        count += len(deleted)
    return count


def _bring_changes(sides: Sides, past: Return, *, in_service: bool) -> int:
    count = 0
    past.without, past.replaced = 0, []
    for ids in sides.collections.ids(sides.target):
        with sides.collections.exclusive():
            records = sides.collections.read(sides.target, ids)
            old = {record.id: record for record in sides.collections.read(sides.source, [r.id for r in records])}
            foreign = sides.foreign(records)
            past.without += len({record.id for record in foreign} | {r.id for r in records if r.id not in old})
            past.replaced += [record.id for record in foreign if record.provenance.source is not None]
            changed = [
                old[record.id]._replace(rest=record.rest)
                for record in records
                if record.id in old and _is_changed(record, old[record.id], past, in_service=in_service)
            ]
            sides.collections.write(sides.source, changed)
        count += len(changed)
    return count


def _is_changed(record: Record, old: Record, past: Return, *, in_service: bool) -> bool:
    """Return whether other data of a record waits to be brought back, and note what it is now."""
    digest, known = record.rest_digest(), past.changed.get(record.id, record.provenance.rest)
    if digest == known:
        return False
    past.changed[record.id] = digest
    current = old.rest_digest()
    return digest != current and (not in_service or current == known)
