"""Exchanging two Chroma collections: two renames, which an interruption cannot leave half done for good.

Chroma renames one collection at a time, so between the renames there is none of the name. What is to happen is noted
before, so that whoever opens the gallery after an interruption ends it.
"""

from __future__ import annotations

from typing import Any, Final

from embcompat.errors import StoreError
from embcompat.stores.chroma.connection import ChromaDatabase
from embcompat.stores.chroma.memos import Memos

_TRIES: Final = 20
"""How often a collection that an application makes between the renames is taken away again [ours]."""

_PAGE_ROWS: Final = 1_000

_NAME_LENGTH: Final = 512
"""Most characters of a collection's name in Chroma."""


def switch(database: ChromaDatabase, memos: Memos, name: str, *, parked: str, entering: str) -> None:
    """Give a name to the collection ``entering``, and the collection that had it the name ``parked``.

    Raises:
        StoreError: If an application makes a collection of this name again and again, or the name ``parked`` is taken
            or too long.
    """
    collections = {entry.name: entry for entry in database.collections().values()}
    if parked in collections:
        raise StoreError(
            f"there is a collection {parked!r} already, which must not be overwritten. Rename or delete it."
        )
    if len(parked) > _NAME_LENGTH:
        raise StoreError(
            f"a name must have at most {_NAME_LENGTH} characters. Got {parked!r}, for the other collection."
        )
    leaving, coming = collections[name], collections[entering]
    memos.put(_key(name), {"leaving": str(leaving.id), "coming": str(coming.id), "parked": parked})
    finish_switch(database, memos, name)


def finish_switch(database: ChromaDatabase, memos: Memos, name: str) -> None:
    """End a switch that was begun, if there is one; it may be repeated after a kill.

    An application that makes the collection when it does not find it, as many do, may come between the renames. What
    it has written goes to the collection that leaves, where the cutover looks for late rows, and its collection is
    deleted.

    Raises:
        StoreError: If an application makes a collection of this name again and again.
    """
    plan = memos.get(_key(name))
    if not plan:
        return
    for _ in range(_TRIES):
        collections = database.collections()
        leaving, coming = collections.get(plan["leaving"]), collections.get(plan["coming"])
        holder = next((entry for entry in collections.values() if entry.name == name), None)
        if coming is None or (holder is not None and holder.id == coming.id):
            memos.remove(_key(name))
            return
        if leaving is not None and leaving.name == name:
            database.call(leaving.modify, name=plan["parked"])
        elif holder is not None:
            _fold(database, holder, leaving)
        try:
            database.call(coming.modify, name=name)
        except StoreError:  # the name was taken meanwhile
            continue
    raise StoreError(f"an application makes the collection {name!r} again and again. Stop it, and repeat the command.")


def _fold(database: ChromaDatabase, stray: Any, leaving: Any) -> None:
    """Move the records of a collection to another one, and delete it."""
    ids = database.call(stray.get, include=[])["ids"] if leaving is not None else []
    for start in range(0, len(ids), _PAGE_ROWS):
        chosen = ids[start : start + _PAGE_ROWS]
        rows = database.call(stray.get, ids=chosen, include=["embeddings", "documents", "metadatas", "uris"])
        others = {name: rows[name] for name in ("documents", "metadatas", "uris")}
        database.upsert(leaving, rows["ids"], rows["embeddings"], **others)
    database.drop(stray.name)


def _key(name: str) -> str:
    return f"switch {name}"
