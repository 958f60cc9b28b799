"""Scores put on one scale by a cohort of strangers. numpy only.

Some vectors score high against everybody. Scored against a cohort of people who are certainly others, that shows, and
can be taken out: (s − μ_x)/σ_x + (s − μ_y)/σ_y, with μ and σ over the highest cohort scores of each side. Source:
adaptive symmetric score normalization, Matějka et al., Analysis of Score Normalization in Multilingual Speaker
Recognition (2017), there halved; a constant factor changes no order. A service can take the term of the queries alone:
nothing has to be stored beside the gallery. [ours]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.cohorts import AnyCohort, Cohort, CohortMoments, CohortStatistics, ScoreCohort
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import InputError
from embcompat.evaluation.verification.pairs import VerificationPairs
from embcompat.results import Scenario
from embcompat.spaces import require_space

TOP = 300
"""How many of the highest cohort scores count [ours]."""

TOP_SHARE = 15
"""One in so many scores counts where a cohort is stored as statistics [ours]."""

MOST_PEOPLE = 4_096
"""People, and rows of them, from which statistics are fitted at most [ours]."""

FEWEST_PEOPLE, FEWEST_PER_DIM = 100, 5
"""People, and people for each dimension, below which no statistics are fitted: 300 people in 128 dimensions do harm
(docs/concepts/faces.md) [ours]."""


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
        raise InputError("a cohort needs labels that name the subject of each row. Got none.")
    shuffled = np.random.default_rng(seed).permutation(len(embeddings))
    _, first = np.unique(embeddings.labels[shuffled].astype(str), return_index=True)
    return Cohort(embeddings.vectors[shuffled[first]], embeddings.space.similarity, top)


def make_score_cohort(
    converted: Embeddings, native: Embeddings, *, people: int, top: int = TOP, seed: int = 0
) -> ScoreCohort[Cohort]:
    """Draw the cohorts of an upgrade: one row of each of some people, converted and native.

    Args:
        converted: Fitted items, converted to the new space, with labels.
        native: The same items under the new model, in the same order.
        people: How many people to draw; all, where there are no more.
        top: How many of the highest scores count; all, where there are no more people.
        seed: Seed of the draw.

    Raises:
        InputError: If there are no labels, fewer than two people are asked for or at hand, or the items differ.
        SpaceMismatchError: If the two are not of one space.
    """
    labels = _check_cohort_sides(converted, native)
    if people < 2:
        raise InputError(f"a score cohort needs at least two people. Got {people}.")
    _, rows = _draw_people(labels, people, seed)
    top = min(top, len(rows))
    similarity = native.space.similarity
    return ScoreCohort(Cohort(converted.vectors[rows], similarity, top), Cohort(native.vectors[rows], similarity, top))


def make_score_moments(
    converted: Embeddings, native: Embeddings, *, people: int = MOST_PEOPLE, seed: int = 0
) -> ScoreCohort[CohortMoments]:
    """Fit what `make_score_cohort` draws, without anybody's vector: `CohortMoments` of both sides.

    Native vectors are scored against the other people, and their highest scores, one in fifteen, are regressed on the
    mean and the covariance of the people's vectors. [ours]

    Args:
        converted: As in `make_score_cohort`.
        native: As in `make_score_cohort`.
        people: How many people to draw at most.
        seed: Seed of the draw.

    Raises:
        InputError: As `make_score_cohort`, and if there are fewer than a hundred people, or than five for each
            dimension, or all of them have the same vector.
        SpaceMismatchError: If the two are not of one space.
    """
    labels = _check_cohort_sides(converted, native)
    shuffled, rows = _draw_people(labels, people, seed)
    fewest = max(FEWEST_PEOPLE, FEWEST_PER_DIM * native.space.dim)
    if len(rows) < fewest:
        raise InputError(
            f"score statistics need at least {fewest} people with a label in {native.space.dim} dimensions. "
            f"Got {len(rows)}. Fit on more people, or leave scores as they are."
        )
    queries = shuffled[np.isin(labels[shuffled], labels[rows])][:MOST_PEOPLE]
    same = labels[queries][:, np.newaxis] == labels[rows]
    sides = [_fit_moments(side.vectors[rows], native.vectors[queries], same, native) for side in (converted, native)]
    return ScoreCohort(*sides)


def _draw_people(labels: NDArray[Any], people: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return all rows in a random order, and of those the first row of each of some people."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    _, first = np.unique(labels[shuffled].astype(str), return_index=True)
    return shuffled, shuffled[np.sort(first)[:people]]


def _fit_moments(
    people: NDArray[np.float32], queries: NDArray[np.float32], same: NDArray[np.bool_], space_of: Embeddings
) -> CohortMoments:
    """Regress the highest scores of queries (q, dim) against people (n, dim) on their moments; ``same`` is (q, n)."""
    similarity = space_of.space.similarity
    if (people == people[0]).all():
        raise InputError(f"score statistics need people whose vectors differ. All {len(people)} have the same vector.")
    cohort, anchors = people.astype(np.float64), queries.astype(np.float64)
    if similarity == "cosine":
        cohort, anchors = normalize_rows(cohort), normalize_rows(anchors)
    left, right, varied = anchors, cohort, cohort
    if similarity == "euclidean":
        left, right = _factor_squared_distances(anchors, cohort)
        varied = right[:, :-1]
    scores = np.where(same, -np.inf, left @ right.T)
    top = max(2, len(cohort) // TOP_SHARE)
    highest = np.partition(scores, -top, axis=1)[:, -top:]
    moments = CohortMoments(
        cohort.mean(axis=0).astype(np.float32),
        np.cov(varied, rowvar=False, ddof=0).astype(np.float32).reshape(varied.shape[1], -1),
        np.zeros((2, 3), dtype=np.float32),
        similarity,
    )
    features = moments.features(anchors)
    deviation = np.maximum(highest.std(axis=1), np.finfo(np.float64).tiny)
    goals = np.stack([highest.mean(axis=1), np.log(deviation / moments.deviation_unit(features))], axis=1)
    weights = np.linalg.lstsq(features, goals, rcond=None)[0].T
    return replace(moments, weights=weights.astype(np.float32))


def _check_cohort_sides(converted: Embeddings, native: Embeddings) -> NDArray[Any]:
    """Check what a cohort is drawn from, and return the labels."""
    require_space(converted.space, native.space, what="The converted embeddings")
    labels = native.labels if native.labels is not None else converted.labels
    if labels is None:
        raise InputError("a score cohort needs labels that name the subject of each row. Got none.")
    if not np.array_equal(converted.ids, native.ids):
        raise InputError("converted and native must hold the same ids in the same order. Got others.")
    return labels


def normalize_scores(scores: ArrayLike, queries: CohortStatistics, gallery: CohortStatistics) -> NDArray[np.float64]:
    """Normalize scores (q, g) by the statistics of both sides: (s − μ_x)/σ_x + (s − μ_y)/σ_y.

    The scores are in the unit of the statistics: `embcompat.cohorts.normalizable_scores`.

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
    (x/σ_x, x, −μ_x/σ_x, −1) · (y, y/σ_y, 1, μ_y/σ_y). A side that is not normalized leaves its terms out. Minus a
    squared distance is a product too, (2x, −1, −‖x‖²) · (y, ‖y‖², 1): that is s where distances are compared.

    Args:
        pairs: Who is compared with whom.
        anchors: Statistics of the anchors; None to normalize the other side alone.
        positives: Statistics of the positives; None to normalize the other side alone.

    Raises:
        InputError: If the statistics are of other rows, or there are none.
    """
    if anchors is None and positives is None:
        raise InputError("there must be statistics of the anchors, of the positives, or of both. Got none.")
    for side, statistics in ((pairs.anchors, anchors), (pairs.positives, positives)):
        if statistics is not None and len(statistics.mean) != len(side):
            raise InputError("there must be statistics for each anchor and each positive. Got other counts.")
    x, y = pairs.anchors.astype(np.float64), pairs.positives.astype(np.float64)
    if pairs.similarity == "cosine":
        x, y = normalize_rows(x), normalize_rows(y)
    elif pairs.similarity == "euclidean":
        x, y = _factor_squared_distances(x, y)
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


def _factor_squared_distances(
    left: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows (n, dim + 2) and (m, dim + 2) whose products are minus the squared distances.

    Both are taken from the mean m of the right side: (2 (x − m), −1, −‖x − m‖²) and (y − m, ‖y − m‖², 1).
    """
    mean = right.mean(axis=0)
    x, y = left - mean, right - mean
    x_squares, y_squares = (np.square(side).sum(axis=1, keepdims=True) for side in (x, y))
    return np.hstack([2 * x, -np.ones_like(x_squares), -x_squares]), np.hstack([y, y_squares, np.ones_like(y_squares)])


def normalized_scenarios(
    pairs: Mapping[Scenario, VerificationPairs], cohort: ScoreCohort[AnyCohort]
) -> dict[Scenario, VerificationPairs]:
    """Return ``S1`` and ``S3`` with the scores of the positives normalized: like with like, as a service would do it.

    Args:
        pairs: The scenarios.
        cohort: The people against whom new queries are scored: native ones in ``S1``, converted ones in ``S3``.
    """
    native, converted = (side.statistics(pairs["S1"].positives) for side in (cohort.native, cohort.converted))
    return {
        "S1": normalized_pairs(pairs["S1"], None, native),
        "S3": normalized_pairs(pairs["S3"], None, converted),
    }
