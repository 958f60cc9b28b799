"""How well each subject is separated from the others: one figure a subject, so that fits can be compared in pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embcompat.evaluation.similarity import pairwise_scores
from embcompat.evaluation.verification.pairs import Float64, VerificationPairs

_BLOCK_ROWS = 1_024


@dataclass(frozen=True, eq=False)
class SubjectFigures:
    """Figures of each subject's anchors; NaN where a subject has no such pair.

    Attributes:
        genuine: Array (subjects,), mean score of its genuine pairs.
        accepted: Array (subjects,), share of its genuine pairs above the threshold.
        false_accepts: Array (subjects,), share of its impostor votes above the threshold.
        impostor_mean: Mean score of all impostor pairs, by their votes.
        impostor_deviation: Standard deviation of the scores of all impostor pairs, by their votes.
    """

    genuine: Float64
    accepted: Float64
    false_accepts: Float64
    impostor_mean: float
    impostor_deviation: float


def subject_figures(pairs: VerificationPairs, threshold: float) -> SubjectFigures:
    """Measure every subject: its genuine scores, and how many impostors its anchors accept.

    Weighed by person, each other person counts the same in ``false_accepts``, and each ordered pair of people in the
    mean and the deviation.

    Args:
        pairs: Who is compared with whom, and what has one vote.
        threshold: A score; pairs above it match.
    """
    codes, others = pairs.anchor_subjects, pairs.positive_subjects
    votes = pairs.votes
    weights = votes.positives[others]
    genuine, accepted, impostor, squares, false_accepts = np.zeros((5, pairs.subjects))
    for start in range(0, len(codes), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        row_subjects = codes[block]
        scores = pairwise_scores(pairs.anchors[block], pairs.positives, pairs.similarity).astype(np.float64)
        same = row_subjects[:, np.newaxis] == others
        across = np.where(same, 0.0, scores)
        if pairs.same_items:
            same[np.arange(len(row_subjects)), start + np.arange(len(row_subjects))] = False
            across[np.arange(len(row_subjects)), start + np.arange(len(row_subjects))] = 0.0
        above = scores > threshold
        np.add.at(genuine, row_subjects, np.where(same, scores, 0.0).sum(axis=1))
        np.add.at(accepted, row_subjects, np.count_nonzero(above & same, axis=1))
        np.add.at(impostor, row_subjects, across @ weights)
        np.add.at(squares, row_subjects, np.square(across) @ weights)
        np.add.at(false_accepts, row_subjects, (above & (row_subjects[:, np.newaxis] != others)) @ weights)
    anchors, positives = pairs.rows_of_subjects()
    by_subject = votes.positives * positives
    rivals = anchors * (by_subject.sum() - by_subject)
    mean = float(votes.anchors @ impostor) / pairs.impostor_votes
    variance = float(votes.anchors @ squares) / pairs.impostor_votes - mean**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return SubjectFigures(
            genuine / pairs.genuine_counts,
            accepted / pairs.genuine_counts,
            false_accepts / rivals,
            mean,
            float(np.sqrt(max(variance, 0.0))),
        )
