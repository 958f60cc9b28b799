"""Records that a store must delete before it can write them as they are to be, which no kill may lose.

They are written to a collection of their own first, and stay there until they are back in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import Record

_SUFFIX: Final = "__rewriting"


def rewrite_shrunk(
    collections: Collections,
    name: str,
    records: Sequence[Record],
    present: Mapping[str, Record],
    shrinks: Callable[[Record, Record], bool],
) -> list[Record]:
    """Delete and write again the records of which an upsert would keep what they must lose; return the others.

    Args:
        collections: The store's collections.
        name: The collection that they are in.
        records: What is to be there.
        present: What is there, by id.
        shrinks: Whether a record that is there must lose something to become another.
    """
    shrunk = [record for record in records if record.id in present and shrinks(present[record.id], record)]
    if shrunk:
        _rewrite(collections, name, shrunk)
    ids = {record.id for record in shrunk}
    return [record for record in records if record.id not in ids]


def _rewrite(collections: Collections, name: str, records: Sequence[Record]) -> None:
    spare = f"{collections.own_name(name)}{_SUFFIX}"
    if collections.exists(spare):
        finish_rewriting(collections, [spare])
    collections.create_like(name, spare, dim=collections.dim(name), metric=None)
    collections.write(spare, records)
    collections.delete(name, [record.id for record in records])
    collections.write(name, records)
    collections.drop(spare)


def finish_rewriting(collections: Collections, names: Iterable[str]) -> None:
    """Put back what was being rewritten when a process was killed; a record that is there stays as it is.

    Args:
        collections: The store's collections.
        names: The names of all collections.
    """
    for spare in [name for name in names if name.endswith(_SUFFIX)]:
        name = spare.removesuffix(_SUFFIX)
        if collections.exists(name):
            for ids in collections.ids(spare):
                present = collections.present(name, ids)
                collections.write(name, collections.read(spare, [key for key in ids if key not in present]))
        collections.drop(spare)
