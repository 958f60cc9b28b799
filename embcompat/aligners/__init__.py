"""The aligner zoo. ``ALIGNERS`` maps each kind to a loader; the neural kinds import torch when they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners.affine import AffineAligner, GramSums, fit_affine
from embcompat.aligners.base import Aligner, AlignerPair, parameter_count
from embcompat.errors import UnknownNameError

Loader = Callable[[Mapping[str, JsonValue], Mapping[str, NDArray[Any]]], Aligner]


def _loader(module: str, name: str) -> Loader:
    def load(config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Aligner:
        aligner: Aligner = getattr(import_module(module), name).from_state(config, state)
        return aligner

    return load


ALIGNERS: dict[str, Loader] = {
    "affine": _loader("embcompat.aligners.affine", "AffineAligner"),
}


def load_aligner(kind: str, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Aligner:
    """Build an aligner again from its kind, options and arrays.

    Raises:
        UnknownNameError: If no aligner is of that kind.
    """
    if kind not in ALIGNERS:
        raise UnknownNameError("aligner", kind, ALIGNERS)
    return ALIGNERS[kind](config, state)


__all__ = [
    "ALIGNERS",
    "AffineAligner",
    "Aligner",
    "AlignerPair",
    "GramSums",
    "fit_affine",
    "load_aligner",
    "parameter_count",
]
