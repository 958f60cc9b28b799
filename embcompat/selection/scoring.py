"""Scores of fitted aligners on held-out pairs: one value for each item or subject, so that they compare paired."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.errors import InputError
from embcompat.evaluation.retrieval.neighbours import neighbour_overlap
from embcompat.evaluation.verification import frr_at_far, scenario_pairs, subject_figures

Objective = Literal["balanced", "lowest_far"]
"""What is best in verification, after the two objectives of FC-Aligner's Table 1 [ours, as figures for them].

``balanced``: genuine scores far above impostor scores, whatever threshold is set between them.
``lowest_far``: few impostor scores above a threshold that is set on new vectors and stays.
"""

FIXED_FAR = 1e-4
"""False accept rate of new vectors among themselves at that threshold: low, yet countable on few subjects [ours]."""

_LEAST_ERRORS = 30


def neighbour_scores(aligner: Aligner, pairs: PairedEmbeddings) -> NDArray[np.float64]:
    """Return the share of native neighbours that each converted item finds (n,)."""
    converted = aligner.transform(pairs.source.vectors)
    return neighbour_overlap(pairs.target.vectors, converted, pairs.target.space.similarity)


def subject_scores(aligner: Aligner, pairs: PairedEmbeddings, objective: Objective) -> NDArray[np.float64]:
    """Return how well each subject is kept apart from the others; larger is better.

    Every converted row is scored against every new row of another image; each person counts the same, and so does
    each pair of people, as in `evaluate_verification`. ``balanced`` gives the mean genuine score of the subject less
    the mean impostor score, in standard deviations of the impostor scores. ``lowest_far`` gives minus the impostor
    scores of the subject, per 10,000, above the threshold at which new vectors among themselves have the
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
    rows = np.unique(pairs.labels.astype(str), return_counts=True)[1]
    several = rows >= 2
    if np.count_nonzero(several) < 2:
        raise InputError(
            "choosing for verification needs two or more held-out subjects with two or more pairs. "
            f"Got {np.count_nonzero(several)}."
        )
    new = Embeddings.trusted(pairs.target.vectors, pairs.ids, pairs.target.space, pairs.labels)
    converted = Embeddings.trusted(aligner.transform(pairs.source.vectors), new.ids, new.space, new.labels)
    scenarios = scenario_pairs(new, new, converted, all_images=True)
    if objective == "lowest_far":
        far = max(FIXED_FAR, _LEAST_ERRORS / scenarios["S1"].impostor_count)
        figures = subject_figures(scenarios["S3"], frr_at_far(scenarios["S1"], far).threshold)
        accepts = np.mean(figures.accepted[several]) >= 0.5
        return -1e4 * (figures.false_accepts if accepts else np.ones(len(rows)))
    figures = subject_figures(scenarios["S3"], np.inf)
    return np.asarray((figures.genuine[several] - figures.impostor_mean) / max(figures.impostor_deviation, 1e-12))
