"""What migrations note about Chroma collections, in a collection of their own.

A note belongs to the unique id of a collection, which a rename leaves as it is, so that a note needs no rename with its
collection, and the metadata of the user's collections stays untouched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, final

from embcompat.stores.chroma.connection import ChromaDatabase

MEMOS: Final = "embcompat-memos"
"""Name of the collection; it is there as long as it holds a note."""


@final
class Memos:
    """Notes under keys.

    Args:
        database: The database.
    """

    def __init__(self, database: ChromaDatabase) -> None:
        self._database = database

    def get(self, key: str) -> dict[str, Any]:
        """Return a note; empty where there is none."""
        collection = self._database.collection(MEMOS)
        if collection is None:
            return {}
        documents = self._database.call(collection.get, ids=[key], include=["documents"])["documents"]
        return dict(json.loads(documents[0])) if documents else {}

    def put(self, key: str, note: Mapping[str, Any]) -> None:
        """Replace a note."""
        collection = self._database.create(MEMOS, embedding_function=None)
        self._database.call(collection.upsert, ids=[key], embeddings=[[1.0]], documents=[json.dumps(note)])

    def remove(self, key: str) -> None:
        """Delete a note, and the collection with the last one."""
        collection = self._database.collection(MEMOS)
        if collection is None:
            return
        self._database.call(collection.delete, ids=[key])
        if not self._database.call(collection.count):
            self._database.drop(MEMOS)
