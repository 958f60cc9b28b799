"""Keys and provenance as Milvus takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from embcompat.stores.collections.records import UNKNOWN, Provenance

_ESCAPES: Final = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def literal(value: Any) -> str:
    """Return a key, or a list of keys, as it is written in a condition: few characters have escapes there."""
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    return f"[{', '.join(map(literal, value))}]" if isinstance(value, Sequence) else str(value)


def provenance(entry: Any) -> Provenance:
    """Return provenance from JSON; what an application wrote otherwise there is none."""
    if not isinstance(entry, dict):
        return UNKNOWN
    numbers = {field: int(entry[field]) for field in ("source", "digest") if field in entry}
    return Provenance(entry.get("space"), entry.get("artifact"), rest=entry.get("rest"), **numbers)


def entry_of(provenance: Provenance) -> dict[str, str]:
    """Return provenance as JSON; numbers as texts, because a JSON number may lose its last digits."""
    fields = ("space", "artifact", "source", "rest", "digest")
    return {field: str(value) for field in fields if (value := getattr(provenance, field)) is not None}
