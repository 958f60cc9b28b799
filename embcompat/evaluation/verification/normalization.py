"""Scores put on one scale by a cohort of strangers. numpy only.

Some vectors score high against everybody. Scored against a cohort of people who are certainly others, that shows, and
can be taken out: (s − μ_x)/σ_x + (s − μ_y)/σ_y, with μ and σ over the highest cohort scores of each side, or one term of
it. Source: adaptive symmetric score normalization, Matějka et al., Analysis of Score Normalization in Multilingual
Speaker Recognition (2017), there halved; a constant factor changes no order. In a service the term of the queries alone
is the cheap one: nothing has to be stored beside the gallery. [ours]
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import InputError
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.evaluation.verification.pairs import VerificationPairs
from embcompat.spaces import Similarity

TOP = 300
"""How many of the highest cohort scores count [ours]."""

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
        vectors: Array (n, dim), float32, one row a subject.
        similarity: How vectors are compared.
        top: How many of the highest scores count.
    """

    vectors: NDArray[np.float32]
    similarity: Similarity
    top: int

    def statistics(self, vectors: ArrayLike) -> CohortStatistics:
        """Score vectors (n, dim) against the cohort; one vector gets what it gets among others, within rounding."""
        queries = np.asarray(vectors)
        mean, deviation = np.empty(len(queries)), np.empty(len(queries))
        rows = max(1, _BLOCK_SCORES // len(self.vectors))
        for start in range(0, len(queries), rows):
            scores = pairwise_scores(queries[start : start + rows], self.vectors, self.similarity).astype(np.float64)
            highest = np.partition(scores, -self.top, axis=1)[:, -self.top :]
            mean[start : start + rows] = highest.mean(axis=1)
            deviation[start : start + rows] = highest.std(axis=1)
        if not (deviation > 0).all():
            row = int(np.argmin(deviation > 0))
            raise InputError(f"the cohort scores of a vector must differ. Row {row} scores the same with all of them.")
        return CohortStatistics(mean, deviation)

    def to_dict(self) -> dict[str, Any]:
        """Return the cohort as JSON; the vectors as little-endian float32 in base64."""
        data = base64.b64encode(self.vectors.astype("<f4").tobytes()).decode("ascii")
        return {"similarity": self.similarity, "top": self.top, "shape": list(self.vectors.shape), "vectors": data}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the cohort again from `to_dict`.

        Raises:
            InputError: If a value is missing or does not fit.
        """
        try:
            flat = np.frombuffer(base64.b64decode(values["vectors"], validate=True), dtype="<f4")
            vectors = flat.reshape(values["shape"]).astype(np.float32)
            return cls(vectors, cast(Similarity, values["similarity"]), int(values["top"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is not a cohort: {error!r}. Pass what to_dict returned.") from error


def make_cohort(embeddings: Embeddings, *, top: int = TOP, seed: int = 0) -> Cohort:
    """Draw a cohort: one row of each subject.

    Take subjects of the training part, in the space of the side that the vectors will meet: converted gallery vectors
    meet new queries, so their cohort is new vectors, and the cohort of the queries is converted ones.

    Args:
        embeddings: Vectors with labels.
        top: How many of the highest scores count.
        seed: Seed of the draw.

    Raises:
        InputError: If there are no labels, ``top`` is below 2, or there are fewer subjects than ``top``.
    """
    if embeddings.labels is None:
        raise InputError("a cohort needs labels that say who each row shows. Got none.")
    shuffled = np.random.default_rng(seed).permutation(len(embeddings))
    _, first = np.unique(embeddings.labels[shuffled].astype(str), return_index=True)
    if not 2 <= top <= len(first):
        raise InputError(
            f"top must be between 2 and the number of subjects, {len(first)}. Got {top}. "
            "Pass a smaller top, or a larger cohort."
        )
    return Cohort(embeddings.vectors[shuffled[first]], embeddings.space.similarity, top)


def normalize_scores(scores: ArrayLike, queries: CohortStatistics, gallery: CohortStatistics) -> NDArray[np.float64]:
    """Normalize scores (q, g) by the statistics of both sides: (s − μ_x)/σ_x + (s − μ_y)/σ_y.

    Example:
        >>> queries = CohortStatistics(np.array([0.25]), np.array([0.25]))
        >>> gallery = CohortStatistics(np.array([0.0]), np.array([0.5]))
        >>> normalize_scores([[0.5]], queries, gallery).tolist()
        [[2.0]]
    """
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.shape != (len(queries.mean), len(gallery.mean)):
        raise InputError(
            f"scores must have shape ({len(queries.mean)}, {len(gallery.mean)}), as the statistics. Got {matrix.shape}."
        )
    left = (matrix - queries.mean[:, np.newaxis]) / queries.deviation[:, np.newaxis]
    return np.asarray(left + (matrix - gallery.mean) / gallery.deviation)


def normalized_pairs(
    pairs: VerificationPairs, anchors: CohortStatistics | None, positives: CohortStatistics | None
) -> VerificationPairs:
    """Return pairs whose score is the normalized one, so that everything measured N:N can be measured on it.

    The normalized score is s·(1/σ_x + 1/σ_y) − μ_x/σ_x − μ_y/σ_y: for products one dot product of longer vectors,
    (x/σ_x, x, −μ_x/σ_x, −1) · (y, y/σ_y, 1, μ_y/σ_y). A side that is not normalized leaves its terms out.

    Args:
        pairs: Who is compared with whom, by cosine or dot product.
        anchors: Statistics of the anchors; None to normalize the other side alone.
        positives: Statistics of the positives; None to normalize the other side alone.

    Raises:
        InputError: If the similarity is Euclidean, the statistics are of other rows, or there are none.
    """
    if pairs.similarity == "euclidean":
        raise InputError(
            "normalized N:N scores are one product only for cosine and dot. Got euclidean. "
            "Normalize the vectors and compare by cosine, or use normalize_scores."
        )
    if anchors is None and positives is None:
        raise InputError("there must be statistics of the anchors, of the positives, or of both. Got none.")
    for side, statistics in ((pairs.anchors, anchors), (pairs.positives, positives)):
        if statistics is not None and len(statistics.mean) != len(side):
            raise InputError("there must be statistics for each anchor and each positive. Got other counts.")
    x, y = pairs.anchors.astype(np.float64), pairs.positives.astype(np.float64)
    if pairs.similarity == "cosine":
        x, y = normalize_rows(x), normalize_rows(y)
    left, right = [], []
    if anchors is not None:
        inverse, mean = 1 / anchors.deviation[:, np.newaxis], anchors.mean[:, np.newaxis]
        left += [x * inverse, -mean * inverse]
        right += [y, np.ones((len(y), 1))]
    if positives is not None:
        inverse, mean = 1 / positives.deviation[:, np.newaxis], positives.mean[:, np.newaxis]
        left += [x, -np.ones((len(x), 1))]
        right += [y * inverse, mean * inverse]
    return VerificationPairs(
        np.hstack(left),
        np.hstack(right),
        pairs.anchor_subjects,
        pairs.positive_subjects,
        "dot",
        same_items=pairs.same_items,
        weight=pairs.weight,
    )
