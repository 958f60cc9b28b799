"""Digests of rows: what tells that a vector, or a text beside it, was replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

_DIGEST_ROWS = 512
_TEXT_WEIGHT = 0x9E3779B97F4A7C15  # odd, so that no two vector digests fall together


def vector_digests(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a 64-bit digest of each row's float32 bytes; never 0, which stands for "none".

    The bytes are read as 32-bit integers and summed modulo 2⁶⁴ with fixed odd weights (Carter and Wegman, Universal
    classes of hash functions, 1979). It tells that a vector was replaced by chance, not by design: two different
    vectors share a digest with probability 2⁻³³ at most.

    Args:
        vectors: Array (n, dim).

    Returns:
        Array (n,), int64.

    Example:
        >>> first, second, third = vector_digests(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]], dtype=np.float32))
        >>> bool(first == second), bool(first == third)
        (True, False)
    """
    data = np.ascontiguousarray(vectors, dtype="<f4").view("<u4")
    weights = _digest_weights(data.shape[1])
    result = np.empty(len(data), dtype=np.uint64)
    for start in range(0, len(data), _DIGEST_ROWS):  # the wider copy stays in the processor's cache
        result[start : start + _DIGEST_ROWS] = data[start : start + _DIGEST_ROWS].astype(np.uint64) @ weights
    result[result == 0] = 1
    return result.view(np.int64)


def row_digests(vectors: NDArray[np.float32], texts: Iterable[str] | None) -> NDArray[np.int64]:
    """Return a 64-bit digest of each row's vector, and of its text where there are texts; never 0.

    Args:
        vectors: Array (n, dim).
        texts: n texts, or None; then the digests are those of `vector_digests`.

    Returns:
        Array (n,), int64.

    Example:
        >>> row_digests(np.ones((2, 3), dtype=np.float32), ["a", "b"]).tolist() == [1, 1]
        False
    """
    return with_texts(vector_digests(vectors), texts)


def with_texts(digests: NDArray[np.int64], texts: Iterable[str] | None) -> NDArray[np.int64]:
    """Return the digests of rows of which those of the vectors, int64 (n,), are known; see `row_digests`."""
    if texts is None:
        return digests
    words = b"".join([hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest() for text in texts])
    mixed: NDArray[np.uint64] = digests.view(np.uint64) * np.uint64(_TEXT_WEIGHT) + np.frombuffer(words, dtype="<u8")
    mixed[mixed == 0] = 1
    return mixed.view(np.int64)


@cache
def _digest_weights(dim: int) -> NDArray[np.uint64]:
    digests = [hashlib.blake2b(index.to_bytes(8, "little"), digest_size=8).digest() for index in range(dim)]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64) | np.uint64(1)
