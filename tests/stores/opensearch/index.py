"""An index of the loopback server in `server.py`: documents, mapping, settings, and what it refuses.

Written after the public documentation and the REST specifications of both products; it stands in for no server.
"""

from __future__ import annotations

import copy
import math
import re
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VECTORS = {"opensearch": "knn_vector", "elasticsearch": "dense_vector"}
DIMS = {"opensearch": "dimension", "elasticsearch": "dims"}
PARAMETERS = {
    "knn_vector": {"type", "dimension", "method", "space_type", "data_type", "mode", "compression_level", "model_id"},
    "dense_vector": {"type", "dims", "similarity", "index", "index_options", "element_type"},
}
METRICS = {
    "opensearch": {"cosinesimil", "innerproduct", "l2", "l1", "linf"},
    "elasticsearch": {"cosine", "dot_product", "max_inner_product", "l2_norm"},
}
PRIVATE = ("creation_date", "history.", "provided_name", "resize.", "uuid", "version.")
SETTINGS = re.compile(
    r"index\.(number_of_shards|number_of_replicas|refresh_interval|knn(\.\w+)*|default_pipeline|final_pipeline|blocks\.\w+"
    r"|max_result_window|mapping\.\w+(\.\w+)*|search\.default_pipeline|lifecycle\.\w+|analysis\..*)"
)


class RefusalError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, reason

    def error(self) -> dict[str, Any]:
        return {"type": self.kind, "reason": self.reason}


def bad(reason: str, kind: str = "illegal_argument_exception") -> RefusalError:
    return RefusalError(400, kind, reason)


@dataclass
class Document:
    identifier: str
    routing: str | None
    source: dict[str, Any]
    shard: int
    seq_no: int
    version: int

    def hit(self, index: str) -> dict[str, Any]:
        routing = {} if self.routing is None else {"_routing": self.routing}
        return {"_index": index, "_id": self.identifier, **routing}


