"""What migrations note about Chroma collections, in a collection of their own.

A note belongs to the unique id of a collection, which a rename leaves as it is, so that a note needs no rename with its
collection, and the metadata of the user's collections stays untouched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, final
from uuid import uuid4

from embcompat.stores.chroma.connection import ChromaDatabase

MEMOS: Final = "embcompat-memos"
"""Name of the collection; it is there as long as it holds a note."""

METADATA_KEY: Final = "embcompat"
"""Key of a record's metadata under which its provenance is noted."""


@final
class Memos:
    """Notes under keys, and sets of ids under keys.

    Args:
        database: The database.
    """

    def __init__(self, database: ChromaDatabase) -> None:
        self._database = database
        self._ids: dict[str, set[str]] = {}

    def get(self, key: str) -> dict[str, Any]:
        """Return a note; empty where there is none."""
        documents = self._documents(ids=[key])
        return dict(json.loads(documents[0])) if documents else {}

    def put(self, key: str, note: Mapping[str, Any]) -> None:
        """Replace a note."""
        self._put(key, note, "")

    def remove(self, key: str) -> None:
        """Delete a note, and the collection with the last one."""
        self._remove(ids=[key])

    def note_ids(self, key: str, ids: Sequence[str]) -> None:
        """Add ids to a set."""
        known = self.noted_ids(key)
        self._put(f"ids {uuid4()}", list(ids), key)
        self._ids[key] = known.union(ids)

    def noted_ids(self, key: str) -> set[str]:
        """Return a set; it is read once."""
        if key not in self._ids:
            self._ids[key] = {each for document in self._documents(where={"of": key}) for each in json.loads(document)}
        return self._ids[key]

    def forget_ids(self, key: str) -> None:
        """Delete a set."""
        self._remove(where={"of": key})
        self._ids.pop(key, None)

    def _put(self, key: str, content: Any, owner: str) -> None:
        collection = self._database.create(MEMOS, embedding_function=None)
        columns = {"documents": [json.dumps(content)], "metadatas": [{"of": owner}]}
        self._database.call(collection.upsert, ids=[key], embeddings=[[1.0]], **columns)

    def _documents(self, **chosen: Any) -> list[str]:
        collection = self._database.collection(MEMOS)
        if collection is None:
            return []
        return list(self._database.call(collection.get, **chosen, include=["documents"])["documents"])

    def _remove(self, **chosen: Any) -> None:
        collection = self._database.collection(MEMOS)
        if collection is None:
            return
        self._database.call(collection.delete, **chosen)
        if not self._database.call(collection.count):
            self._database.drop(MEMOS)
