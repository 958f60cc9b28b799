"""Scores of cross-fitted conversions: one value for each item or subject, so that candidates compare paired."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings, PairedEmbeddings, piece_rows
from embcompat.errors import InputError
from embcompat.evaluation import search
from embcompat.evaluation.retrieval.neighbours import NEIGHBOURS, neighbour_overlap
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.evaluation.verification import frr_at_far, scenario_pairs, subject_figures

Objective = Literal["balanced", "lowest_far"]
"""What counts as best in verification: figures for the two objectives of FC-Aligner's Table 1 [ours].

``balanced``: genuine scores far above impostor scores, whatever threshold is set between them.
``lowest_far``: few impostor scores above a threshold that is set on new vectors and stays.
"""

FIXED_FAR = 1e-4
"""False accept rate of new vs. new vectors at that threshold: low, yet countable on few subjects [ours]."""

SCORED_ROWS = 3_000
"""Most rows that are scored: a random sample of whole labels beyond that [ours]."""

_LEAST_ERRORS = 30

_BLOCK_ROWS = 1_024


def sample_rows(pairs: PairedEmbeddings, *, seed: int, rows: int | None = None, labels: int = 1) -> NDArray[np.intp]:
    """Draw about ``rows`` rows (`SCORED_ROWS` when None), ascending: whole labels, at least ``labels`` of them."""
    rows = SCORED_ROWS if rows is None else rows
    if len(pairs) <= rows:
        return np.arange(len(pairs))
    units = pairs.ids if pairs.labels is None else pairs.labels
    _, unit_of, sizes = np.unique(units.astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    inside = np.zeros(len(sizes), dtype=bool)
    inside[order[: max(labels, np.searchsorted(np.cumsum(sizes[order]), rows, side="right"))]] = True
    return np.flatnonzero(inside[unit_of])


def neighbour_scores(converted: NDArray[np.float32], pairs: PairedEmbeddings) -> NDArray[np.float64]:
    """Return the share of native neighbours that each item finds among the converted items (n,).

    It counts at most a tenth of the items as neighbours, so that few items can't all be neighbours of each other.

    Args:
        converted: The items, converted (n, target_dim).
        pairs: The same items.
    """
    nearest = min(NEIGHBOURS, max(1, len(pairs) // 10))
    return neighbour_overlap(pairs.target.vectors, converted, pairs.target.space.similarity, k=nearest)


def piece_scores(converted: NDArray[np.float32], pairs: PairedEmbeddings) -> NDArray[np.float64]:
    """Return how far each text with pieces stands out when its native pieces search the converted texts (texts,).

    A piece stands for a query, and its own text for the answer: the score of that text less the mean score of the
    others, in their standard deviations; 0 where the others do not differ. The mean over the pieces of a text is its
    value. The reciprocal rank of a piece's own text saturates, and prefers maps that serve queries worse. At most
    `SCORED_ROWS` texts and their pieces take part. [ours]

    Args:
        converted: Texts and pieces, converted (n, target_dim).
        pairs: The same texts and pieces.
    """
    labels = pairs.labels
    if labels is None:
        raise InputError("pieces carry the label of their text. Got pairs without labels.")
    pieces = piece_rows(pairs)
    row_of = {pairs.ids[row]: number for number, row in enumerate(np.flatnonzero(~pieces)[:SCORED_ROWS])}
    texts = converted[np.flatnonzero(~pieces)[:SCORED_ROWS]]
    asking = np.array([row for row in np.flatnonzero(pieces) if labels[row] in row_of], dtype=np.intp)
    owners = np.array([row_of[label] for label in labels[asking]], dtype=np.intp)
    margins = np.empty(len(asking))
    for start in range(0, len(asking), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        scores = pairwise_scores(pairs.target.vectors[asking[block]], texts, pairs.target.space.similarity)
        margins[block] = _margins(scores, owners[block])
    counts = np.bincount(owners, minlength=len(texts))
    sums = np.bincount(owners, weights=margins, minlength=len(texts))
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def subject_scores(
    converted: NDArray[np.float32], pairs: PairedEmbeddings, objective: Objective
) -> NDArray[np.float64]:
    """Return how well each subject is separated from the others; larger is better.

    Every converted row is scored against every new row of another image. Subjects count alike, however many images they
    have: a subject's genuine scores share one vote, and so do the scores of the images of two subjects. ``balanced``
    gives the mean genuine score of the subject less the mean impostor score, in standard deviations of the impostor
    scores. ``lowest_far`` gives minus the impostor scores of the subject, per 10,000, above the threshold at which new
    vs. new vectors have the false accept rate `FIXED_FAR`, or as high a rate as 30 errors need. An aligner that rejects
    more than half of the genuine scores there gets the worst score, −10,000, for every subject: accepting nothing is no
    merit.

    The false accept rate at a low false reject rate itself is of no use here: a few hundred held-out subjects make a
    handful of false accepts or none, and then every aligner is as good as every other. [ours]

    Args:
        converted: The rows, converted (n, target_dim).
        pairs: The same rows, with labels.
        objective: One of the two objectives.

    Returns:
        One value for each subject: with two or more rows for ``balanced``, with any for ``lowest_far``.

    Raises:
        InputError: If there are no labels, or fewer than two subjects with two rows.
    """
    rows = subject_rows(pairs)
    several = rows >= 2
    new = Embeddings.trusted(pairs.target.vectors, pairs.ids, pairs.target.space, pairs.labels)
    scenarios = scenario_pairs(new, new, Embeddings.trusted(converted, new.ids, new.space, new.labels), all_images=True)
    if objective == "lowest_far":
        far = max(FIXED_FAR, _LEAST_ERRORS / scenarios["S1"].impostor_count)
        figures = subject_figures(scenarios["S3"], frr_at_far(scenarios["S1"], far).threshold)
        accepts = np.mean(figures.accepted[several]) >= 0.5
        return -1e4 * (figures.false_accepts if accepts else np.ones(len(rows)))
    figures = subject_figures(scenarios["S3"], np.inf)
    return np.asarray((figures.genuine[several] - figures.impostor_mean) / max(figures.impostor_deviation, 1e-12))


def subject_rows(pairs: PairedEmbeddings) -> NDArray[np.intp]:
    """Return how many rows each subject has (subjects,).

    Raises:
        InputError: If there are no labels, or fewer than two subjects with two rows.
    """
    if pairs.labels is None:
        raise InputError("choosing for verification needs a label, the subject, of each pair. Got none.")
    rows = np.unique(pairs.labels.astype(str), return_counts=True)[1]
    several = np.count_nonzero(rows >= 2)
    if several < 2:
        raise InputError(
            f"choosing for verification needs two or more held-out subjects with two or more pairs. Got {several}."
        )
    return rows


class HeldOutQueries:
    """Held-out queries and items, and which items the new model finds for each query.

    Args:
        pairs: Held-out pairs; their pieces are the queries, or the items themselves where there are none.

    Raises:
        InputError: If there are fewer than two whole items.
    """

    def __init__(self, pairs: PairedEmbeddings) -> None:
        pieces = piece_rows(pairs)
        items, self._similarity = pairs.select(~pieces), pairs.target.space.similarity
        if len(items) < 2:
            raise InputError(f"choosing needs two or more whole held-out items. Got {len(items)}.")
        self._rows = np.flatnonzero(~pieces)
        self._queries = pairs.target.vectors[pieces] if pieces.any() else items.target.vectors
        row_of = {identifier: row for row, identifier in enumerate(items.ids.tolist())}
        labels = [] if pairs.labels is None else pairs.labels[pieces].tolist()
        self._owners = np.array([row_of[label] for label in labels], dtype=np.intp)
        self._itself = None if pieces.any() else np.arange(len(items))
        self._depth = min(NEIGHBOURS, len(items) - 1)
        self._native = self._search(items.target.vectors)

    def score(self, converted: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return, for each query, the share of its native neighbours found among the converted pairs (n, dim)."""
        neighbours = self._search(converted[self._rows])
        hits = self._native[:, :, np.newaxis] == neighbours[:, np.newaxis, :]
        return np.asarray(hits.sum(axis=(1, 2)) / self._depth)

    def margins(self, converted: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how far the own item of each piece stands out among the converted pairs (n, dim)."""
        return _margins(pairwise_scores(self._queries, converted[self._rows], self._similarity), self._owners)

    def _search(self, gallery: NDArray[np.float32]) -> NDArray[np.intp]:
        return search(self._queries, gallery, k=self._depth, similarity=self._similarity, exclude_self=self._itself)[1]


def _margins(scores: NDArray[np.floating], owners: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how far one score of each row (q, n) stands above the others of the row, in their deviations (q,)."""
    rows = np.arange(len(scores))
    others = scores.astype(np.float64)
    genuine = others[rows, owners]
    others[rows, owners] = 0
    count = max(1, scores.shape[1] - 1)
    mean = others.sum(axis=1) / count
    others -= mean[:, np.newaxis]
    others[rows, owners] = 0
    deviation = np.sqrt(np.sum(others**2, axis=1) / count)
    # A map that sends everything to one place leaves rounding errors alone.
    differ = deviation > np.finfo(np.float32).eps * np.maximum(np.abs(genuine), np.abs(mean))
    return np.where(differ, genuine - mean, 0) / np.where(differ, deviation, 1)
