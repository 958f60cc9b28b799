"""Scores that one threshold fits, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.cohorts import AnyCohort, normalizable_scores
from embcompat.errors import InputError
from embcompat.serving.fusion import Model


@final
@dataclass(frozen=True, eq=False)
class Scorer:
    """Normalizes the scores of new queries, so that one threshold fits them all: (s − μ) / σ.

    μ and σ are the mean and the deviation of the query's highest scores against people who are certainly others. A
    query that is close to everybody no longer matches anybody. The order of one query's candidates stays. A threshold
    on normalized scores is another number: `embcompat thresholds` transfers it. [ours, after adaptive score
    normalization, Matějka et al., 2017]

    Where vectors are compared by Euclidean distance, s is minus the squared distance.

    Attributes:
        cohort: ``OnnxAligner(…).cohort().converted`` for scores against converted rows, ``.native`` for scores
            against rows that the new model embedded.
    """

    cohort: AnyCohort
    needs: ClassVar[tuple[Model, ...]] = ("new",)

    def normalize(self, new_queries: NDArray[np.float32], scores: ArrayLike) -> NDArray[np.float64]:
        """Return the normalized scores (q, k) of queries (q, dim) and the scores (q, k) that a search returned.

        Args:
            new_queries: Queries under the new model (q, dim).
            scores: Cosines, products, or distances with a minus sign, which are squared here.

        Raises:
            InputError: If there is not one row of scores for each query, the vectors are not of the cohort's space, or
                a score is positive where distances are compared.

        Example:
            >>> from embcompat.cohorts import Cohort
            >>> cohort = Cohort(np.array([[0.6, 0.8], [0.0, 1.0]], dtype=np.float32), "cosine", top=2)
            >>> Scorer(cohort).normalize(np.array([[1.0, 0.0]]), [[0.9]]).round(6).tolist()
            [[2.0]]
        """
        values = normalizable_scores(scores, self.cohort.similarity)
        if values.ndim != 2 or len(values) != len(new_queries):
            raise InputError(f"scores must have one row for each of {len(new_queries)} queries. Got {values.shape}.")
        statistics = self.cohort.statistics(new_queries)
        return np.asarray((values - statistics.mean[:, np.newaxis]) / statistics.deviation[:, np.newaxis])
