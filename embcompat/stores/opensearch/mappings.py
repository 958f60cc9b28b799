"""Mappings and settings of an index: where its vectors are, and an index like another one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from embcompat.errors import InputError
from embcompat.similarities import Similarity
from embcompat.stores.opensearch.connection import Product, Server
from embcompat.stores.opensearch.documents import PROVENANCE

TYPES: Final[dict[Product, str]] = {"opensearch": "knn_vector", "elasticsearch": "dense_vector"}
"""What each product calls a field of vectors."""

_DIMS: Final[dict[Product, str]] = {"opensearch": "dimension", "elasticsearch": "dims"}
_ELEMENT: Final[dict[Product, str]] = {"opensearch": "data_type", "elasticsearch": "element_type"}
_SPACE_TYPES: Final[dict[str, Similarity]] = {"cosinesimil": "cosine", "innerproduct": "dot", "l2": "euclidean"}
_SIMILARITIES: Final[dict[str, Similarity]] = {
    "cosine": "cosine",
    "dot_product": "dot",
    "max_inner_product": "dot",
    "l2_norm": "euclidean",
}
_NEW_SPACE_TYPES: Final = {similarity: name for name, similarity in _SPACE_TYPES.items()}
_NEW_SIMILARITIES: Final[dict[Similarity, str]] = {
    "cosine": "cosine",
    "dot": "max_inner_product",
    "euclidean": "l2_norm",
}

_OF_THE_INDEX_ITSELF: Final = tuple(
    f"index.{name}"
    for name in (
        "creation_date",
        "history.",
        "provided_name",
        "remote_store.",
        "resize.",
        "routing.allocation.initial_recovery.",
        "shrink.",
        "uuid",
        "verified_before_close",
        "version.",
    )
)
"""Settings, or what they begin with, that a server gives each index itself."""


@dataclass(frozen=True)
class VectorField:
    """A field of vectors.

    Attributes:
        path: The names of the objects that it is in, and its own.
        definition: How the mapping defines it.
        dim: Length of its vectors.
        metric: How they are compared, in the product's own words; None where the queries say that.
        similarity: The same in ours; None where the queries say it, or where it is none of ours.
        method: How they are indexed, in a word.
    """

    path: tuple[str, ...]
    definition: Mapping[str, Any]
    dim: int
    metric: str | None
    similarity: Similarity | None
    method: str | None


def vector_field(index: Mapping[str, Any], path: tuple[str, ...], product: Product, *, where: str) -> VectorField:
    """Find a field of vectors in what a server tells of an index.

    Args:
        index: ``mappings`` and flat ``settings``.
        path: The names of the objects that it is in, and its own.
        product: Which product it is.
        where: Where the gallery is, for the errors.

    Raises:
        InputError: If there is none, or one that cannot be converted.
    """
    name, mappings = ".".join(path), index["mappings"]
    definitions = _definitions(mappings, path)
    if not definitions or definitions[-1].get("type") != TYPES[product]:
        listed = ", ".join(_fields(mappings, TYPES[product])) or "none"
        raise InputError(f"{where}: there is no {TYPES[product]} field {name!r}. Fields of this type: {listed}.")
    if any(entry.get("type") == "nested" for entry in definitions):
        raise InputError(
            f"{where}: field {name!r} is in nested objects, so a document has several vectors. Index each object as a "
            "document of its own to convert its vector."
        )
    definition = definitions[-1]
    element = definition.get(_ELEMENT[product], "float")
    if element != "float":
        raise InputError(f"{where}: field {name!r} must hold vectors of float. It holds {element}.")
    if "model_id" in definition:
        raise InputError(f"{where}: field {name!r} is indexed by a trained model, which cannot be copied.")
    if _DIMS[product] not in definition:
        raise InputError(f"{where}: field {name!r} has no vectors yet.")
    if product == "opensearch":
        metric, method = _opensearch(definition, index["settings"])
        similarity = _SPACE_TYPES.get(metric)
        return VectorField(path, definition, int(definition["dimension"]), metric, similarity, method)
    options = definition.get("index_options", {})
    if not definition.get("index", True):
        return VectorField(path, definition, int(definition["dims"]), None, None, None)
    metric = str(definition.get("similarity", "cosine"))
    kind = str(options.get("type", "hnsw"))
    return VectorField(path, definition, int(definition["dims"]), metric, _SIMILARITIES.get(metric), kind)


def index_like(
    index: Mapping[str, Any], path: tuple[str, ...], server: Server, *, dim: int, metric: Similarity | None
) -> dict[str, Any]:
    """Return the request for an index with the mapping and the settings of another one.

    Args:
        index: ``mappings`` and flat ``settings`` of the index to resemble.
        path: The field whose vectors have another length.
        server: The server, of which versions differ in what they take.
        dim: That length.
        metric: How they are compared; as those of the other one when None.
    """
    product, mappings = server.product, copy.deepcopy(dict(index["mappings"]))
    definition = _definitions(mappings, path)[-1]
    definition[_DIMS[product]] = dim
    if metric is not None and product == "opensearch":
        holder = definition["method"] if "space_type" in definition.get("method", {}) else definition
        holder["space_type"] = _NEW_SPACE_TYPES[metric]
    elif metric is not None:
        definition["similarity"] = _NEW_SIMILARITIES[metric]
    if server.version >= (3, 0) and definition.get("method", {}).get("engine") == "nmslib":
        definition["method"]["engine"] = "faiss"  # the same parameters; an obstacle says it
    mappings.setdefault("properties", {})[PROVENANCE] = {"type": "object", "enabled": False}
    mappings["_meta"] = {key: value for key, value in mappings.get("_meta", {}).items() if key != PROVENANCE}
    settings = {name: value for name, value in index["settings"].items() if not name.startswith(_OF_THE_INDEX_ITSELF)}
    if "index.lifecycle.name" in settings:  # the age of the documents is that of the old index
        settings.setdefault("index.lifecycle.origination_date", index["settings"]["index.creation_date"])
    return {"mappings": mappings, "settings": settings}


def new_fields(source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions of fields that a mapping has and another one lacks."""
    known, fields = target.get("properties", {}), {}
    for name, definition in source.get("properties", {}).items():
        if name == PROVENANCE:
            continue
        if name not in known:
            fields[name] = definition
        elif inner := new_fields(definition, known[name]):
            fields[name] = {**{key: value for key, value in definition.items() if key == "type"}, "properties": inner}
    return fields


def _definitions(mappings: Mapping[str, Any], path: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the definitions of a field and of the objects that it is in, outermost first; empty if there is none."""
    properties = mappings.get("properties", {})
    for end in range(1, len(path) + 1):
        definition = properties.get(".".join(path[:end]))
        if definition is None:
            continue
        if end == len(path):
            return [definition]
        if inner := _definitions(definition, path[end:]):
            return [definition, *inner]
    return []


def _fields(mappings: Mapping[str, Any], kind: str, prefix: str = "") -> list[str]:
    """Return the names of the fields of a type."""
    names = []
    for name, definition in mappings.get("properties", {}).items():
        if definition.get("type") == kind:
            names.append(prefix + name)
        names += _fields(definition, kind, f"{prefix}{name}.")
    return names


def fields_of(mappings: Mapping[str, Any], *kinds: str) -> list[str]:
    """Return the names of the fields of some types."""
    return [name for kind in kinds for name in _fields(mappings, kind)]


def _opensearch(definition: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, str]:
    method = definition.get("method", {})
    metric = method.get("space_type") or definition.get("space_type") or settings.get("index.knn.space_type", "l2")
    return str(metric), " ".join(filter(None, (method.get("engine"), method.get("name", "hnsw"))))
