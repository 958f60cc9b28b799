"""Checks of converted vectors: they are what the map gives, and the map is the right one.

If a map is applied in the wrong direction, or to vectors of another model, counts, shapes and read-back are still
correct. Only the meaning is wrong: a converted vector no longer lies near the vector that the new model gives the same
item. The held-out pairs that an artifact carries, its semantic canary, show exactly that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.artifact import Artifact
from embcompat.errors import MigrationError
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.spaces import Similarity

MINIMUM_SHARE = 0.75
"""Least share of the other items that a true pair must outrank; chance gives 0.5 ± 0.04 on 64 pairs [ours]."""

SAMPLE_TOLERANCE = 1e-4
"""Largest allowed ‖stored − recomputed‖ / ‖recomputed‖ of a row [ours]."""

Transform = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class CanaryResult:
    """The result of the canary.

    Attributes:
        pairs: Number of pairs.
        outranked: Mean share of the other items that the true one outranks: 1 for a perfect map, 0.5 for chance.
    """

    pairs: int
    outranked: float


def outranked_share(converted: NDArray[np.float32], native: NDArray[np.float32], similarity: Similarity) -> float:
    """Return the mean share of the other native vectors that an item's own one outranks; a tie counts half.

    Args:
        converted: Array (n, dim), n at least 2.
        native: Array (n, dim); row i is the same item as row i of ``converted``.
        similarity: How the space compares.

    Example:
        >>> outranked_share(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), "cosine")
        1.0
    """
    scores = pairwise_scores(converted, native, similarity)
    true = np.diagonal(scores)[:, np.newaxis]
    beaten = (scores < true).sum() + ((scores == true).sum() - len(scores)) / 2
    return float(beaten) / (len(scores) * (len(scores) - 1))


def check_canary(artifact: Artifact, transform: Transform) -> CanaryResult | None:
    """Map the artifact's canary and check that its pairs find each other.

    Args:
        artifact: The artifact.
        transform: The map as it is applied to the gallery: (n, source_dim) → (n, target_dim).

    Returns:
        The result; None when the artifact carries no canary.

    Raises:
        MigrationError: If the pairs do not find each other.
    """
    pairs = artifact.canary()
    if pairs is None or len(pairs[0]) < 2:
        return None
    source, target = pairs
    share = outranked_share(transform(source), target, artifact.target.similarity)
    if not share >= MINIMUM_SHARE:
        raise MigrationError(
            f"the canary must find its pairs: an item's new vector must be closer to its converted vector than "
            f"{MINIMUM_SHARE:.0%} of the others. Got {share:.0%} on {len(source)} pairs (chance is 50 %). The map goes "
            "in the wrong direction, or the artifact belongs to other models. Evaluate it again before you convert "
            "anything."
        )
    return CanaryResult(len(source), share)


def first_bad_row(vectors: NDArray[np.float32]) -> int | None:
    """Return the first row that holds NaN or infinity, or None."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(vectors.sum()):  # finite only if every number is
            return None
    bad = ~np.isfinite(vectors).all(axis=1)
    return int(np.argmax(bad)) if bad.any() else None


def relative_error(stored: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest ‖stored − expected‖ / ‖expected‖ of a row; 0 without rows.

    Example:
        >>> relative_error(np.array([[3.0, 4.5]]), np.array([[3.0, 4.0]]))
        0.1
    """
    if len(expected) == 0:
        return 0.0
    difference = np.linalg.norm(stored - expected, axis=1)
    return float(np.max(difference / np.maximum(np.linalg.norm(expected, axis=1), np.finfo(np.float32).tiny)))
