"""Sketches of directions: what tells that a vector was replaced where a store rounds or normalizes what it is given."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PROJECTIONS: Final = 4
_BITS: Final = 15
_RANGE: Final = 4.0
_SHIFTS: Final = tuple(range(0, _PROJECTIONS * _BITS, _BITS))


def sketches(vectors: NDArray[np.float32]) -> list[int]:
    """Return random projections of the direction of each vector, as 15 bits each [ours].

    The projections are sums with random signs, which are spread like a standard normal variable, so a step of 2⁻¹² is
    far above the rounding of float32. Another vector is overlooked only if all four projections stay within a step:
    one that is turned by a tenth of a degree hardly ever is.

    Args:
        vectors: Array (n, dim).

    Returns:
        n numbers of 60 bits.

    Example:
        >>> vectors = np.array([[0.3, 1.7, 2.9], [0.6, 3.4, 5.800001], [0.3, 1.7, 2.91]], dtype=np.float32)
        >>> first, second, third = sketches(vectors)
        >>> alike(first, second), alike(first, third)
        (True, False)
    """
    values = np.asarray(vectors, dtype=np.float64)
    lengths = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    projections = np.clip(values / lengths @ _signs(values.shape[1]), -_RANGE, _RANGE)
    steps = np.rint((projections + _RANGE) / (2 * _RANGE) * (2**_BITS - 1)).astype(np.uint64)
    return [int(sketch) for sketch in (steps << np.array(_SHIFTS, dtype=np.uint64)).sum(axis=1)]


def alike(sketch: int, other: int) -> bool:
    """Return whether two sketches are of one direction, up to rounding."""
    mask = 2**_BITS - 1
    return all(abs((sketch >> shift & mask) - (other >> shift & mask)) <= 1 for shift in _SHIFTS)


@cache
def _signs(dim: int) -> NDArray[np.float64]:
    hashes = b"".join(hashlib.blake2b(index.to_bytes(8, "little"), digest_size=1).digest() for index in range(dim))
    bits = np.unpackbits(np.frombuffer(hashes, np.uint8)).reshape(dim, 8)[:, :_PROJECTIONS]
    return bits.astype(np.float64) * 2.0 - 1.0
