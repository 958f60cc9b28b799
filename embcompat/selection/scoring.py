"""Scores of fitted aligners on held-out pairs: one value for each item or subject, so that they compare paired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.errors import InputError
from embcompat.evaluation.retrieval.neighbours import neighbour_overlap
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.evaluation.verification.figures import frr_at_far
from embcompat.evaluation.verification.scenarios import scenario_pairs

Objective = Literal["balanced", "lowest_far"]
"""What is best in verification, after the two objectives of FC-Aligner's Table 1 [ours, as figures for them].

``balanced``: genuine scores far above impostor scores, whatever threshold is set between them.
``lowest_far``: few impostor scores above a threshold that is set on new vectors and stays.
"""

FIXED_FAR = 1e-4
"""False accept rate of new vectors among themselves at that threshold: low, yet countable on few subjects [ours]."""

_LEAST_ERRORS = 30

_BLOCK_ROWS = 1_024


def neighbour_scores(aligner: Aligner, pairs: PairedEmbeddings) -> NDArray[np.float64]:
    """Return the share of native neighbours that each converted item finds (n,)."""
    converted = aligner.transform(pairs.source.vectors)
    return neighbour_overlap(pairs.target.vectors, converted, pairs.target.space.similarity)


def subject_scores(aligner: Aligner, pairs: PairedEmbeddings, objective: Objective) -> NDArray[np.float64]:
    """Return how well each subject is kept apart from the others; larger is better.

    Every converted row is scored against every new row of another image. ``balanced`` gives the mean genuine score of
    the subject less the mean impostor score, in standard deviations of the impostor scores. ``lowest_far`` gives minus
    the impostor scores of the subject, per 10,000, above the threshold at which new vectors among themselves have the
    false accept rate `FIXED_FAR`, or as high a rate as 30 errors need. An aligner that rejects more than half of the
    genuine scores there gets the worst score, −10,000, for every subject: accepting nothing is no merit.

    The false accept rate at a low false reject rate itself is of no use here: a few hundred held-out subjects make a
    handful of false accepts or none, and then every aligner is as good as every other. [ours]

    Args:
        aligner: What to score.
        pairs: Held-out pairs with labels.
        objective: Which of the two.

    Returns:
        One value for each subject: with two or more rows for ``balanced``, with any for ``lowest_far``.

    Raises:
        InputError: If there are no labels, or fewer than two subjects with two rows.
    """
    if pairs.labels is None:
        raise InputError("choosing for verification needs a label, the subject, of each pair. Got none.")
    labels = np.unique(pairs.labels.astype(str), return_inverse=True)[1].astype(np.intp)
    rows = np.bincount(labels)
    several = rows >= 2
    if np.count_nonzero(several) < 2:
        raise InputError(
            "choosing for verification needs two or more held-out subjects with two or more pairs. "
            f"Got {np.count_nonzero(several)}."
        )
    others = rows * (len(labels) - rows)
    converted = aligner.transform(pairs.source.vectors)
    if objective == "lowest_far":
        threshold = _native_threshold(pairs, max(FIXED_FAR, _LEAST_ERRORS / int(others.sum())))
        sums = _sums(converted, pairs, labels, threshold)
        accepts = np.mean(sums.genuine_accepted[several] / (rows * (rows - 1))[several]) >= 0.5
        return -1e4 * (sums.accepted / others if accepts else np.ones(len(rows)))
    sums = _sums(converted, pairs, labels, np.inf)
    mean = sums.impostor.sum() / others.sum()
    deviation = np.sqrt(max(sums.squares / others.sum() - mean**2, 1e-24))
    return np.asarray((sums.genuine[several] / (rows * (rows - 1))[several] - mean) / deviation)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Over the scores of each subject's converted rows: sums, and how many are above a threshold."""

    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]
    genuine_accepted: NDArray[np.float64]
    accepted: NDArray[np.float64]
    squares: float


def _sums(converted: NDArray[np.float32], pairs: PairedEmbeddings, labels: NDArray[np.intp], threshold: float) -> _Sums:
    genuine, impostor, genuine_accepted, accepted = np.zeros((4, labels.max() + 1))
    squares = 0.0
    for start in range(0, len(labels), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        own = labels[block]
        found = pairwise_scores(converted[block], pairs.target.vectors, pairs.target.space.similarity)
        scores = found.astype(np.float64)
        same = own[:, np.newaxis] == labels
        # An image scored against itself is neither genuine nor impostor.
        itself = scores[np.arange(len(own)), start + np.arange(len(own))]
        within = np.where(same, scores, 0.0)
        across = np.where(same, 0.0, scores)
        np.add.at(genuine, own, within.sum(axis=1) - itself)
        np.add.at(impostor, own, across.sum(axis=1))
        above = scores > threshold
        np.add.at(genuine_accepted, own, np.count_nonzero(above & same, axis=1) - (itself > threshold))
        np.add.at(accepted, own, np.count_nonzero(above & ~same, axis=1))
        squares += float(np.vdot(across, across))
    return _Sums(genuine, impostor, genuine_accepted, accepted, squares)


def _native_threshold(pairs: PairedEmbeddings, far: float) -> float:
    new = Embeddings.trusted(pairs.target.vectors, pairs.ids, pairs.target.space, pairs.labels)
    return frr_at_far(scenario_pairs(new, new, new, all_images=True)["S1"], far).threshold
