"""Milvus collections: a second one beside the first, and an alias that moves from one to the other.

A converted record carries its provenance under ``embcompat``: a dynamic field where the collection has such, otherwise
a JSON field. An application that writes native vectors of the new model gives them ``{"space": "name@version"}`` there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, final

import numpy as np
from pymilvus import DataType

from embcompat.errors import InputError, StoreError
from embcompat.similarities import Similarity
from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import UNKNOWN, Provenance, Record
from embcompat.stores.collections.rewriting import rewrite_shrunk
from embcompat.stores.milvus.connection import Milvus
from embcompat.stores.milvus.schema import METRICS, PROVENANCE, create_like, partitions
from embcompat.stores.milvus.values import entry_of, literal, provenance

_PARTITION: Final = "partition of the record"
"""Under this name, which no field can have, the rest of a record tells its partition."""

_KEY_LENGTH: Final = 65_535
"""Longest text that Milvus takes as a key."""

_ALL: Final = {"consistency_level": "Strong"}
"""Option of reads that see every write that was acknowledged."""


@final
class MilvusCollections(Collections):
    """The collections of a Milvus database; see `Collections`.

    Args:
        client: The client.
        alias: The alias that applications use.
        vector: The vector field that is looked at.
        lite: Whether it is a file of Milvus Lite, which reads records in any order.
        where: What to call the gallery in errors.
    """

    notes_each_vector = False

    def __init__(self, client: Milvus, alias: str, vector: str, *, lite: bool, where: str) -> None:
        self._client, self._alias, self._vector, self.lite, self._where = client, alias, vector, lite, where
        self._loaded: set[str] = set()
        self._key_fields: dict[str, dict[str, Any]] = {}

    def description(self, name: str) -> dict[str, Any]:
        """Return what Milvus tells of a collection."""
        return dict(self._client.describe_collection(self.own_name(name)))

    def index(self, name: str) -> dict[str, Any] | None:
        """Return what Milvus tells of the index of the vectors; None where there is none."""
        collection = self.own_name(name)
        each = (self._client.describe_index(collection, index) for index in self._client.list_indexes(collection))
        return next((dict(index) for index in each if index["field_name"] == self._vector), None)

    def own_name(self, name: str) -> str:
        """Return the collection that the alias points to."""
        if name != self._alias:
            return name
        try:
            return str(self._client.describe_alias(name)["collection_name"])
        except StoreError as error:
            if self._client.has_collection(name):
                raise InputError(
                    f"{self._where}: {name!r} is a collection, and Milvus switches only aliases in one step. Make an "
                    "alias for the collection, let applications use it, and name it here."
                ) from error
            listed = ", ".join(sorted(self._client.list_collections())) or "none"
            raise InputError(f"{self._where}: there is no alias {name!r}. Collections: {listed}.") from error

    def exists(self, name: str) -> bool:
        """Return whether there is a collection of this name."""
        return bool(self._client.has_collection(self.own_name(name)))

    def dim(self, name: str) -> int:
        """Return the declared length of the vectors."""
        fields = {field["name"]: field for field in self.description(name)["fields"]}
        vectors = [key for key, field in fields.items() if "dim" in field["params"]]
        if self._vector not in vectors:
            listed = ", ".join(vectors)
            raise InputError(f"{self._where}: there is no vector field {self._vector!r}. Vector fields: {listed}.")
        kind = fields[self._vector]["type"]
        if kind != DataType.FLOAT_VECTOR:
            raise InputError(f"{self._where}: field {self._vector!r} must be a FLOAT_VECTOR. It is a {kind.name}.")
        return int(fields[self._vector]["params"]["dim"])

    def metric(self, name: str) -> Similarity | None:
        """Return the metric of the index; None where there is no index."""
        similarities = {spelling: similarity for similarity, spelling in METRICS.items()}
        index = self.index(name)
        return None if index is None else similarities[index["metric_type"]]

    def count(self, name: str) -> int:
        """Count the records."""
        return int(self._query(name, filter="", output_fields=["count(*)"])[0]["count(*)"])

    def memo(self, name: str) -> dict[str, Any]:
        """Read a property of a collection."""
        return dict(json.loads(self.description(name).get("properties", {}).get(PROVENANCE, "{}")))

    def set_memo(self, name: str, memo: Mapping[str, Any]) -> None:
        """Set a property of a collection."""
        self._client.alter_collection_properties(self.own_name(name), properties={PROVENANCE: json.dumps(memo)})

    def ids(self, name: str, *, where: str | None = None) -> Iterator[list[str]]:
        """Go through the keys: a server gives pages in their order, Milvus Lite all of them in any order."""
        key, condition = self._key(name), where or ""
        options: dict[str, Any] = {"output_fields": [key], **({} if self.lite else {"limit": self.page_rows})}
        while True:
            try:
                rows = self._query(name, filter=condition, **options)
            except StoreError as error:
                if where is None:
                    raise
                raise InputError(f"{self._where} cannot evaluate the condition {where!r}: {error}") from error
            keys = [str(row[key]) for row in rows]
            yield from (keys[start : start + self.page_rows] for start in range(0, len(keys), self.page_rows))
            if self.lite or len(keys) < self.page_rows:
                return
            after = f"{key} > {literal(self._native(name, keys[-1:])[0])}"
            condition = after if where is None else f"({where}) and {after}"

    def read(self, name: str, ids: Sequence[str]) -> list[Record]:
        """Read records by key, from each partition."""
        key = self._key(name)
        records = []
        for partition, rows in self._rows(name, ids, ["*"]):
            for row in rows:
                rest = {field: value for field, value in row.items() if field not in (key, self._vector, PROVENANCE)}
                vector = np.array(row[self._vector], dtype=np.float32)
                entry = provenance(row.get(PROVENANCE))
                records.append(Record(str(row[key]), vector, {**rest, _PARTITION: partition}, entry))
        return records

    def provenances(self, name: str, ids: Sequence[str]) -> dict[str, Provenance]:
        """Read the provenance of records by key."""
        key, description = self._key(name), self.description(name)
        declared = description["enable_dynamic_field"] or PROVENANCE in {f["name"] for f in description["fields"]}
        columns = [key, PROVENANCE] if declared else [key]
        return {
            str(row[key]): provenance(row.get(PROVENANCE)) for _, rows in self._rows(name, ids, columns) for row in rows
        }

    def present(self, name: str, ids: Sequence[str]) -> set[str]:
        """Look records up by key."""
        key = self._key(name)
        return {str(row[key]) for _, rows in self._rows(name, ids, [key]) for row in rows}

    def put(self, name: str, records: Sequence[Record], existing: Mapping[str, Record]) -> None:
        """Upsert records, into their partitions; those that must lose a dynamic field are deleted first."""
        records = rewrite_shrunk(self, name, records, existing, _shrinks)
        ids = [record.id for record in records]
        groups: dict[str, list[dict[str, Any]]] = {}
        key_name = self._key(name)
        for record, key in zip(records, self._native(name, ids), strict=True):
            row = {**record.rest, key_name: key, self._vector: record.vector.tolist()}
            if record.provenance != UNKNOWN:
                row[PROVENANCE] = entry_of(record.provenance)
            groups.setdefault(row.pop(_PARTITION), []).append(row)
        for partition, rows in groups.items():
            if partition and not self._client.has_partition(self.own_name(name), partition):
                self._client.create_partition(self.own_name(name), partition)
            self._client.upsert(self.own_name(name), rows, **({"partition_name": partition} if partition else {}))

    def write_vectors(self, name: str, records: Sequence[Record]) -> None:
        """Upsert vectors and provenance alone."""
        keys = self._native(name, [record.id for record in records])
        groups: dict[str, list[dict[str, Any]]] = {}
        for record, key in zip(records, keys, strict=True):
            row = {self._key(name): key, self._vector: record.vector.tolist(), PROVENANCE: entry_of(record.provenance)}
            groups.setdefault(record.rest[_PARTITION], []).append(row)
        for partition, rows in groups.items():
            options = {"partition_name": partition} if partition else {}
            self._client.upsert(self.own_name(name), rows, partial_update=True, **options)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete records by key."""
        if ids:
            self._client.delete(self.own_name(name), filter=self._among(name, ids))

    def see(self, name: str, ids: Sequence[str]) -> None:
        """Write ids to a collection of their own."""
        noted = self._noted(name)
        if not self._client.has_collection(noted):
            fields = {"primary_field_name": "id", "id_type": "string", "max_length": _KEY_LENGTH}
            self._client.create_collection(noted, dimension=2, metric_type="L2", vector_field_name="v", **fields)
        if ids:
            self._client.upsert(noted, [{"id": each, "v": [0.0, 0.0]} for each in ids])

    def seen(self, name: str, ids: Sequence[str]) -> set[str]:
        """Look ids up in their collection."""
        noted = self._noted(name)
        if not ids or not self._client.has_collection(noted):
            return set()
        return {row["id"] for row in self._query(noted, filter=f"id in {literal(ids)}", output_fields=["id"])}

    def forget(self, name: str) -> None:
        """Delete the collection of ids."""
        self._loaded.discard(self._noted(name))
        self._client.drop_collection(self._noted(name))

    def value(self, record: Record, column: str) -> Any:
        """Return a field of a record; None where it lacks that dynamic field."""
        return record.rest.get(column)

    def create_like(self, source: str, target: str, *, dim: int, metric: Similarity | None) -> None:
        """Make a collection with fields, partitions, indexes and properties of another one, unless it is there."""
        if not self.exists(target):
            create_like(self._client, self.description(source), target, vector=self._vector, dim=dim, metric=metric)

    def drop(self, name: str) -> None:
        """Delete a collection, and its collection of ids.

        Raises:
            StoreError: If an alias points to it.
        """
        aliases = self._client.list_aliases(name)["aliases"] if self._client.has_collection(name) else []
        if aliases:  # Milvus Lite would delete them, too
            raise StoreError(
                f"{self._where}: collection {name!r} is still served by the alias {', '.join(aliases)}. Move or "
                "delete that alias first. Nothing was deleted."
            )
        self._client.drop_collection(name)
        self._loaded.discard(name)
        self.forget(name)

    def switch(self, name: str, *, parked: str, entering: str) -> None:  # noqa: ARG002 - collections keep their names
        """Point the alias to another collection, in one step."""
        self._client.alter_alias(entering, name)

    def index_kind(self, name: str) -> str | None:
        """Return the kind of index, which Milvus builds by itself."""
        index = self.index(name)
        return None if index is None else str(index["index_type"])

    def close(self) -> None:
        """Close the connection, or let go of the file."""
        self._client.close()

    def _query(self, name: str, **options: Any) -> list[dict[str, Any]]:
        """Read from a collection, which is loaded first: a file of Milvus Lite opens with none loaded."""
        collection = self.own_name(name)
        if collection not in self._loaded:
            self._client.load_collection(collection)
            self._loaded.add(collection)
        return list(self._client.query(collection, **options, **_ALL))

    def _noted(self, name: str) -> str:
        return f"{self.own_name(name)}__ids"

    def _key(self, name: str) -> str:
        return str(self._key_field(name)["name"])

    def _key_field(self, name: str) -> dict[str, Any]:
        collection = self.own_name(name)
        if collection not in self._key_fields:
            fields = self.description(collection)["fields"]
            self._key_fields[collection] = next(field for field in fields if field.get("is_primary"))
        return self._key_fields[collection]

    def _native(self, name: str, ids: Sequence[str]) -> list[Any]:
        """Return ids as keys."""
        if self._key_field(name)["type"] != DataType.INT64:
            return list(ids)
        try:
            return [int(identifier) for identifier in ids]
        except ValueError as error:
            raise StoreError(f"{self._where}: keys are integers. Got {', '.join(ids[:3])} …") from error

    def _among(self, name: str, ids: Sequence[str]) -> str:
        return f"{self._key(name)} in {literal(self._native(name, ids))}"

    def _rows(self, name: str, ids: Sequence[str], columns: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        if not ids:
            return
        condition = self._among(name, ids)
        for partition in partitions(self._client, self.description(name)):
            options = {"partition_names": [partition]} if partition else {}
            yield partition, self._query(name, filter=condition, output_fields=columns, **options)


def _shrinks(present: Record, record: Record) -> bool:
    return bool(present.rest.keys() - record.rest.keys()) or present.rest[_PARTITION] != record.rest[_PARTITION]