@dataclass
class Index:
    name: str
    product: str
    version: tuple[int, int]
    mappings: dict[str, Any]
    settings: dict[str, str]
    aliases: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: dict[tuple[int, str], Document] = field(default_factory=dict)
    searchable: list[Document] = field(default_factory=list)
    versions: dict[tuple[int, str], int] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9.][a-z0-9._-]*", self.name) or len(self.name) > 255:
            raise bad(f"Invalid index name [{self.name}], must be lowercase", "invalid_index_name_exception")
        for name in self.settings:
            if name.removeprefix("index.").startswith(PRIVATE):
                raise bad(f"private index setting [{name}] can not be set explicitly", "validation_exception")
            if not SETTINGS.fullmatch(name):
                raise bad(f"unknown setting [{name}]", "illegal_argument_exception")
        self.settings.setdefault("index.number_of_shards", "1")
        self.settings.setdefault("index.number_of_replicas", "1")
        if self.product == "elasticsearch" and self.version >= (9, 2):
            self.settings.setdefault("index.mapping.exclude_source_vectors", "true")
        if unknown := self.mappings.keys() - {"properties", "dynamic", "_meta", "_source", "_routing"}:
            raise bad(f"unsupported parameters: {sorted(unknown)}", "mapper_parsing_exception")
        self.check_properties(self.mappings.setdefault("properties", {}), "")

    @property
    def described(self) -> dict[str, Any]:
        details = {
            "index.uuid": f"uuid-{id(self)}",
            "index.creation_date": "1764000000000",
            "index.provided_name": self.name,
            "index.version.created": "9002000",
        }
        return {"aliases": self.aliases, "mappings": self.mappings, "settings": {**self.settings, **details}}

    def check_properties(self, properties: dict[str, Any], prefix: str) -> None:
        for name, definition in properties.items():
            kind = definition.get("type", "object")
            if kind == VECTORS[self.product]:
                self.check_vector(prefix + name, definition)
            elif kind in VECTORS.values():
                raise bad(f"No handler for type [{kind}] declared on field [{name}]", "mapper_parsing_exception")
            self.check_properties(definition.get("properties", {}), f"{prefix}{name}.")

    def check_vector(self, name: str, definition: dict[str, Any]) -> None:
        kind = definition["type"]
        if unknown := definition.keys() - PARAMETERS[kind]:
            raise bad(
                f"unknown parameter {sorted(unknown)} on mapper [{name}] of type [{kind}]", "mapper_parsing_exception"
            )
        dims = definition.get(DIMS[self.product])
        if dims is not None and not 1 <= dims <= 4096:
            raise bad(f"The number of dimensions for field [{name}] should be in the range [1, 4096] but was [{dims}]")
        method = definition.get("method", {})
        if method and self.settings.get("index.knn") != "true":
            raise bad(f"Cannot set method on [{name}] when index.knn is not true", "mapper_parsing_exception")
        if method.get("engine") == "nmslib" and self.version >= (3, 0):
            raise bad("nmslib engine is deprecated in OpenSearch and cannot be used for new index creation in 3.0.0")
        options = definition.get("index_options", {})
        if str(options.get("type", "")).startswith("bbq") and dims is not None and dims < 64:
            raise bad(f"bbq_hnsw quantized index requires dimensions to be at least 64; provided=[{dims}]")
        metric = self.metric(definition)
        if metric is not None and metric not in METRICS[self.product]:
            raise bad(f"Unknown value [{metric}] for field [{name}]", "mapper_parsing_exception")

    def metric(self, definition: dict[str, Any]) -> str | None:
        if self.product == "opensearch":
            method = definition.get("method", {})
            otherwise = self.settings.get("index.knn.space_type", "l2")
            return str(method.get("space_type") or definition.get("space_type") or otherwise)
        return definition.get("similarity", "cosine") if definition.get("index", True) else None

    def merge(self, change: dict[str, Any]) -> None:
        """Change the mapping; `_meta` is replaced as a whole."""
        if unknown := change.keys() - {"properties", "dynamic", "_meta"}:
            raise bad(f"unsupported parameters: {sorted(unknown)}", "mapper_parsing_exception")
        merged = copy.deepcopy(self.mappings)
        if "_meta" in change:
            merged["_meta"] = change["_meta"]
        self.merge_properties(merged["properties"], change.get("properties", {}), "")
        self.mappings = merged

    def merge_properties(self, present: dict[str, Any], change: dict[str, Any], prefix: str) -> None:
        for name, definition in change.items():
            old = present.setdefault(name, copy.deepcopy(definition))
            if old.get("type") != definition.get("type") or (
                old.get("type") in VECTORS.values()
                and old.get(DIMS[self.product]) != definition.get(DIMS[self.product])
            ):
                raise bad(f"mapper [{prefix}{name}] cannot be changed: Cannot update parameter [{DIMS[self.product]}]")
            if "properties" in definition:
                self.merge_properties(old.setdefault("properties", {}), definition["properties"], f"{prefix}{name}.")

    def shard_of(self, identifier: str, routing: str | None) -> int:
        return zlib.crc32((routing or identifier).encode(errors="surrogatepass")) % int(
            self.settings["index.number_of_shards"]
        )

    def find(self, identifier: str, routing: str | None) -> Document | None:
        if routing is None and self.mappings.get("_routing", {}).get("required"):
            raise bad(f"routing is required for [{self.name}]/[{identifier}]", "routing_missing_exception")
        return self.documents.get((self.shard_of(identifier, routing), identifier))

    def put(self, identifier: str, routing: str | None, source: dict[str, Any], options: dict[str, Any]) -> int:
        """Write a document; return the status."""
        present = self.find(identifier, routing)
        self.require_writable()
        self.check_condition(identifier, present, options)
        if options.get("create") and present is not None:
            raise RefusalError(409, "version_conflict_engine_exception", f"[{identifier}]: document already exists")
        self.check_object(source, self.mappings, "")
        shard = self.shard_of(identifier, routing)
        excluded = self.mappings.get("_source", {}).get("excludes", [])
        stored = {name: value for name, value in source.items() if name not in excluded}
        version = self.versions[shard, identifier] = self.versions.get((shard, identifier), 0) + 1
        self.documents[shard, identifier] = Document(
            identifier, routing, copy.deepcopy(stored), shard, self.next_number(shard), version
        )
        return 201 if present is None else 200

    def delete(self, identifier: str, routing: str | None, options: dict[str, Any]) -> int:
        present = self.find(identifier, routing)
        self.require_writable()
        self.check_condition(identifier, present, options)
        if present is None:
            return 404
        self.next_number(present.shard)
        del self.documents[present.shard, identifier]
        self.versions[present.shard, identifier] += 1
        return 200

    def next_number(self, shard: int) -> int:
        number = self.numbers.get(shard, 0)
        self.numbers[shard] = number + 1
        return number

    def require_writable(self) -> None:
        if self.settings.get("index.blocks.write") == "true":
            reason = f"index [{self.name}] blocked by: [FORBIDDEN/8/index write (api)];"
            raise RefusalError(403, "cluster_block_exception", reason)

    def check_condition(self, identifier: str, present: Document | None, options: dict[str, Any]) -> None:
        number = options.get("if_seq_no")
        if number is not None and (present is None or present.seq_no != number or options.get("if_primary_term") != 1):
            reason = f"[{identifier}]: version conflict, required seqNo [{number}], primary term [1]"
            raise RefusalError(409, "version_conflict_engine_exception", reason)

    def check_object(self, source: dict[str, Any], mapping: dict[str, Any], prefix: str) -> None:
        properties = mapping.setdefault("properties", {})
        dynamic = str(mapping.get("dynamic", self.mappings.get("dynamic", "true"))).lower()
        for name, value in source.items():
            if name not in properties:
                if dynamic == "strict":
                    reason = f"mapping set to strict, dynamic introduction of [{prefix}{name}] is not allowed"
                    raise RefusalError(400, "strict_dynamic_mapping_exception", reason)
                if dynamic == "true":
                    properties[name] = {"properties": {}} if isinstance(value, dict) else {"type": "text"}
                else:
                    continue
            definition = properties[name]
            if value is None or definition.get("enabled") is False:
                continue
            if definition.get("type") in VECTORS.values():
                self.check_value(f"{prefix}{name}", definition, value)
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, dict):
                    self.check_object(part, definition, f"{prefix}{name}.")

    def check_value(self, name: str, definition: dict[str, Any], value: Any) -> None:
        def refuse(reason: str) -> RefusalError:
            return RefusalError(400, "document_parsing_exception", f"failed to parse field [{name}]: {reason}")

        if not isinstance(value, list) or not all(isinstance(part, int | float) for part in value):
            raise refuse("a vector is a list of numbers")
        dims = definition.setdefault(DIMS[self.product], len(value))
        if len(value) != dims:
            raise refuse(f"The number of dimensions should be [{dims}] but was [{len(value)}]")
        if not all(math.isfinite(part) for part in value):
            raise refuse("NaN or infinite values are not supported")
        metric, length = self.metric(definition), float(np.linalg.norm(value))
        if metric in ("cosine", "dot_product", "cosinesimil") and length == 0.0:
            raise refuse(f"The [{metric}] similarity does not support vectors with zero magnitude")
        if metric == "dot_product" and abs(length * length - 1.0) > 1e-4:
            raise refuse("The [dot_product] similarity can only be used with unit-length vectors")

    def vectors(self) -> list[tuple[list[str], dict[str, Any]]]:
        """Return the paths and definitions of the fields of vectors."""

        def walk(mapping: dict[str, Any], path: list[str]) -> list[tuple[list[str], dict[str, Any]]]:
            fields = []
            for name, definition in mapping.get("properties", {}).items():
                if definition.get("type") == VECTORS[self.product]:
                    fields.append(([*path, name], definition))
                fields += walk(definition, [*path, name])
            return fields

        return walk(self.mappings, [])

    def refresh(self) -> None:
        """Make documents searchable; OpenSearch 3 gives vectors back as its engine stores them."""
        if self.product == "opensearch" and self.version >= (3, 0):
            for path, definition in self.vectors():
                if self.metric(definition) == "cosinesimil":
                    for document in self.documents.values():
                        scale_to_one(document.source, path)
        self.searchable = [copy.copy(document) for document in self.documents.values()]

    def shown(self, document: Document, source: Any) -> dict[str, Any]:
        """Return what a request gets of a document, by its source filter."""
        if source is False:
            return {}
        filters = source if isinstance(source, dict) else {}
        excluding = self.settings.get("index.mapping.exclude_source_vectors") == "true"
        view = copy.deepcopy(document.source)
        if filters.get("exclude_vectors", excluding):
            for path, _ in self.vectors():
                holder = view
                for part in path[:-1]:
                    holder = holder.get(part, {})
                if isinstance(holder, dict):
                    holder.pop(path[-1], None)
        includes = filters.get("includes")
        return {"_source": {name: view[name] for name in view if includes is None or name in includes}}


def scale_to_one(source: Any, path: list[str]) -> None:
    for part in path[:-1]:
        source = source.get(part) if isinstance(source, dict) else None
    if isinstance(source, dict) and source.get(path[-1]) is not None:
        vector = np.array(source[path[-1]], np.float32)
        source[path[-1]] = (vector / np.linalg.norm(vector)).tolist()
