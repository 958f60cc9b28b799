"""Sketches of directions: what tells that a vector was replaced where a store rounds what it is given."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BITS: Final = 63
_ALLOWED_BITS: Final = 3
"""Bits in which sketches of one vector may differ [ours]: on average, two vectors differ in 63/180 bits a degree."""


def sketches(vectors: NDArray[np.float32]) -> list[int]:
    """Return the signs of fixed random projections of each vector as bits (Charikar, Similarity estimation, 2002).

    Args:
        vectors: Array (n, dim).

    Returns:
        n numbers of 63 bits.

    Example:
        >>> vectors = np.array([[0.3, 1.7, 2.9], [0.3, 1.7, 2.9001], [3, -2, 1]], dtype=np.float32)
        >>> first, second, third = sketches(vectors)
        >>> alike(first, second), alike(first, third)
        (True, False)
    """
    signs = np.asarray(vectors, dtype=np.float64) @ _projections(vectors.shape[1]) > 0
    weights = np.left_shift(np.uint64(1), np.arange(_BITS, dtype=np.uint64))
    return [int(sketch) for sketch in signs @ weights]


def alike(sketch: int, other: int) -> bool:
    """Return whether two sketches are of one vector, up to rounding."""
    return (sketch ^ other).bit_count() <= _ALLOWED_BITS


@cache
def _projections(dim: int) -> NDArray[np.float64]:
    hashes = b"".join(hashlib.blake2b(index.to_bytes(8, "little"), digest_size=8).digest() for index in range(dim))
    bits = np.unpackbits(np.frombuffer(hashes, np.uint8)).reshape(dim, 64)[:, :_BITS]
    return bits.astype(np.float64) * 2.0 - 1.0
