"""Chroma collections: a second one beside the first, and two renames.

A converted record carries its provenance as JSON under the metadata key ``embcompat``. An application that writes
native vectors of the new model sets ``{"embcompat": '{"space": "name@version"}'}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError, StoreError
from embcompat.similarities import Similarity
from embcompat.stores.chroma.connection import ChromaDatabase
from embcompat.stores.chroma.memos import MEMOS, METADATA_KEY, Memos
from embcompat.stores.chroma.switching import switch
from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import UNKNOWN, Provenance, Record
from embcompat.stores.collections.rewriting import rewrite_shrunk
from embcompat.stores.collections.sketches import alike, sketches

SPACES: Final[dict[Similarity, str]] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
"""How Chroma names the metrics."""

_FIELDS: Final = Provenance._fields


@final
class ChromaCollections(Collections):
    """The collections of a Chroma database; see `Collections`.

    Args:
        database: The database.
        where: What to call the gallery in errors.
    """

    def __init__(self, database: ChromaDatabase, *, where: str) -> None:
        self._database, self._where = database, where
        self._memos = Memos(database)

    def exists(self, name: str) -> bool:
        """Return whether there is a collection of this name."""
        return self._database.collection(name) is not None

    def configuration(self, name: str) -> dict[str, Any]:
        """Return the configuration of a collection as JSON."""
        return dict(self._collection(name).configuration_json)

    def dim(self, name: str) -> int:
        """Return the length of the first vector; 0 where there is none."""
        first = self._get(name, limit=1, include=["embeddings"])["embeddings"]
        return len(first[0]) if len(first) else 0

    def metric(self, name: str) -> Similarity | None:
        """Return the metric of the HNSW index; None where it has another index."""
        similarities = {spelling: similarity for similarity, spelling in SPACES.items()}
        index = self.configuration(name).get("hnsw")
        return similarities[index["space"]] if index else None

    def count(self, name: str) -> int:
        """Count the records."""
        return int(self._database.call(self._collection(name).count))

    def memo(self, name: str) -> dict[str, Any]:
        """Return the note under the unique id of a collection."""
        return self._memos.get(str(self._collection(name).id))

    def set_memo(self, name: str, memo: Mapping[str, Any]) -> None:
        """Replace the note under the unique id of a collection."""
        self._memos.put(str(self._collection(name).id), memo)

    def ids(self, name: str, *, where: str | None = None) -> Iterator[list[str]]:
        """Read all ids at once, because pages by offset would shift under a writer; ``where`` is a filter as JSON."""
        options: dict[str, Any] = {} if where is None else {"where": self._filter(where)}
        try:
            ids = self._get(name, include=[], **options)["ids"]
        except StoreError as error:
            if where is None:
                raise
            raise InputError(f"{self._where} does not understand the filter {where!r}: {error}") from error
        yield from (ids[start : start + self.page_rows] for start in range(0, len(ids), self.page_rows))

    def read(self, name: str, ids: Sequence[str]) -> list[Record]:
        """Read records by id."""
        if not ids:
            return []
        rows = self._get(name, ids=list(ids), include=["embeddings", "documents", "metadatas", "uris"])
        absent = [None] * len(rows["ids"])
        columns = (rows["embeddings"], rows["documents"] or absent, rows["uris"] or absent, rows["metadatas"] or absent)
        return [
            Record(key, np.asarray(vector, np.float32), _rest(document, uri, metadata), _provenance(metadata))
            for key, vector, document, uri, metadata in zip(rows["ids"], *columns, strict=True)
        ]

    def provenances(self, name: str, ids: Sequence[str]) -> dict[str, Provenance]:
        """Read the metadata of records by id."""
        if not ids:
            return {}
        rows = self._get(name, ids=list(ids), include=["metadatas"])
        return {key: _provenance(metadata) for key, metadata in zip(rows["ids"], rows["metadatas"], strict=True)}

    def present(self, name: str, ids: Sequence[str]) -> set[str]:
        """Look records up by id."""
        return set(self._get(name, ids=list(ids), include=[])["ids"]) if ids else set()

    def put(self, name: str, records: Sequence[Record], existing: Mapping[str, Record]) -> None:
        """Upsert records; those that must lose a text are deleted first, because an upsert keeps it."""
        records = rewrite_shrunk(self, name, records, existing, _loses_text)
        self._database.upsert(
            self._collection(name),
            [record.id for record in records],
            [record.vector for record in records],
            documents=[record.rest["document"] for record in records],
            uris=[record.rest["uri"] for record in records],
            metadatas=[_metadata(record, existing.get(record.id)) for record in records],
        )

    def write_vectors(self, name: str, records: Sequence[Record]) -> None:
        """Update vectors and provenance alone, of those records that are still there."""
        if records:
            self._database.call(
                self._collection(name).update,
                ids=[record.id for record in records],
                embeddings=[record.vector for record in records],
                metadatas=[{METADATA_KEY: _entry(record.provenance)} for record in records],
            )

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete records by id."""
        if ids:
            self._database.call(self._collection(name).delete, ids=list(ids))

    def see(self, name: str, ids: Sequence[str]) -> None:
        """Note ids under the unique id of a collection."""
        if ids:
            self._memos.note_ids(str(self._collection(name).id), ids)

    def seen(self, name: str, ids: Sequence[str]) -> set[str]:
        """Look ids up among those noted."""
        return self._memos.noted_ids(str(self._collection(name).id)).intersection(ids) if ids else set()

    def forget(self, name: str) -> None:
        """Forget the ids noted."""
        self._memos.forget_ids(str(self._collection(name).id))

    def value(self, record: Record, column: str) -> Any:
        """Return the ``document``, the ``uri``, or a value of the metadata."""
        metadata = record.rest["metadata"]
        return record.rest[column] if column in ("document", "uri") else metadata.get(column)

    def create_like(self, source: str, target: str, *, dim: int, metric: Similarity | None) -> None:  # noqa: ARG002 - the first vector decides about dim
        """Make a collection with the metadata, the index settings and the embedding function of another one."""
        original = self._collection(source)
        index = dict(original.configuration_json.get("hnsw") or {})
        metadata = dict(original.metadata or {})
        if metric is not None:
            index["space"] = SPACES[metric]
            metadata |= {"hnsw:space": SPACES[metric]} if "hnsw:space" in metadata else {}
        configuration: dict[str, Any] = {"hnsw": index} if index else {}
        function = None
        if (original.configuration_json.get("embedding_function") or {}).get("type") == "known":
            function = self._database.call(lambda: original.configuration["embedding_function"])
        self._database.create(
            target, metadata=metadata or None, configuration=configuration, embedding_function=function
        )

    def drop(self, name: str) -> None:
        """Delete a collection and its note."""
        if self.exists(name):
            self.forget(name)
            self._memos.remove(str(self._collection(name).id))
            self._database.drop(name)

    def switch(self, name: str, *, parked: str, entering: str) -> None:
        """Rename both collections one after the other; a switch that was interrupted goes on when they are opened."""
        switch(self._database, self._memos, name, parked=parked, entering=entering)

    def fingerprints(self, vectors: NDArray[np.float32]) -> list[int]:
        """Return sketches of directions: Chroma rounds vectors that it compares by cosine."""
        return sketches(vectors)

    def same(self, fingerprint: int | None, other: int) -> bool:
        """Return whether two sketches differ in hardly a bit."""
        return fingerprint is not None and alike(fingerprint, other)

    def index_kind(self, name: str) -> str | None:
        """Return HNSW, which Chroma keeps up to date by itself, or SPANN on its cloud."""
        return "HNSW" if self.configuration(name).get("hnsw") else "SPANN"

    def close(self) -> None:
        """Let go of the folder or the connection."""
        self._database.close()

    def _collection(self, name: str) -> Any:
        collection = self._database.collection(name)
        if collection is None:
            listed = sorted(entry.name for entry in self._database.collections().values() if entry.name != MEMOS)
            raise InputError(
                f"{self._where}: there is no collection {name!r}. Collections: {', '.join(listed) or 'none'}."
            )
        return collection

    def _get(self, name: str, **options: Any) -> Any:
        return self._database.call(self._collection(name).get, **options)

    def _filter(self, text: str) -> dict[str, Any]:
        try:
            condition = json.loads(text)
        except ValueError as error:
            example = '{"lang": "en"}'
            raise InputError(
                f"{self._where} takes a filter of Chroma as JSON, for instance {example}. Got {text!r}."
            ) from error
        return dict(condition)


