"""Aligners inside an aligner, as options and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners.base import Aligner, State


def describe_parts(parts: Iterable[Aligner]) -> list[JsonValue]:
    """Return kind and options of every part."""
    return [{"kind": part.kind, "config": part.config()} for part in parts]


def state_of_parts(parts: Iterable[Aligner]) -> State:
    """Return the arrays of every part, their names preceded by the part's number and a dot."""
    return {f"{number}.{name}": array for number, part in enumerate(parts) for name, array in part.state().items()}


def build_parts(described: Sequence[Mapping[str, Any]], state: Mapping[str, NDArray[Any]]) -> list[Aligner]:
    """Build the parts again from `describe_parts` and `state_of_parts`."""
    from embcompat.aligners import find_loader

    parts = []
    for number, part in enumerate(described):
        prefix = f"{number}."
        arrays = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        parts.append(find_loader(part["kind"])(part["config"], arrays))
    return parts
