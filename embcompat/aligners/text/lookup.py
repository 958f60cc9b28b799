"""Looking up many words or pairs of words at once."""

from __future__ import annotations

from functools import cache
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners.text.tokens import Words

_BASE: Final = 0x9E3779B97F4A7C15
_INVERSE: Final = pow(_BASE, -1, 1 << 64)
_MIXER: Final = np.uint64(0xD6E8FEB86659FD93)


def hash_words(words: Words) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each word: its characters as the digits of a number in an odd base, modulo 2⁶⁴.

    Two different words share one by chance once in some 10¹⁸ times (Karp and Rabin, Efficient randomized
    pattern-matching algorithms, 1987).

    Returns:
        Array (words,).
    """
    powers, inverses = _powers(max(1, len(words.codes) - 1).bit_length())
    sums = np.zeros(len(words.codes) + 1, dtype=np.uint64)
    np.multiply(words.codes, powers[: len(words.codes)], out=sums[1:])
    np.cumsum(sums, out=sums)
    return np.asarray((sums[words.ends] - sums[words.starts]) * inverses[words.starts])


@final
class HashIndex:
    """Finds the number of each key among known keys, many at a time.

    Args:
        keys: n different keys (n,), uint64.

    Example:
        >>> HashIndex(np.array([7, 5], dtype=np.uint64)).find(np.array([5, 6, 7], dtype=np.uint64)).tolist()
        [1, -1, 0]
    """

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        bits = max(4, (4 * len(keys)).bit_length())
        self._shift, self._mask = np.uint64(64 - bits), (1 << bits) - 1
        self._rows = np.full(1 << bits, -1, dtype=np.int32)
        for row, slot in enumerate(self._slots(keys).tolist()):
            place = slot
            while self._rows[place] >= 0:
                place = (place + 1) & self._mask
            self._rows[place] = row
        self._keys = np.append(keys, np.uint64(0))

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the number of each key (n,); -1 where it is not known."""
        slots = self._slots(keys)
        rows = self._rows[slots].astype(np.intp)
        open_keys = np.flatnonzero((rows >= 0) & (self._keys[rows] != keys))
        while len(open_keys):  # another key took the slot: look at the next one
            slots[open_keys] = (slots[open_keys] + 1) & self._mask
            rows[open_keys] = self._rows[slots[open_keys]]
            again = (rows[open_keys] >= 0) & (self._keys[rows[open_keys]] != keys[open_keys])
            open_keys = open_keys[again]
        return rows

    def _slots(self, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
        return np.asarray((keys * _MIXER) >> self._shift, dtype=np.intp)


@cache
def _powers(bits: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the first 2 ** bits powers of the base and of its inverse, modulo 2⁶⁴."""
    factors = np.full((2, 1 << bits), [[_BASE], [_INVERSE]], dtype=np.uint64)
    factors[:, 0] = 1
    powers, inverses = np.cumprod(factors, axis=1)
    return powers, inverses
