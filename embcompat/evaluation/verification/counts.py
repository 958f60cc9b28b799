"""Impostor pairs counted and ranked: memory bounded, counts equal to float64's. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError
from embcompat.evaluation.verification.pairs import (
    Float64,
    Rows,
    VerificationPairs,
    pair_scores,
    to_distance,
)
from embcompat.evaluation.verification.products import Candidates, PairProducts

TAIL_LIMIT = 1 << 17
"""Most impostor pairs that are kept for a bootstrap; beyond it a random part stands for all [ours]."""

MOST_RANKED = 4_000_000
"""Most impostor pairs that can be ranked, which bounds the memory [ours]."""

_SAMPLE_PAIRS = 1 << 17


@dataclass(frozen=True, eq=False)
class ImpostorTail:
    """The highest-scoring impostor pairs, in descending order of score.

    Attributes:
        anchor_subjects: Array (k,).
        positive_subjects: Array (k,).
        scores: Array (k,), float64, descending.
        fraction: Part of the pairs above the cut that was kept, drawn at random; 1 when all were.
    """

    anchor_subjects: Rows
    positive_subjects: Rows
    scores: Float64
    fraction: float = 1.0


@dataclass(frozen=True, eq=False)
class ImpostorCounts:
    """What one pass over all impostor pairs found.

    Attributes:
        above: Array (thresholds,), how many impostor pairs score above each threshold, exactly.
        total: Number of impostor pairs.
        mean_distance: Mean distance of the impostor pairs.
        tails: The pairs above each cut that was given.
    """

    above: NDArray[np.int64]
    total: int
    mean_distance: float
    tails: tuple[ImpostorTail, ...]


def count_impostors(
    pairs: VerificationPairs,
    thresholds: ArrayLike,
    *,
    tails_above: Sequence[float] = (),
    tail_limit: int = TAIL_LIMIT,
    seed: int = 0,
) -> ImpostorCounts:
    """Count the impostor pairs whose score is above each threshold.

    Products are float32. A pair whose score lies within the computed rounding error bound of a threshold is scored
    again in float64, so the counts are those of float64. Never an array of all pairs.

    Args:
        pairs: Who is compared with whom.
        thresholds: One or more scores. A pair matches when its score is above the threshold (its distance below); a
            tie is no match.
        tails_above: Also keep the pairs that score above each of these cuts.
        tail_limit: Most pairs to keep for a cut; where there are more, a random part of them.
        seed: Seed of that random part.

    Raises:
        InputError: If a threshold is not a number.

    Example:
        >>> pairs = VerificationPairs([[0.0], [5.0]], [[1.0], [9.0]], [0, 1], [0, 1], "euclidean")
        >>> count_impostors(pairs, [-9.5, -9.0, -4.0]).above.tolist()  # the impostor distances are 9 and 4
        [2, 1, 0]
    """
    levels = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if levels.ndim != 1 or levels.size == 0 or np.isnan(levels).any():
        raise InputError(f"thresholds must be one or more numbers. Got {thresholds!r}.")
    ascending = np.sort(levels)
    products = PairProducts(pairs)
    above_exactly = np.zeros(len(levels) + 1, dtype=np.int64)
    samples = [_TailSample(products, cut, tail_limit, seed) for cut in tails_above]
    for found in products.candidates(min([float(ascending[0]), *tails_above])):
        above_exactly += np.bincount(_thresholds_below(products, found, ascending), minlength=len(levels) + 1)
        for sample in samples:
            sample.add(found)
    tails = tuple(sample.tail() for sample in samples)
    above = above_exactly[::-1].cumsum()[::-1][1:][np.searchsorted(ascending, levels)]
    return ImpostorCounts(above, pairs.impostor_count, _mean_impostor_distance(products), tails)


def largest_impostors(pairs: VerificationPairs, count: int) -> ImpostorTail:
    """Return the ``count`` highest-scoring impostor pairs (all, if there are fewer), scored in float64.

    A random sample of pairs says where to cut, so that one pass suffices and memory is that of the result. Where the
    last score is shared by several pairs, any of them are returned.

    Raises:
        InputError: If the count is not between 1 and 4 million, which bounds the memory.
    """
    count = min(count, pairs.impostor_count)
    if not 1 <= count <= MOST_RANKED:
        raise InputError(
            f"count must be between 1 and {MOST_RANKED:,}. Got {count:,}. "
            "A false acceptance rate this high is measured as well on fewer rows."
        )
    sample = _sample_impostor_scores(pairs)
    expected = count / pairs.impostor_count * len(sample)
    rank = int(expected + 4 * np.sqrt(expected) + 4)
    products = PairProducts(pairs)
    while True:
        cut = float(sample[rank]) if rank < len(sample) else -np.inf
        found = Candidates.joined(list(products.candidates(cut)))
        if len(found.keys) >= count:
            break
        rank *= 8
    floor = np.partition(found.keys - found.errors, -count)[-count]
    found = found.select(found.keys + found.errors >= floor)
    return _score(pairs, found, count)


def _score(pairs: VerificationPairs, found: Candidates, count: int, fraction: float = 1.0) -> ImpostorTail:
    """Score candidates in float64 and keep the ``count`` highest."""
    scores = pair_scores(pairs, found.anchor_rows, found.positive_rows)
    best = np.argsort(-scores, kind="stable")[:count]
    return ImpostorTail(
        pairs.anchor_subjects[found.anchor_rows[best]],
        pairs.positive_subjects[found.positive_rows[best]],
        scores[best],
        fraction,
    )


def _thresholds_below(products: PairProducts, found: Candidates, ascending: Float64) -> NDArray[np.intp]:
    """Say for each candidate how many of the thresholds its exact score is above."""
    keys = products.key(ascending)
    surely = np.searchsorted(keys, found.keys - found.errors, side="left")
    possibly = np.searchsorted(keys, found.keys + found.errors, side="right")
    unsure = np.flatnonzero(surely != possibly)
    scores = pair_scores(products.pairs, found.anchor_rows[unsure], found.positive_rows[unsure])
    surely[unsure] = np.searchsorted(ascending, scores, side="left")
    return surely


def _mean_impostor_distance(products: PairProducts) -> float:
    """Return the mean distance of the impostor pairs, once all candidates were taken."""
    pairs = products.pairs
    own = to_distance(pairs.genuine.scores, pairs.similarity).sum()
    if pairs.same_items:
        rows = np.arange(len(pairs.anchors))
        own += to_distance(pair_scores(pairs, rows, rows), pairs.similarity).sum()
    return float(products.distance_sum() - own) / pairs.impostor_count


def _sample_impostor_scores(pairs: VerificationPairs) -> Float64:
    """Score random impostor pairs; descending."""
    rng = np.random.default_rng(0)
    anchors = rng.integers(len(pairs.anchors), size=_SAMPLE_PAIRS)
    positives = rng.integers(len(pairs.positives), size=_SAMPLE_PAIRS)
    keep = pairs.anchor_subjects[anchors] != pairs.positive_subjects[positives]
    return np.sort(pair_scores(pairs, anchors[keep], positives[keep]))[::-1]


class _TailSample:
    """Candidates above a cut, thinned at random to a limit."""

    def __init__(self, products: PairProducts, cut: float, limit: int, seed: int) -> None:
        self._products, self._cut, self._limit = products, cut, limit
        self._rng = np.random.default_rng(seed)
        self._fraction = 1.0
        self._parts: list[Candidates] = []
        self._count = 0

    def add(self, found: Candidates) -> None:
        """Take the candidates that may be above the cut."""
        keep = found.keys + found.errors >= self._products.key(self._cut)
        if self._fraction < 1:
            keep &= self._rng.random(len(keep)) < self._fraction
        self._parts.append(found.select(keep))
        self._count += len(self._parts[-1].keys)
        while self._count > self._limit:
            self._fraction /= 2
            kept = Candidates.joined(self._parts)
            self._parts = [kept.select(self._rng.random(self._count) < 0.5)]
            self._count = len(self._parts[0].keys)

    def tail(self) -> ImpostorTail:
        """Return the pairs above the cut, scored in float64."""
        found = Candidates.joined(self._parts)
        scored = _score(self._products.pairs, found, len(found.keys), self._fraction)
        count = int(np.searchsorted(-scored.scores, -self._cut, side="left"))
        return ImpostorTail(
            scored.anchor_subjects[:count], scored.positive_subjects[:count], scored.scores[:count], scored.fraction
        )