def _rest(document: str | None, uri: str | None, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    others = {key: value for key, value in (metadata or {}).items() if key != METADATA_KEY}
    return {"document": document, "uri": uri, "metadata": others}


def _provenance(metadata: Mapping[str, Any] | None) -> Provenance:
    if metadata is None or METADATA_KEY not in metadata:
        return UNKNOWN
    try:
        entry = json.loads(metadata[METADATA_KEY])
        return Provenance(*map(entry.get, _FIELDS))
    except (ValueError, TypeError, AttributeError):  # an application's own value
        return UNKNOWN


def _metadata(record: Record, present: Record | None) -> dict[str, Any] | None:
    """Return the metadata to upsert: what is to be, and None for what is to vanish."""
    removed = {} if present is None else dict.fromkeys(present.rest["metadata"])
    metadata = {**removed, **record.rest["metadata"]}
    if record.provenance != UNKNOWN:
        metadata[METADATA_KEY] = _entry(record.provenance)
    return metadata or None


def _entry(provenance: Provenance) -> str:
    entry = {field: getattr(provenance, field) for field in _FIELDS}
    return json.dumps({field: value for field, value in entry.items() if value is not None})


def _loses_text(present: Record, record: Record) -> bool:
    return any(record.rest[name] is None and present.rest[name] is not None for name in ("document", "uri"))
