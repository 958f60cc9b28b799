"""One batch of rows: which of them need work, what they become, and which of them cannot be converted."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import UNIT_NORM_TOLERANCE
from embcompat.errors import InputError, MigrationError, StoreError
from embcompat.spaces import SpaceVersion
from embcompat.stores.values import Rows

REFUSALS_IN_A_ROW = 32
"""Single rows refused one after the other before the store itself is held to be the trouble [ours]."""


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
    """What became of a batch.

    Attributes:
        ids: Rows to write.
        vectors: Array (n, target_dim).
        digests: Digests of their source vectors, int64 (n,).
        failures: Rows that cannot be converted.
        seen: Rows that were read, those that needed nothing included.
        without_text: How many of the rows to write have an empty text, where the aligner reads texts.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    digests: NDArray[np.int64]
    failures: list[Failure]
    seen: int
    without_text: int = 0


TransformRows = Callable[[NDArray[np.float32], Sequence[str] | None], NDArray[np.float32]]
"""Maps vectors (n, source_dim), with their n texts where there are some; `OnnxAligner.transform` is one."""


def convert_rows(rows: Rows, convert: TransformRows, source: SpaceVersion, shard: Shard) -> Converted:
    """Convert the rows of a batch that belong to the shard and have no target row made from their present source."""
    digests = rows.digests()
    wanted = rows.recorded != digests
    if shard.count > 1:
        wanted &= np.fromiter(map(shard.holds, rows.ids), dtype=bool, count=len(rows))
    reasons = _unusable(rows.vectors, source)
    usable = wanted.copy()
    usable[list(reasons)] = False
    failures = [Failure(rows.ids[row], reason) for row, reason in reasons.items() if wanted[row]]
    chosen = rows.select(usable)
    vectors = convert(chosen.vectors, chosen.texts)
    good: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    failures += [Failure(chosen.ids[row], "maps to NaN or infinity") for row in np.flatnonzero(~good).tolist()]
    kept = chosen.select(good)
    if not good.all():
        vectors = vectors[good]
    without_text = 0 if kept.texts is None else sum(not text for text in kept.texts)
    return Converted(kept.ids, vectors, digests[usable][good], failures, len(rows), without_text)


def isolate(count: int, attempt: Callable[[slice], None]) -> list[tuple[int, str]]:
    """Do ``attempt`` on rows 0 … count − 1, in one go where possible, and find the rows that it refuses by bisection.

    Args:
        count: Number of rows.
        attempt: Raises StoreError, having done nothing, when it refuses one of the rows.

    Returns:
        Row number and reason of each refused row.

    Raises:
        MigrationError: If row after row is refused: then it is not the rows.

    Example:
        >>> def attempt(rows):
        ...     if rows.start <= 5 < rows.stop:
        ...         raise StoreError("five is right out")
        >>> isolate(8, attempt)
        [(5, 'five is right out')]
    """
    refused: list[tuple[int, str]] = []
    in_a_row = 0
    waiting = [slice(0, count)] if count else []
    while waiting:
        rows = waiting.pop()
        try:
            attempt(rows)
            in_a_row = 0
        except StoreError as error:
            if rows.stop - rows.start > 1:
                middle = (rows.start + rows.stop) // 2
                waiting += [slice(middle, rows.stop), slice(rows.start, middle)]
                continue
            refused.append((rows.start, str(error)))
            in_a_row += 1
            if in_a_row >= REFUSALS_IN_A_ROW:
                raise MigrationError(f"the store refuses row after row; the last reason: {error}") from error
    return refused


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
