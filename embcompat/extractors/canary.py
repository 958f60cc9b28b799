"""Fixed texts whose vectors show whether a service still runs the same model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CANARY_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Wie spät ist es? Il est dix heures.",
    "def add(a: int, b: int) -> int: return a + b",
)
"""Prose, other languages, code [ours]."""

CANARY_NUMBERS = 16
"""How many numbers of each vector are kept: a changed model changes them all [ours]."""


def read_canary(vectors: NDArray[np.float32]) -> list[list[float]]:
    """Return what the fingerprint of a space holds under ``canary``.

    Args:
        vectors: The vectors (3, dim) of `CANARY_TEXTS`.

    Example:
        >>> read_canary(np.eye(3, 2, dtype=np.float32) / 3)
        [[0.33333, 0.0], [0.0, 0.33333], [0.0, 0.0]]
    """
    return [[float(f"{number:.5g}") for number in vector[:CANARY_NUMBERS].tolist()] for vector in vectors]
