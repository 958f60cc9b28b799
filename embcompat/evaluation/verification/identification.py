"""Identification, 1:N: open-set FPIR and FNIR, closed-set rank-k. numpy only.

A probe is *mated* when its subject is in the gallery. Source: ISO/IEC 19795-1; Grother and Ngan, Face Recognition
Vendor Test: Performance of Face Identification Algorithms (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import bootstrap_mean
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.evaluation.verification.figures import threshold_at_far
from embcompat.results import Estimate
from embcompat.spaces import Similarity, require_space

_BLOCK_SCORES = 4_194_304


@dataclass(frozen=True, eq=False)
class IdentificationScores:
    """What every probe found in a gallery. A subject's score is that of its best gallery row.

    Attributes:
        mate_scores: Array (mated,), score of the probe's own subject.
        mate_ranks: Array (mated,), its rank from 1; a tie counts against it.
        stranger_scores: Array (non-mated,), the best score of a probe whose subject is not in the gallery.
    """

    mate_scores: NDArray[np.float32]
    mate_ranks: NDArray[np.intp]
    stranger_scores: NDArray[np.float32]


@dataclass(frozen=True)
class OpenSetRates:
    """Open-set figures at one threshold.

    Attributes:
        threshold: Score above which a candidate is returned.
        fpir: False positive identification rate: non-mated probes that return anybody.
        fnir: False negative identification rate: mated probes whose subject is not returned within the rank.
    """

    threshold: float
    fpir: Estimate
    fnir: Estimate


def identification_scores(gallery: Embeddings, probes: Embeddings) -> IdentificationScores:
    """Search every probe in a gallery, exactly.

    Args:
        gallery: Enrolled vectors; labels are the subjects.
        probes: Vectors to identify, of the gallery's space and of other items.

    Raises:
        InputError: If labels are missing, the gallery is empty, or an item is on both sides.
        SpaceMismatchError: If the spaces differ.
    """
    require_space(probes.space, gallery.space, what="The probes")
    if gallery.labels is None or probes.labels is None:
        raise InputError("identification needs labels that name the subject of each row. Got none on one side.")
    if len(gallery) == 0:
        raise InputError("the gallery must have at least one row. Got none.")
    shared = set(gallery.ids.tolist()) & set(probes.ids.tolist())
    if shared:
        raise InputError(f"no item may be both enrolled and a probe. Got {len(shared)}, first {min(shared)!r}.")
    order = np.argsort(gallery.labels.astype(str), kind="stable")
    subjects, starts = np.unique(gallery.labels[order].astype(str), return_index=True)
    vectors = gallery.vectors[order]
    column_of = {subject: column for column, subject in enumerate(subjects.tolist())}
    columns = np.array([column_of.get(label, -1) for label in probes.labels.tolist()], dtype=np.intp)
    scores, ranks = np.empty(len(probes), dtype=np.float32), np.zeros(len(probes), dtype=np.intp)
    rows = max(1, _BLOCK_SCORES // len(vectors))
    for start in range(0, len(probes), rows):
        part = slice(start, start + rows)
        scores[part], ranks[part] = _search(
            probes.vectors[part], columns[part], vectors, starts, gallery.space.similarity
        )
    mated = columns >= 0
    return IdentificationScores(scores[mated], ranks[mated], scores[~mated])


def open_set_rates(scores: IdentificationScores, *, fpir: float = 0.01, rank: int = 1, seed: int = 0) -> OpenSetRates:
    """Return the FNIR at the smallest threshold whose FPIR does not exceed a rate.

    Args:
        scores: What `identification_scores` found.
        fpir: The rate, a fraction below 1.
        rank: How many candidates are returned at most.
        seed: Seed of the bootstrap over probes, at that threshold.

    Raises:
        InputError: If there is no mated or no non-mated probe, or the rank is below 1.
    """
    if rank < 1:
        raise InputError(f"rank must be at least 1. Got {rank}.")
    if len(scores.mate_scores) == 0 or len(scores.stranger_scores) == 0:
        raise InputError(
            "open-set identification needs probes whose subject is in the gallery and probes whose subject is not. "
            f"Got {len(scores.mate_scores)} and {len(scores.stranger_scores)}."
        )
    threshold = threshold_at_far(scores.stranger_scores, fpir)
    missed = (scores.mate_scores <= threshold) | (scores.mate_ranks > rank)
    return OpenSetRates(
        threshold,
        bootstrap_mean(scores.stranger_scores > threshold, seed=seed),
        bootstrap_mean(missed, seed=seed),
    )


def rank_accuracy(
    scores: IdentificationScores, ranks: Sequence[int] = (1, 5, 10), *, seed: int = 0
) -> dict[int, Estimate]:
    """Return the part of the mated probes whose subject is among the first k candidates, for each k.

    Args:
        scores: What `identification_scores` found.
        ranks: The values of k.
        seed: Seed of the bootstrap over probes.

    Raises:
        InputError: If there is no mated probe.
    """
    if len(scores.mate_ranks) == 0:
        raise InputError("closed-set identification needs probes whose subject is in the gallery. Got none.")
    return {rank: bootstrap_mean(scores.mate_ranks <= rank, seed=seed) for rank in ranks}


def _search(
    probes: NDArray[np.float32],
    columns: NDArray[np.intp],
    gallery: NDArray[np.float32],
    starts: NDArray[np.intp],
    similarity: Similarity,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return each probe's mate score and rank, or its best score and 0 where it has no mate."""
    by_subject = np.maximum.reduceat(pairwise_scores(probes, gallery, similarity), starts, axis=1)
    mated = columns >= 0
    own_scores = by_subject[np.arange(len(probes)), np.maximum(columns, 0)]
    ranks = np.count_nonzero(by_subject >= own_scores[:, np.newaxis], axis=1)
    return np.where(mated, own_scores, by_subject.max(axis=1)), np.where(mated, ranks, 0)
