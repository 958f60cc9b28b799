"""Vectors of strangers against which scores are normalized. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.embeddings import normalize_rows
from embcompat.errors import InputError
from embcompat.similarities import Similarity

_BLOCK_SCORES = 4_194_304


@dataclass(frozen=True, eq=False)
class CohortStatistics:
    """Where the scores of vectors against a cohort lie: two numbers a vector, to be stored beside it.

    Attributes:
        mean: Array (n,).
        deviation: Array (n,), positive.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Vectors of people who are none of those that will be compared.

    They are vectors of real people and need the protection that the gallery needs.

    Attributes:
        vectors: Array (n, dim), float32, one row a person.
        similarity: How vectors are compared.
        top: How many of the highest scores count, from 2 to n.
    """

    vectors: NDArray[np.float32]
    similarity: Similarity
    top: int

    def __post_init__(self) -> None:
        if not 2 <= self.top <= len(self.vectors):
            raise InputError(
                f"top must be between 2 and the number of people in the cohort, {len(self.vectors)}. Got {self.top}. "
                "Pass a smaller top, or a larger cohort."
            )

    def statistics(self, vectors: ArrayLike) -> CohortStatistics:
        """Score vectors (n, dim) against the cohort; one vector gets what it gets among others, within rounding.

        Raises:
            InputError: If the vectors have another shape, or one scores the same with the entire cohort.
        """
        queries = np.asarray(vectors)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"vectors must have shape (n, {self.vectors.shape[1]}), as the cohort. Got {queries.shape}."
            )
        mean, deviation = np.empty(len(queries)), np.empty(len(queries))
        rows = max(1, _BLOCK_SCORES // len(self.vectors))
        for start in range(0, len(queries), rows):
            scores = self._scores(queries[start : start + rows].astype(np.float64))
            highest = np.partition(scores, -self.top, axis=1)[:, -self.top :]
            mean[start : start + rows] = highest.mean(axis=1)
            deviation[start : start + rows] = highest.std(axis=1)
        if not (deviation > 0).all():
            row = int(np.argmin(deviation > 0))
            raise InputError(f"the cohort scores of a vector must differ. Row {row} scores the same with all of them.")
        return CohortStatistics(mean, deviation)

    def _scores(self, queries: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score queries (q, dim) against the cohort (q, n)."""
        others = self.vectors.astype(np.float64)
        if self.similarity == "cosine":
            queries, others = normalize_rows(queries), normalize_rows(others)
        products = queries @ others.T
        if self.similarity != "euclidean":
            return np.asarray(products)
        squares = np.square(queries).sum(axis=1)[:, np.newaxis] + np.square(others).sum(axis=1)
        return np.asarray(-np.sqrt(np.maximum(squares - 2 * products, 0.0)))


@dataclass(frozen=True, eq=False)
class ScoreCohort:
    """The cohorts of an upgrade: the same people as converted and as native vectors of the new space.

    New queries meet converted rows, and native rows where something was re-embedded.

    Attributes:
        converted: For scores against converted rows.
        native: For scores against rows that the new model embedded.
    """

    converted: Cohort
    native: Cohort
