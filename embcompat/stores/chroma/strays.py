"""Records of a collection that an application made between the renames of a switch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from embcompat.spaces import SpaceVersion
from embcompat.stores.chroma.connection import ChromaDatabase
from embcompat.stores.chroma.memos import METADATA_KEY, Memos

_PAGE_ROWS: Final = 1_000

_PASSES: Final = 20
"""Times that a collection is looked at for records that an application still writes [ours]."""

_ALL: Final = ("embeddings", "documents", "metadatas", "uris")


@dataclass(frozen=True)
class _Home:
    collection: Any
    dim: int | None
    space: str | None


def fold(database: ChromaDatabase, memos: Memos, stray: Any, sides: Sequence[Any]) -> str | None:
    """Copy the records of a collection to one whose vectors have the same length, and delete it.

    A record that is declared to be of a space goes to the collection of that space, others to the first that fits.
    Where that is the old collection, a cutover finds them as late rows; where it is the new one, a sweep finds them.

    Args:
        database: The database.
        memos: What is noted about collections.
        stray: The collection.
        sides: The collection that leaves and the one that comes; None for one that was deleted.

    Returns:
        A sentence about records that fit neither, which stay where they are; None if there are none.
    """
    homes = [_home(database, memos, side) for side in sides if side is not None]
    copies: dict[str, str] = {}
    for _ in range(_PASSES):
        if not _copy(database, stray, homes, copies):
            break
    copied_ids = list(copies)
    for start in range(0, len(copied_ids), _PAGE_ROWS):
        database.call(stray.delete, ids=copied_ids[start : start + _PAGE_ROWS])
    rest = int(database.call(stray.count))
    if rest:
        return f"{rest} of its records are in {stray.name!r} now."
    database.drop(stray.name)
    return None


def _copy(database: ChromaDatabase, stray: Any, homes: list[_Home], copies: dict[str, str]) -> int:
    """Copy records that are not among the copies yet, as they are; return how many."""
    count = 0
    ids = database.call(stray.get, include=[])["ids"]
    for start in range(0, len(ids), _PAGE_ROWS):
        rows = database.call(stray.get, ids=ids[start : start + _PAGE_ROWS], include=list(_ALL))
        columns = {name: rows[name] if rows[name] is not None else [None] * len(rows["ids"]) for name in _ALL}
        for place, key in enumerate(rows["ids"]):
            record = {name: [column[place]] for name, column in columns.items()}
            content = repr({name: np.asarray(value).tolist() for name, value in record.items()})
            home = _home_of(record, homes)
            if home is None or copies.get(key) == content:
                continue
            vectors = record.pop("embeddings")
            database.upsert(home, [key], vectors, **record)
            copies[key] = content
            count += 1
    return count


def _home_of(record: dict[str, list[Any]], homes: list[_Home]) -> Any:
    vector, metadata = record["embeddings"][0], record["metadatas"][0] or {}
    if vector is None:
        return None
    declared = _declared(metadata)
    fitting = [home for home in homes if home.dim in (None, len(vector))]
    fitting.sort(key=lambda home: declared is None or home.space != declared)
    return fitting[0].collection if fitting else None


def _declared(metadata: Mapping[str, Any]) -> str | None:
    try:
        return str(json.loads(metadata[METADATA_KEY])["space"])
    except (LookupError, TypeError, ValueError):
        return None


def _home(database: ChromaDatabase, memos: Memos, collection: Any) -> _Home:
    first = database.call(collection.get, limit=1, include=["embeddings"])["embeddings"]
    text = memos.get(str(collection.id)).get("vectors", {}).get("", {}).get("space")
    space = None if text is None else SpaceVersion.from_json(text, where="the note of a collection").id
    return _Home(collection, len(first[0]) if len(first) else None, space)
