"""Indexes behind an alias: a second one beside the first, and an alias that moves from one to the other.

A converted document carries its provenance in the field ``embcompat``, which is stored and not indexed. An application
that writes native vectors of the new model gives its documents ``{"embcompat": {"space": "name@version"}}``. What
migrations have noted about an index stands in the ``_meta`` of its mapping. Documents without a vector are no records
of the gallery; they are copied as they are when the alias moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError, StoreError
from embcompat.similarities import Similarity
from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import Provenance, Record
from embcompat.stores.collections.sketches import alike, sketches
from embcompat.stores.opensearch.aliases import index_of
from embcompat.stores.opensearch.bulk import bulk
from embcompat.stores.opensearch.connection import RequestError, Server, quoted
from embcompat.stores.opensearch.creating import create_index, template_aliases
from embcompat.stores.opensearch.documents import (
    PROVENANCE,
    address_of,
    change_of,
    document_of,
    key_of,
    provenance_of,
    record_of,
    value_at,
)
from embcompat.stores.opensearch.mappings import VectorField, index_like, new_fields, vector_field
from embcompat.stores.opensearch.noted import note_ids, noted_ids
from embcompat.stores.opensearch.pages import count, documents, pages, query_of
from embcompat.stores.opensearch.switching import switch


@final
class Indexes(Collections):
    """The indexes of a server; see `Collections`.

    Args:
        server: The server.
        alias: The alias that applications use.
        path: Where the vector is in a document: the names of the objects that it is in, and its own.
        where: What to call the gallery in errors.

    Attributes:
        version: That of the server, as two numbers.
    """

    def __init__(self, server: Server, alias: str, path: tuple[str, ...], *, where: str) -> None:
        self.version = server.version
        self._server, self._alias, self._path, self._where = server, alias, path, where
        self._fields: dict[str, VectorField] = {}
        self._indexes: dict[str, dict[str, Any]] = {}
        self._served: str | None = None
        self._versions: dict[tuple[str, str], tuple[int, int] | None] | None = None

    def index(self, name: str) -> dict[str, Any]:
        """Return the mapping, the flat settings and the aliases of an index.

        Raises:
            InputError: If there is none.
        """
        index = self.own_name(name)
        answer = self._server.lookup("GET", f"/{quoted(index)}", {"flat_settings": "true"}) or {}
        if index not in answer:
            raise InputError(f"{self._where}: there is no index or alias {name!r}.")
        return dict(answer[index])

    def pipeline(self, name: str) -> dict[str, Any]:
        """Return an ingest pipeline; empty where there is none."""
        answer = self._server.lookup("GET", f"/_ingest/pipeline/{quoted(name)}") or {}
        return dict(answer.get(name, {}))

    def field(self, name: str) -> VectorField:
        """Return the field of the vectors, which is the same as long as an index is there."""
        index = self.own_name(name)
        if index not in self._fields:
            self._fields[index] = vector_field(
                self._lasting(index), self._path, self._server.product, where=self._where
            )
        return self._fields[index]

    def own_name(self, name: str) -> str:
        """Return the index that the alias stands for, as it was when the memo was last read."""
        if name != self._alias:
            return name
        if self._served is None:
            self._served = index_of(self._server, name, where=self._where)
        return self._served

    def exists(self, name: str) -> bool:
        """Return whether there is an index of this name."""
        return bool(name) and self._server.lookup("GET", f"/{quoted(self.own_name(name))}/_alias") is not None

    def dim(self, name: str) -> int:
        """Return the declared length of the vectors."""
        return self.field(name).dim

    def metric(self, name: str) -> Similarity | None:
        """Return how queries compare the vectors; None where each query says that."""
        return self.field(name).similarity

    def count(self, name: str) -> int:
        """Count the documents that have a vector."""
        return count(self._server, self.own_name(name), self._with_vector(), where=self._where)

    def memo(self, name: str) -> dict[str, Any]:
        """Read the ``_meta`` of a mapping."""
        return dict(self._meta(name).get(PROVENANCE, {}))

    def set_memo(self, name: str, memo: Mapping[str, Any]) -> None:
        """Change the ``_meta`` of a mapping, of which a server replaces all."""
        meta = {**self._meta(name), PROVENANCE: dict(memo)}
        self._server.request("PUT", f"/{quoted(self.own_name(name))}/_mapping", body={"_meta": meta})

    def ids(self, name: str, *, where: str | None = None) -> Iterator[list[str]]:
        """Read ids from a point in time; ``where`` is a query in the product's language, as JSON."""
        query = self._with_vector()
        if where is not None:
            query = {"bool": {"filter": [query, query_of(where, self._where)]}}
        try:
            yield from ([key_of(hit) for hit in hits] for hits in self._pages(name, query))
        except RequestError as error:
            if where is None or error.status != 400:
                raise
            raise InputError(f"{self._where} does not understand the query {where!r}: {error}") from error

    def read(self, name: str, ids: Sequence[str]) -> list[Record]:
        """Read documents by id; those without a vector are left out."""
        dim = self.dim(name)
        hits = self._documents(name, ids)
        records = (record_of(hit, self._path, dim=dim, where=self._where) for hit in hits)
        return [record for record in records if record is not None]

    def provenances(self, name: str, ids: Sequence[str]) -> dict[str, Provenance]:
        """Read the provenance of documents by id."""
        hits = self._documents(name, ids, only=PROVENANCE)
        return {key_of(hit): provenance_of(hit.get("_source", {}).get(PROVENANCE)) for hit in hits}

    def put(self, name: str, records: Sequence[Record], existing: Mapping[str, Record]) -> None:  # noqa: ARG002
        """Index documents, without the default ingest pipeline."""
        self._bulk(name, "index", [(record.id, document_of(record, self._path)) for record in records])

    def write_vectors(self, name: str, records: Sequence[Record]) -> None:
        """Update the vectors of documents, and their provenance."""
        self._bulk(name, "update", [(record.id, {"doc": change_of(record, self._path)}) for record in records])

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete documents by id."""
        bulk(self._server, self.own_name(name), [({"delete": address_of(key)}, None) for key in ids], where=self._where)

    def see(self, name: str, ids: Sequence[str]) -> None:
        """Write ids to an index of their own."""
        note_ids(self._server, self._noted(name), ids, where=self._where)

    def seen(self, name: str, ids: Sequence[str]) -> set[str]:
        """Look ids up in their index."""
        return noted_ids(self._server, self._noted(name), ids, where=self._where)

    def forget(self, name: str) -> None:
        """Delete the index of ids."""
        self._server.lookup("DELETE", f"/{quoted(self._noted(name))}")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Make writes conditional: documents that changed since they were read here stay as they are.

        What is left out so is seen as late when all documents are looked at again.
        """
        self._versions = {}
        try:
            yield
        finally:
            self._versions = None

    def value(self, record: Record, column: str) -> Any:
        """Return the value of a field; None where a document lacks it."""
        return value_at(record.rest, column.split("."))

    def create_like(self, source: str, target: str, *, dim: int, metric: Similarity | None) -> None:
        """Make an index with the mapping and the settings of another one, and no alias, unless it is there."""
        if self.exists(target):
            return
        body = index_like(self.index(source), self._path, self._server, dim=dim, metric=metric)
        create_index(self._server, target, body, where=self._where)

    def add_fields(self, source: str, target: str) -> None:
        """Add to a mapping the fields that another index has got since."""
        known = self.index(target)["mappings"]
        if fields := new_fields(self.index(source)["mappings"], known):
            self._server.request("PUT", f"/{quoted(target)}/_mapping", body={"properties": fields})

    def template_aliases(self, name: str) -> list[str]:
        """Return the aliases that index templates of the server would give a new index."""
        return template_aliases(self._server, name)

    def drop(self, name: str) -> None:
        """Delete an index and its index of ids, if it is there.

        Raises:
            StoreError: If an alias stands for it.
        """
        if not self.exists(name):
            return
        if aliases := self.index(name)["aliases"]:
            raise StoreError(
                f"{self._where}: index {name!r} is behind the alias {', '.join(aliases)}. Nothing is deleted."
            )
        self._server.lookup("DELETE", f"/{quoted(name)}")
        self.forget(name)

    def switch(self, name: str, *, parked: str, entering: str) -> None:  # noqa: ARG002 - indexes keep their names
        """Move all aliases to another index in one step; documents without a vector are copied before and after."""
        leaving = self.own_name(name)
        self.add_fields(leaving, entering)
        shards = {index: self._shards(index) for index in (leaving, entering)}
        switch(self._server, leaving, entering, vectors=self._with_vector(), shards=shards, where=self._where)
        self._served = None

    def fingerprints(self, vectors: NDArray[np.float32]) -> list[int]:
        """Return sketches of directions: some indexes store unit vectors, or give vectors back as they index them."""
        return sketches(vectors)

    def same(self, fingerprint: int | None, other: int) -> bool:
        """Return whether two sketches are of one direction."""
        return fingerprint is not None and alike(fingerprint, other)

    def finish_index(self, name: str) -> None:
        """Make all documents searchable."""
        self._server.request("POST", f"/{quoted(self.own_name(name))}/_refresh")

    def index_kind(self, name: str) -> str | None:
        """Return how the vectors are indexed."""
        return self.field(name).method

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _noted(self, name: str) -> str:
        return f"{self.own_name(name)}__ids"

    def _documents(self, name: str, ids: Sequence[str], *, only: str | None = None) -> list[dict[str, Any]]:
        """Read documents, and note their versions where writes are conditional."""
        index = self.own_name(name)
        hits = documents(self._server, index, ids, where=self._where, only=only)
        if self._versions is not None:
            versions = {key_of(hit): (hit["_seq_no"], hit["_primary_term"]) for hit in hits}
            for key in ids:
                self._versions.setdefault((index, key), versions.get(key))
        return hits

    def _bulk(self, name: str, action: str, documents: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        index, operations = self.own_name(name), []
        for key, document in documents:
            verb, options = action, dict[str, Any](address_of(key))
            if self._versions is not None and (index, key) in self._versions:
                version = self._versions[index, key]
                if version is None:
                    verb = "create"
                else:
                    options |= {"if_seq_no": version[0], "if_primary_term": version[1]}
            operations.append(({verb: options}, document))
        bulk(self._server, index, operations, where=self._where)

    def _lasting(self, index: str) -> dict[str, Any]:
        """Return the mapping and the settings of an index for what of them never changes."""
        if index not in self._indexes:
            self._indexes[index] = self.index(index)
        return self._indexes[index]

    def _meta(self, name: str) -> dict[str, Any]:
        answer = self._server.lookup("GET", f"/{quoted(name)}/_mapping") or {}
        if name == self._alias and len(answer) == 1:
            (self._served,) = answer
        return dict(answer.get(self.own_name(name), {}).get("mappings", {}).get("_meta", {}))

    def _with_vector(self) -> dict[str, Any]:
        return {"exists": {"field": ".".join(self._path)}}

    def _pages(self, name: str, query: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
        index = self.own_name(name)
        yield from pages(self._server, index, query, shards=self._shards(index), size=self.page_rows, where=self._where)

    def _shards(self, index: str) -> int:
        return int(self._lasting(index)["settings"].get("index.number_of_shards", 1))
