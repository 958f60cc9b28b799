"""Documents of an index as records, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from embcompat.errors import StoreError
from embcompat.stores.collections.records import UNKNOWN, Provenance, Record

PROVENANCE: Final = "embcompat"
"""Name of the field that holds the provenance of a document."""


def key_of(hit: Mapping[str, Any]) -> str:
    """Return the id of a document as it was found; with its routing, where it has one.

    Example:
        >>> key_of({"_id": "7"}), key_of({"_id": "7", "_routing": "me"})
        ('7', '["7","me"]')
    """
    routing = hit.get("_routing")
    if routing is None and not hit["_id"].startswith("["):
        return str(hit["_id"])
    return json.dumps([hit["_id"], routing], separators=(",", ":"), ensure_ascii=False)


def address_of(key: str) -> dict[str, str]:
    """Return what a request names a document by.

    Example:
        >>> address_of("7"), address_of('["7","me"]')
        ({'_id': '7'}, {'_id': '7', 'routing': 'me'})
    """
    if not key.startswith("["):
        return {"_id": key}
    try:
        identifier, routing = json.loads(key)
    except ValueError as error:
        raise StoreError(f"{key!r} is not an id of a document with a routing: it must be a JSON array.") from error
    return {"_id": identifier} if routing is None else {"_id": identifier, "routing": routing}


def place_of(document: Any, path: Sequence[str]) -> tuple[str, ...] | None:
    """Return the keys that lead to a field; a key may span several parts of the path.

    Example:
        >>> place_of({"a": {"b.c": [1.0]}}, ["a", "b", "c"])
        ('a', 'b.c')
    """
    if not isinstance(document, dict):
        return None
    for end in range(len(path), 0, -1):
        key = ".".join(path[:end])
        if key not in document:
            continue
        if end == len(path):
            return (key,)
        if (inner := place_of(document[key], path[end:])) is not None:
            return (key, *inner)
    return None


def value_at(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return the value of a field; None where it has none."""
    place = place_of(document, path)
    if place is None:
        return None
    value: Any = document
    for key in place:
        value = value[key]
    return value


def record_of(hit: Mapping[str, Any], path: Sequence[str], *, dim: int, where: str) -> Record | None:
    """Return a document as a record; None where it has no vector.

    The rest of the record is the document, in which the vector is None and the provenance is left out.

    Args:
        hit: The document as a server gives it.
        path: Where the vector is.
        dim: Its length.
        where: Where the gallery is, for the errors.

    Raises:
        StoreError: If it holds several vectors, or one that is no list of ``dim`` numbers.
    """
    source = dict(hit["_source"])
    provenance = provenance_of(source.pop(PROVENANCE, None))
    value = value_at(source, path)
    if value is None:
        return None
    try:
        vector = np.array(value, dtype=np.float32) if isinstance(value, list) else np.empty(0, np.float32)
    except (ValueError, TypeError):
        vector = np.empty(0, np.float32)
    if vector.shape != (dim,):
        raise StoreError(
            f"{where}: the vector of document {hit['_id']!r} must be a list of {dim} numbers. Got {str(value)[:60]} …"
        )
    return Record(key_of(hit), vector, with_value(source, path, None), provenance)


def with_value(document: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a document with another value of a field that it has."""
    place = place_of(document, path) or tuple(path)
    changed = dict(document)
    inner = changed
    for key in place[:-1]:
        inner[key] = dict(inner[key])
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def document_of(record: Record, path: Sequence[str]) -> dict[str, Any]:
    """Return a record as a document."""
    document = with_value(record.rest, path, record.vector.tolist())
    if record.provenance != UNKNOWN:
        document[PROVENANCE] = {name: text for name, text in _entry(record.provenance).items() if text is not None}
    return document


def change_of(record: Record, path: Sequence[str]) -> dict[str, Any]:
    """Return what an update of the vector of a record changes; it merges objects, so None takes a value away."""
    change: Any = record.vector.tolist()
    for key in reversed(place_of(record.rest, path) or tuple(path)):
        change = {key: change}
    return {**change, PROVENANCE: _entry(record.provenance)}


def provenance_of(entry: Any) -> Provenance:
    """Read the provenance of a document; `UNKNOWN` where it has none."""
    if not isinstance(entry, dict):
        return UNKNOWN
    try:
        numbers = {field: int(entry[field]) for field in ("source", "digest") if entry.get(field) is not None}
    except (ValueError, TypeError):  # an application's own value
        return UNKNOWN
    return Provenance(entry.get("space"), entry.get("artifact"), rest=entry.get("rest"), **numbers)


def _entry(provenance: Provenance) -> dict[str, str | None]:
    """Return provenance as JSON; numbers as texts, because a JSON number may lose its last digits."""
    fields = ("space", "artifact", "source", "rest", "digest")
    values = {field: getattr(provenance, field) for field in fields}
    return {field: None if value is None else str(value) for field, value in values.items()}


def without_provenance(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without its provenance."""
    return {name: value for name, value in document.items() if name != PROVENANCE}
