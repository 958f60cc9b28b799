"""Vectors of strangers against which scores are normalized. numpy only.

Where vectors are compared by Euclidean distance, what is normalized is minus the squared distance: it ranks the
candidates of a query as the distance does, and it is one product of two vectors, as cosine and dot are. [ours]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.embeddings import normalize_rows
from embcompat.errors import InputError
from embcompat.similarities import Similarity

_BLOCK_SCORES = 4_194_304


def normalizable_scores(scores: ArrayLike, similarity: Similarity) -> NDArray[np.float64]:
    """Return scores in the unit in which they are normalized: minus the squared distance for minus the distance.

    Scores of ``cosine`` and ``dot`` are normalized as they are.

    Raises:
        InputError: If a score is positive where the similarity is Euclidean.

    Example:
        >>> normalizable_scores([[-2.0, -3.0]], "euclidean").tolist()
        [[-4.0, -9.0]]
    """
    values = np.asarray(scores, dtype=np.float64)
    if similarity != "euclidean":
        return values
    if (values > 0).any():
        raise InputError(
            f"scores must be minus the Euclidean distance, 0 or less. Got {values.max():g}. Negate distances; where a "
            "search returns squared ones, take the root first."
        )
    return np.asarray(-np.square(values))


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

        The scores are in the unit of `normalizable_scores`.

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
        """Score queries (q, dim) against the cohort, in the unit of `normalizable_scores`: (q, n)."""
        others = self.vectors.astype(np.float64)
        if self.similarity == "cosine":
            queries, others = normalize_rows(queries), normalize_rows(others)
        products = queries @ others.T
        if self.similarity != "euclidean":
            return np.asarray(products)
        squares = np.square(queries).sum(axis=1)[:, np.newaxis] + np.square(others).sum(axis=1)
        return np.asarray(np.minimum(2 * products - squares, 0.0))


@dataclass(frozen=True, eq=False)
class CohortMoments:
    """The scores of a vector against many people, predicted from mean and covariance of their vectors.

    Against people of mean m and covariance C, the scores of a vector q have the mean q·m and the variance qᵀCq. The
    mean of its highest scores, and the logarithm of their deviation, are taken to be linear in 1, q·m and √(qᵀCq). No
    vector of anybody is kept. [ours]

    Minus the squared distance from x is −‖q − m‖² + 2 (q − m)·(x − m) − ‖x − m‖². So where vectors are compared by
    Euclidean distance, C is the covariance of x − m and, behind it, ‖x − m‖²; with r = (2 (q − m), −1), scores have the
    mean −‖q − m‖² − tr C, over the dimensions of x − m, and the variance rᵀCr. Their spread grows with ‖q − m‖, so the
    deviation of the highest is taken to be √(rᵀCr) times an exponential of the linear form. [ours]

    Attributes:
        mean: Array m (dim,), float32; of unit vectors where the similarity is cosine.
        covariance: Array C (dim, dim), float32; (dim + 1, dim + 1) where the similarity is Euclidean.
        weights: Array (2, 3), float32: what 1, the mean and the deviation of all scores count in the mean of the
            highest, and in the logarithm of their deviation.
        similarity: How vectors are compared.
    """

    mean: NDArray[np.float32]
    covariance: NDArray[np.float32]
    weights: NDArray[np.float32]
    similarity: Similarity

    def statistics(self, vectors: ArrayLike) -> CohortStatistics:
        """Predict where the scores of vectors (n, dim) against the people lie, in the unit of `normalizable_scores`.

        Raises:
            InputError: If the vectors have another shape.

        Example:
            >>> weights = np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]], dtype=np.float32)
            >>> moments = CohortMoments(np.array([0.5, 0.0]), np.diag([0.0, 0.25]), weights, "dot")
            >>> moments.statistics([[1.0, 1.0]]).mean.tolist()
            [1.5]
        """
        queries = np.asarray(vectors, dtype=np.float64)
        if queries.ndim != 2 or queries.shape[1] != len(self.mean):
            raise InputError(f"vectors must have shape (n, {len(self.mean)}), as the people. Got {queries.shape}.")
        features = self.features(queries)
        center, log_deviation = self.weights.astype(np.float64) @ features.T
        return CohortStatistics(center, np.exp(log_deviation) * self.deviation_unit(features))

    def features(self, queries: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return 1, the mean and the deviation of the scores of each vector: array (n, 3)."""
        covariance, mean = self.covariance.astype(np.float64), self.mean.astype(np.float64)
        if self.similarity == "euclidean":
            shifted = queries - mean
            rows = np.hstack([2 * shifted, np.full((len(queries), 1), -1.0)])
            centers = -np.square(shifted).sum(axis=1) - np.trace(covariance[:-1, :-1])
        else:
            rows = normalize_rows(queries) if self.similarity == "cosine" else queries
            centers = rows @ mean
        spread = np.einsum("ij,jk,ik->i", rows, covariance, rows)
        return np.stack([np.ones(len(rows)), centers, np.sqrt(np.maximum(spread, 0.0))], axis=1)

    def deviation_unit(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the deviation of the highest scores is a multiple of (n,): 1, or that of all scores."""
        if self.similarity != "euclidean":
            return np.ones(len(features))
        return np.maximum(features[:, 2], np.finfo(np.float64).tiny)


AnyCohort = Cohort | CohortMoments
"""People, or what is known of many of them."""

_Kind = TypeVar("_Kind", bound=AnyCohort, covariant=True)


@dataclass(frozen=True, eq=False)
class ScoreCohort(Generic[_Kind]):
    """What the scores of an upgrade are normalized by: people as converted and as native vectors of the new space.

    New queries meet converted rows, and native rows where something was re-embedded.

    Attributes:
        converted: For scores against converted rows.
        native: For scores against rows that the new model embedded.
    """

    converted: _Kind
    native: _Kind
