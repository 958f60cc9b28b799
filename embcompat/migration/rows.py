"""One batch of rows: which need converting, their converted vectors, and which cannot be converted."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import UNIT_NORM_TOLERANCE
from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion
from embcompat.stores.values import Rows


@dataclass(frozen=True)
class Shard:
    """One of several parts of a gallery, so that several workers share it.

    Attributes:
        index: Which part, from 0.
        count: How many parts there are.

    Example:
        >>> [Shard(index, 3).holds("item-7") for index in range(3)]
        [False, True, False]
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(f"a shard must be i/n with 0 ≤ i < n. Got {self.index}/{self.count}.")

    def holds(self, identifier: str) -> bool:
        """Return whether a row belongs to this part: by the CRC-32 of its id, the same on every host."""
        return zlib.crc32(identifier.encode()) % self.count == self.index


def parse_shard(text: str) -> Shard:
    """Read a shard written i/n.

    Raises:
        InputError: If it is not.

    Example:
        >>> parse_shard("1/4")
        Shard(index=1, count=4)
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise InputError(f"a shard must be i/n with 0 ≤ i < n. Got {text!r}.")
    return Shard(int(index), int(count))


@dataclass(frozen=True)
class Failure:
    """A row that could not be converted.

    Attributes:
        id: The row.
        reason: Why.
    """

    id: str
    reason: str


@dataclass(frozen=True)
class Converted:
    """A converted batch.

    Attributes:
        ids: Rows to write.
        vectors: Array (n, target_dim).
        digests: Digests of their source vectors, int64 (n,).
        failures: Rows that cannot be converted.
        without_text: Number of rows to write whose text is empty, if the aligner reads texts.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    digests: NDArray[np.int64]
    failures: list[Failure]
    without_text: int = 0


TransformRows = Callable[[NDArray[np.float32], Sequence[str] | None], NDArray[np.float32]]
"""Maps vectors (n, source_dim), with their n texts if it reads texts; `OnnxAligner.transform` is one."""


def convert_rows(rows: Rows, convert: TransformRows, source: SpaceVersion, shard: Shard) -> Converted:
    """Convert the rows of a batch that belong to the shard and have no target row of their current source vector."""
    digests = rows.digests()
    stale = rows.recorded != digests
    if shard.count > 1:
        stale &= np.fromiter(map(shard.holds, rows.ids), dtype=bool, count=len(rows))
    rows, digests = rows.select(stale), digests[stale]
    reasons = _unusable(rows.vectors, source)
    failures = [Failure(rows.ids[row], reason) for row, reason in reasons.items()]
    usable = np.ones(len(rows), dtype=bool)
    usable[list(reasons)] = False
    batch = rows.select(usable)
    vectors = convert(batch.vectors, batch.texts)
    good: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    failures += [Failure(batch.ids[row], "maps to NaN or infinity") for row in np.flatnonzero(~good).tolist()]
    results = batch.select(good)
    if not good.all():
        vectors = vectors[good]
    without_text = 0 if results.texts is None else sum(not text for text in results.texts)
    return Converted(results.ids, vectors, digests[usable][good], failures, without_text)


def _unusable(vectors: NDArray[np.float32], space: SpaceVersion) -> dict[int, str]:
    """Return row number and reason of each vector that cannot be in the space."""
    squared = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    reasons: dict[int, str] = {}
    if space.normalized:
        for row in np.flatnonzero(np.abs(np.sqrt(squared) - 1.0) > UNIT_NORM_TOLERANCE).tolist():
            reasons[row] = f"must have unit norm in space {space.id!r}; has {np.sqrt(squared[row]):.4g}"
    if space.similarity == "cosine":
        reasons |= dict.fromkeys(np.flatnonzero(squared == 0).tolist(), "is all zeros")
    return reasons | dict.fromkeys(np.flatnonzero(~np.isfinite(squared)).tolist(), "holds NaN or infinity")
