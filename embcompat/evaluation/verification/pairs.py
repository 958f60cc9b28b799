"""The comparisons of a verification test, and the exact score of one pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.similarity import SIMILARITIES
from embcompat.similarities import Similarity, Weight

Float64 = NDArray[np.float64]
Rows = NDArray[np.intp]

WEIGHTS: tuple[Weight, ...] = get_args(Weight)

_MAX_GENUINE = 20_000_000
_CHUNK_ROWS = 1_024


@dataclass(frozen=True, eq=False)
class GenuineScores:
    """Scores of the genuine pairs, in ascending order, with the subject and the vote of each.

    Attributes:
        scores: Array (k,), float64, ascending.
        subjects: Array (k,).
        votes: Array (k,), what each pair counts.
    """

    scores: Float64
    subjects: Rows
    votes: Float64

    def rejected(self, thresholds: ArrayLike) -> Any:
        """Return the FRR at each threshold."""
        shares = np.concatenate([[0.0], np.cumsum(self.votes)])
        return shares[np.searchsorted(self.scores, thresholds, side="right")] / shares[-1]


@dataclass(frozen=True, eq=False)
class Votes:
    """What the pairs of each subject count.

    Attributes:
        anchors: Array (subjects,), the factor of each of a subject's anchors.
        positives: Array (subjects,), the factor of each of a subject's positives. An impostor pair counts the product
            of its two factors.
        genuine: Array (subjects,), the vote of each genuine pair of a subject.
    """

    anchors: Float64
    positives: Float64
    genuine: Float64


@dataclass(frozen=True, eq=False)
class VerificationPairs:
    """Two sides whose rows are compared N:N, every anchor with every positive.

    A pair of one subject is *genuine*, a pair of two subjects is an *impostor* pair. All ordered impostor pairs count.
    Weighed by person, the genuine pairs of a subject share one vote, and so do the impostor pairs of two subjects:
    rates are then the expectation over one anchor and one positive that are drawn at random from each person, and
    nobody decides them by having many images. [ours]

    Args:
        anchors: Array (n, dim), finite.
        positives: Array (m, dim), finite; of the same space as the anchors.
        anchor_subjects: n subject codes from 0 upwards.
        positive_subjects: m subject codes from 0 upwards.
        similarity: How vectors are compared. The score is the cosine, the dot product or minus the Euclidean
            distance: larger is closer. The distance is 1 − cosine, minus the dot product, or the Euclidean one.
        same_items: Whether row i of both sides shows the same item (one image, embedded once or by two models).
            Such self-pairs are left out.
        weight: What has one vote in every rate: a person, or a pair of images.

    Raises:
        UnknownNameError: If the similarity or the weight is not known.
        InputError: If the shapes do not fit, there is no genuine or no impostor pair, or there are more than
            20 million genuine pairs.

    Example:
        >>> pairs = VerificationPairs([[1.0], [5.0]], [[2.0], [9.0]], [0, 1], [0, 1], "euclidean")
        >>> pairs.subjects, pairs.impostor_count, pairs.genuine.scores.tolist()
        (2, 2, [-4.0, -1.0])
    """

    anchors: NDArray[Any]
    positives: NDArray[Any]
    anchor_subjects: Rows
    positive_subjects: Rows
    similarity: Similarity
    same_items: bool = False
    weight: Weight = "person"

    def __init__(
        self,
        anchors: ArrayLike,
        positives: ArrayLike,
        anchor_subjects: ArrayLike,
        positive_subjects: ArrayLike,
        similarity: Similarity,
        *,
        same_items: bool = False,
        weight: Weight = "person",
    ) -> None:
        if similarity not in SIMILARITIES:
            raise UnknownNameError("similarity", similarity, SIMILARITIES)
        if weight not in WEIGHTS:
            raise UnknownNameError("weight", weight, WEIGHTS)
        first = _check_side(anchors, anchor_subjects, "anchors")
        same_rows = anchors is positives and anchor_subjects is positive_subjects
        sides = first, first if same_rows else _check_side(positives, positive_subjects, "positives")
        if sides[0][0].shape[1] != sides[1][0].shape[1]:
            raise InputError(
                "anchors and positives must have equally long rows. "
                f"Got {sides[0][0].shape[1]} and {sides[1][0].shape[1]}. Convert one side first."
            )
        if same_items and not np.array_equal(sides[0][1], sides[1][1]):
            raise InputError("anchor_subjects and positive_subjects must be equal where row i is the same item.")
        values = (sides[0][0], sides[1][0], sides[0][1], sides[1][1], similarity, same_items, weight)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)
        if self.impostor_count == 0 or self.genuine_count == 0:
            raise InputError(
                "verification needs at least one genuine and one impostor pair. "
                f"Got {self.genuine_count} and {self.impostor_count}: "
                "pass at least two subjects, of whom one has rows on both sides."
            )
        if self.genuine_count > _MAX_GENUINE:
            raise InputError(
                f"there must be at most {_MAX_GENUINE:,} genuine pairs. Got {self.genuine_count:,}. "
                "Take fewer rows of each subject, or one anchor and one positive."
            )

    @property
    def subjects(self) -> int:
        """One more than the largest subject code."""
        return int(max(self.anchor_subjects.max(), self.positive_subjects.max())) + 1

    def rows_of_subjects(self) -> tuple[Float64, Float64]:
        """Count the anchors and the positives of each subject: two arrays (subjects,)."""
        counts = [
            np.bincount(codes, minlength=self.subjects) for codes in (self.anchor_subjects, self.positive_subjects)
        ]
        return counts[0].astype(np.float64), counts[1].astype(np.float64)

    @property
    def genuine_count(self) -> int:
        """Number of genuine pairs, self-pairs left out."""
        return int(self.genuine_counts.sum())

    @property
    def impostor_count(self) -> int:
        """Number of ordered impostor pairs."""
        anchors, positives = self.rows_of_subjects()
        return len(self.anchors) * len(self.positives) - int(anchors @ positives)

    @property
    def genuine_counts(self) -> Float64:
        """Number of genuine pairs of each subject, self-pairs left out: array (subjects,)."""
        anchors, positives = self.rows_of_subjects()
        return np.asarray(anchors * positives - (anchors if self.same_items else 0))

    @cached_property
    def votes(self) -> Votes:
        """What the pairs of each subject count."""
        counts = (*self.rows_of_subjects(), self.genuine_counts)
        if self.weight == "pairs":
            return Votes(*(np.ones(self.subjects) for _ in counts))
        return Votes(*(np.divide(1.0, count, out=np.zeros(len(count)), where=count > 0) for count in counts))

    @property
    def genuine_votes(self) -> float:
        """The votes of all genuine pairs: by person, the number of subjects that have one."""
        return float(np.round(self.votes.genuine @ self.genuine_counts))

    @property
    def impostor_votes(self) -> float:
        """The votes of all impostor pairs: by person, the number of ordered pairs of subjects."""
        votes = self.votes
        anchors, positives = self.rows_of_subjects()
        left, right = votes.anchors * anchors, votes.positives * positives
        return float(np.round(left.sum() * right.sum() - left @ right))

    @property
    def largest_share(self) -> float:
        """The largest share of the genuine pairs that one subject has, whatever the weight."""
        return float(self.genuine_counts.max() / self.genuine_count)

    @property
    def symmetric(self) -> bool:
        """Whether both sides are the same rows, so that every pair occurs both ways with one score."""
        return self.anchors is self.positives and self.anchor_subjects is self.positive_subjects

    @cached_property
    def genuine(self) -> GenuineScores:
        """Every genuine pair, scored in float64 when first asked for."""
        anchors, positives = genuine_rows(self)
        scores = pair_scores(self, anchors, positives)
        order = np.argsort(scores, kind="stable")
        subjects = self.anchor_subjects[anchors[order]]
        return GenuineScores(scores[order], subjects, self.votes.genuine[subjects])

    @cached_property
    def norms(self) -> tuple[Float64, Float64]:
        """The Euclidean norms of the anchors and of the positives, in float64."""
        anchors, positives = (
            np.linalg.norm(side.astype(np.float64), axis=1) for side in (self.anchors, self.positives)
        )
        return anchors, positives


def genuine_rows(pairs: VerificationPairs) -> tuple[Rows, Rows]:
    """Return the anchor row and the positive row of every genuine pair, self-pairs left out."""
    order = np.argsort(pairs.positive_subjects, kind="stable")
    counts = np.bincount(pairs.positive_subjects, minlength=pairs.subjects)
    starts = np.concatenate([[0], np.cumsum(counts)])[pairs.anchor_subjects]
    repeats = counts[pairs.anchor_subjects]
    anchors = np.repeat(np.arange(len(pairs.anchors)), repeats)
    offsets = np.arange(len(anchors)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    positives = order[np.repeat(starts, repeats) + offsets]
    if pairs.same_items:
        keep = anchors != positives
        anchors, positives = anchors[keep], positives[keep]
    return anchors, positives


def pair_scores(pairs: VerificationPairs, anchor_rows: Rows, positive_rows: Rows) -> Float64:
    """Score single pairs in float64: the reference that every count agrees with.

    Args:
        pairs: Who is compared with whom.
        anchor_rows: Array (k,).
        positive_rows: Array (k,).

    Returns:
        Array (k,), larger is closer. A zero vector has cosine 0 with everything.
    """
    scores = np.empty(len(anchor_rows))
    for start in range(0, len(anchor_rows), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        x = pairs.anchors[anchor_rows[part]].astype(np.float64)
        y = pairs.positives[positive_rows[part]].astype(np.float64)
        if pairs.similarity == "euclidean":
            difference = x - y
            scores[part] = -np.sqrt(np.einsum("ij,ij->i", difference, difference))
            continue
        dots = np.einsum("ij,ij->i", x, y)
        if pairs.similarity == "cosine":
            norms = pairs.norms[0][anchor_rows[part]] * pairs.norms[1][positive_rows[part]]
            dots = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
        scores[part] = dots
    return scores


def to_distance(score: Any, similarity: Similarity) -> Any:
    """Turn scores into distances: 1 − cosine, minus the dot product, or the Euclidean distance.

    Example:
        >>> to_distance(0.25, "cosine"), to_distance(-3.0, "euclidean")
        (0.75, 3.0)
    """
    return 1.0 - score if similarity == "cosine" else -score


def _check_side(vectors: ArrayLike, subjects: ArrayLike, what: str) -> tuple[NDArray[Any], Rows]:
    array, codes = np.asarray(vectors), np.asarray(subjects)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise InputError(f"{what} must be a float array (n, dim). Got shape {array.shape}, dtype {array.dtype}.")
    if codes.shape != (len(array),) or (codes.size and (codes.dtype.kind not in "iu" or codes.min() < 0)):
        raise InputError(
            f"the subjects of the {what} must be {len(array)} integers from 0 upwards. "
            f"Got shape {codes.shape}, dtype {codes.dtype}."
        )
    if len(array) == 0:
        raise InputError(f"{what} must have at least one row. Got none.")
    if not np.isfinite(array).all():
        raise InputError(f"{what} must be finite. Got NaN or infinity.")
    return array, codes.astype(np.intp)
