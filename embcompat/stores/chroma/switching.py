"""Exchanging two Chroma collections: two renames, which an interruption cannot leave half done for good.

Chroma renames one collection at a time, so between the renames there is none of the name. What is to happen is noted
before, so that whoever opens the gallery after an interruption ends it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from embcompat.errors import StoreError
from embcompat.stores.chroma.connection import ChromaDatabase
from embcompat.stores.chroma.memos import Memos
from embcompat.stores.chroma.strays import fold

_TRIES: Final = 20
"""How often a collection that an application makes between the renames is taken away again [ours]."""

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

    An application that makes the collection when it does not find it, as many do, may come between the renames. Its
    collection gets another name, and its records go to one of the two collections; see `fold`.

    Raises:
        StoreError: If an application makes a collection of this name again and again, or has written records that fit
            neither collection; then the switch was ended, and the next call raises nothing.
    """
    plan = memos.get(_key(name))
    if not plan:
        return
    for _ in range(_TRIES):
        collections = database.collections()
        leaving, coming = collections.get(plan["leaving"]), collections.get(plan["coming"])
        holder = next((entry for entry in collections.values() if entry.name == name), None)
        if coming is None or (holder is not None and holder.id == coming.id):
            break
        if leaving is not None and leaving.name == name:
            database.call(leaving.modify, name=plan["parked"])
        elif holder is not None:
            plan = {**plan, "strays": [*plan.get("strays", []), str(holder.id)]}
            memos.put(_key(name), plan)
            database.call(holder.modify, name=f"{name}__stray_{holder.id}")
        with suppress(StoreError):  # the name was taken meanwhile
            database.call(coming.modify, name=name)
    else:
        raise StoreError(
            f"an application makes the collection {name!r} again and again. Stop it, and repeat the command."
        )
    strays = [collections[stray] for stray in plan.get("strays", []) if stray in collections]
    leftovers = [text for stray in strays if (text := fold(database, memos, stray, (leaving, coming)))]
    memos.remove(_key(name))
    if leftovers:
        raise StoreError(
            f"the cutover or rollback of {name!r} switched the collections. An application made a collection of this "
            f"name in that moment, with vectors that fit neither the old nor the new one. {' '.join(leftovers)} Write "
            f"what you need of them to {name!r}, delete that collection, and repeat the command."
        )


def _key(name: str) -> str:
    return f"switch {name}"
