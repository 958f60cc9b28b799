"""Check that pairs match at all: a permutation test of conversions against chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.artifact import CHANCE, Artifact
from embcompat.errors import GateError, InputError
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.spaces import Similarity

PERMUTATIONS = 999
"""Random pairings that the real one is compared with [ours]."""

LEVEL = 0.01
"""Above this p-value conversions are called no better than chance [ours]."""

TESTED_ROWS = 1_000
"""Most held-out items that are tested: the first, whose order is random in a split [ours]."""


@dataclass(frozen=True)
class ChanceTest:
    """Whether converted vectors belong to their own items.

    Attributes:
        p_value: Share of random pairings, the real one counted with them, whose mean score is as high.
        count: Number of held-out items.
    """

    p_value: float
    count: int

    @property
    def at_chance(self) -> bool:
        """Whether the conversions can't be told from chance."""
        return self.p_value > LEVEL

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the test as JSON."""
        return {"p_value": self.p_value, "count": self.count, "at_chance": self.at_chance}


def compare_with_chance(
    converted: NDArray[np.float32], native: NDArray[np.float32], similarity: Similarity, *, seed: int = 0
) -> ChanceTest:
    """Test whether converted vectors are nearer to their own items than to others', by permutation.

    The mean score of each converted vector with its own native vector is compared with the mean over random pairings
    of the same vectors. Source: Fisher, The Design of Experiments (1935), section 21; the statistic is ours.

    Args:
        converted: Converted vectors of held-out items (n, dim).
        native: The same items under the new model (n, dim).
        similarity: How they are compared.
        seed: Seed of the permutations.

    Raises:
        InputError: If the shapes differ, or there is no item.

    Example:
        >>> rows = np.eye(9, dtype=np.float32)
        >>> compare_with_chance(rows, rows, "cosine").at_chance
        False
        >>> compare_with_chance(rows, np.roll(rows, 1, axis=0), "cosine").at_chance
        True
    """
    if converted.shape != native.shape or not len(native):
        raise InputError(
            f"converted and native must be the same items, at least one. Got {converted.shape} and {native.shape}."
        )
    count = min(len(native), TESTED_ROWS)
    scores = pairwise_scores(converted[:count], native[:count], similarity).astype(np.float64)
    rows, rng = np.arange(count), np.random.default_rng(seed)
    real = scores[rows, rows].mean()
    # A pairing that is the real one up to rounding counts as as high.
    bound = real - 1e-9 * (1 + abs(real))
    as_high = sum(scores[rows, rng.permutation(count)].mean() >= bound for _ in range(PERMUTATIONS))
    return ChanceTest((1 + int(as_high)) / (1 + PERMUTATIONS), count)


def is_at_chance(artifact: Artifact) -> bool:
    """Return whether an artifact is marked: its conversions of held-out items could not be told from chance."""
    mark = artifact.manifest.calibration.get(CHANCE)
    return isinstance(mark, dict) and mark.get("at_chance") is True


def require_better_than_chance(artifact: Artifact, *, force: bool = False) -> None:
    """Refuse to convert a gallery with an aligner that is at chance level.

    Args:
        artifact: The aligner.
        force: Whether to continue anyway.

    Raises:
        GateError: If the artifact is marked and ``force`` is False.
    """
    if is_at_chance(artifact) and not force:
        raise GateError(
            f"the aligner {artifact.path} must do better than chance to convert a gallery. On held-out pairs it did "
            "not: most often the two files do not hold the same items under the same ids. Make the pairs again; "
            "--force (force=True) converts all the same."
        )
