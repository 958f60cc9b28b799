"""Impostor pairs counted and ranked: memory bounded, counts equal to float64's. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError
from embcompat.evaluation.verification.pairs import Float64, Rows, VerificationPairs, pair_scores
from embcompat.evaluation.verification.products import Candidates, PairProducts

TAIL_LIMIT = 1 << 16
"""Most impostor pairs that are kept for a bootstrap; beyond it a random part stands for all [ours]."""

MOST_RANKED = 4_000_000
"""Most impostor pairs that can be ranked, which bounds the memory [ours]."""

_SAMPLE_PAIRS = 1 << 17
_GRID = 1 << 16


@dataclass(frozen=True, eq=False)
class ImpostorTail:
    """The highest-scoring impostor pairs, in descending order of score.

    Attributes:
        anchor_subjects: Array (k,).
        positive_subjects: Array (k,).
        scores: Array (k,), float64, descending.
        votes: Array (k,), what each pair counts. Where a random part of the pairs stands for all, each counts for
            those that were left out as well.
        fraction: Part of the pairs above the cut that was kept, drawn at random; 1 when all were.
    """

    anchor_subjects: Rows
    positive_subjects: Rows
    scores: Float64
    votes: Float64
    fraction: float = 1.0

    def select(self, rows: slice | NDArray[np.bool_], *, fraction: float = 1.0) -> ImpostorTail:
        """Return some of the pairs; a random ``fraction`` of them counts for all."""
        return ImpostorTail(
            self.anchor_subjects[rows],
            self.positive_subjects[rows],
            self.scores[rows],
            self.votes[rows] / fraction,
            self.fraction * fraction,
        )

    def thinned(self, limit: int, *, seed: int) -> ImpostorTail:
        """Return a random part of about ``limit`` pairs that counts for all, or all where they are no more."""
        fraction = limit / max(len(self.scores), 1)
        if fraction >= 1:
            return self
        return self.select(np.random.default_rng(seed).random(len(self.scores)) < fraction, fraction=fraction)


@dataclass(frozen=True, eq=False)
class ImpostorCounts:
    """What one pass over all impostor pairs found.

    Attributes:
        above: Array (thresholds,), how many impostor pairs score above each threshold, exactly.
        far: Array (thresholds,), the share of the votes of those pairs, a fraction.
        total: Number of impostor pairs.
        mean_distance: Mean distance of the impostor pairs, by their votes.
        tails: The pairs above each cut that was given.
    """

    above: NDArray[np.int64]
    far: Float64
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
    progress: Callable[[int], object] | None = None,
) -> ImpostorCounts:
    """Count the impostor pairs whose score is above each threshold.

    Products are float32. A pair whose score lies within the computed rounding error bound of a threshold is scored
    again in float64, so the counts are those of float64. Never an array of all pairs.

    Args:
        pairs: Who is compared with whom, and what has one vote.
        thresholds: One or more scores. A pair matches when its score is above the threshold (its distance below); a
            tie is no match.
        tails_above: Also keep the pairs that score above each of these cuts.
        tail_limit: Most pairs to keep for a cut; where there are more, a random part of them.
        seed: Seed of that random part.
        progress: Called with the number of pairs that were compared meanwhile.

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
    products = PairProducts(pairs)
    bins = _Bins(products, np.sort(levels))
    samples = [_TailSample(products, cut, tail_limit, seed) for cut in tails_above]

    def look(candidates: Candidates) -> tuple[NDArray[np.int64], Float64, list[Candidates]]:
        return *bins.count(candidates), [sample.above(candidates) for sample in samples]

    counts, votes = np.zeros(len(levels) + 1, dtype=np.int64), np.zeros(len(levels) + 1)
    for tile_counts, tile_votes, parts in products.scan(min([*levels.tolist(), *tails_above]), look, progress=progress):
        counts += products.copies * tile_counts
        votes += products.copies * tile_votes
        for sample, part in zip(samples, parts, strict=True):
            sample.add(part)
    places = np.searchsorted(bins.ascending, levels)
    above, above_votes = (values[::-1].cumsum()[::-1][1:][places] for values in (counts, votes))
    far = above / pairs.impostor_count if pairs.weight == "pairs" else above_votes / pairs.impostor_votes
    tails = tuple(sample.tail() for sample in samples)
    return ImpostorCounts(above, far, pairs.impostor_count, products.mean_distance(), tails)


def largest_impostors(pairs: VerificationPairs, votes: float) -> ImpostorTail:
    """Return the highest-scoring impostor pairs, scored in float64: enough that they have more than ``votes``.

    A random sample of pairs says where to cut, so that one pass suffices and memory is that of the result. All pairs
    come back if they don't have more votes.

    Args:
        pairs: Who is compared with whom, and what has one vote.
        votes: A number of votes, from 0.

    Raises:
        InputError: If the votes are negative, or more than 4 million pairs would be needed, which bounds the memory.
    """
    if votes < 0:
        raise InputError(f"votes must be at least 0. Got {votes:,}.")
    total = pairs.impostor_votes
    sample = _sample_impostor_scores(pairs)
    expected = min(votes / total, 1.0) * len(sample)
    rank = int(expected + 4 * np.sqrt(expected) + 4)
    while True:
        cut = float(sample[rank]) if rank < len(sample) else -np.inf
        tail, _ = impostors_above(pairs, cut)
        shares = np.cumsum(tail.votes)
        if cut == -np.inf or shares[-1:].sum() > votes:
            last = int(np.searchsorted(shares, votes + 1e-12 * total, side="right"))
            return tail.select(slice(min(last + 1, len(shares))))
        rank *= 8


def impostors_above(pairs: VerificationPairs, cut: float) -> tuple[ImpostorTail, Rows]:
    """Return all impostor pairs that score above a cut, scored in float64, and the row of the positive of each.

    Raises:
        InputError: If there are more than 4 million, which bounds the memory.
    """
    products = PairProducts(pairs)
    parts: list[Candidates] = []
    count = 0
    for part in products.scan(cut, lambda candidates: candidates):
        parts.append(products.mirrored(part))
        count += len(parts[-1].gaps)
        if count > MOST_RANKED:
            raise InputError(
                f"at most {MOST_RANKED:,} impostor pairs can be ranked. More score above {cut:.4g}. "
                "A false acceptance rate this high is measured as well on fewer rows."
            )
    return _score(products, Candidates.joined(parts), cut)


def _score(products: PairProducts, candidates: Candidates, cut: float) -> tuple[ImpostorTail, Rows]:
    """Score candidates in float64, and sort those above a cut; also return the rows of their positives."""
    pairs = products.pairs
    scores = pair_scores(pairs, candidates.anchor_rows, candidates.positive_rows)
    order = np.argsort(-scores, kind="stable")
    order = order[: int(np.searchsorted(-scores[order], -cut, side="left"))]
    positives = candidates.positive_rows[order]
    tail = ImpostorTail(
        pairs.anchor_subjects[candidates.anchor_rows[order]],
        pairs.positive_subjects[positives],
        scores[order],
        products.votes(candidates)[order],
    )
    return tail, positives


def _sample_impostor_scores(pairs: VerificationPairs) -> Float64:
    """Score impostor pairs that are drawn at random by their votes; descending."""
    rng = np.random.default_rng(0)
    rows = []
    for codes, factors in (
        (pairs.anchor_subjects, pairs.votes.anchors),
        (pairs.positive_subjects, pairs.votes.positives),
    ):
        chances = np.cumsum(factors[codes])
        rows.append(np.searchsorted(chances, rng.random(_SAMPLE_PAIRS) * chances[-1], side="right"))
    rows = [np.minimum(row, len(side) - 1) for row, side in zip(rows, (pairs.anchors, pairs.positives), strict=True)]
    keep = pairs.anchor_subjects[rows[0]] != pairs.positive_subjects[rows[1]]
    return np.sort(pair_scores(pairs, rows[0][keep], rows[1][keep]))[::-1]


class _Bins:
    """Candidates counted between thresholds: a grid of gaps decides where no threshold is near."""

    def __init__(self, products: PairProducts, ascending: Float64) -> None:
        self.ascending = ascending
        self._products = products
        self._gaps = products.gap(ascending)[::-1]  # ascending
        finite = self._gaps[np.isfinite(self._gaps)]
        low, high = (finite[0], finite[-1]) if len(finite) else (0.0, 0.0)
        margin = 4 * (products.slack + (high - low) / _GRID)
        self._low, self._step = float(low - margin), float((high - low + 2 * margin) / (_GRID - 3))
        edges = self._low + self._step * np.arange(-1, _GRID - 1)
        # A cell of the grid knows its bin if no threshold lies in it, or so near that rounding could decide.
        around = self._step + 2 * products.slack
        first = np.searchsorted(self._gaps, edges - around, side="left")
        last = np.searchsorted(self._gaps, edges + self._step + around, side="right")
        self._bins = np.where(first == last, len(ascending) - first, -1).astype(np.int32)

    def count(self, candidates: Candidates) -> tuple[NDArray[np.int64], Float64]:
        """Return how many candidates, and votes, are above exactly 0, 1, 2, … of the thresholds."""
        length = len(self.ascending) + 1
        cells = candidates.gaps - np.float32(self._low)
        cells *= np.float32(1 / self._step)
        cells += np.float32(1)
        np.clip(cells, 0, _GRID - 1, out=cells)
        bins = self._bins.take(cells.astype(np.intp))
        unsure = np.flatnonzero(bins < 0)
        bins[unsure] = self._decide(candidates.select(unsure))
        counts: NDArray[np.int64] = np.bincount(bins, minlength=length)
        if self._products.pairs.weight == "pairs":
            return counts, counts.astype(np.float64)
        votes: Float64 = np.bincount(bins, self._products.votes(candidates), minlength=length).astype(np.float64)
        return counts, votes

    def _decide(self, candidates: Candidates) -> NDArray[np.intp]:
        """Return how many of the thresholds the exact score of each candidate is above."""
        gaps, errors = candidates.gaps.astype(np.float64), self._products.errors(candidates)
        surely = len(self.ascending) - np.searchsorted(self._gaps, gaps + errors, side="right")
        possibly = len(self.ascending) - np.searchsorted(self._gaps, gaps - errors, side="left")
        unsure = np.flatnonzero(surely != possibly)
        close = candidates.select(unsure)
        scores = pair_scores(self._products.pairs, close.anchor_rows, close.positive_rows)
        surely[unsure] = np.searchsorted(self.ascending, scores, side="left")
        return surely


class _TailSample:
    """Candidates above a cut, thinned at random to a limit."""

    def __init__(self, products: PairProducts, cut: float, limit: int, seed: int) -> None:
        self._products, self._cut, self._limit = products, cut, limit
        self._gap = float(products.gap(cut))
        self._rng = np.random.default_rng(seed)
        self._fraction = 1.0
        self._parts: list[Candidates] = []
        self._count = 0

    def above(self, candidates: Candidates) -> Candidates:
        """Return the candidates that may be above the cut."""
        near = candidates.select(candidates.gaps <= self._gap + self._products.slack)
        return near.select(near.gaps <= self._gap + self._products.errors(near))

    def add(self, candidates: Candidates) -> None:
        """Take candidates."""
        part = self._products.mirrored(candidates)
        if self._fraction < 1:
            part = part.select(self._rng.random(len(part.gaps)) < self._fraction)
        self._parts.append(part)
        self._count += len(part.gaps)
        while self._count > self._limit:
            self._fraction /= 2
            pool = Candidates.joined(self._parts)
            self._parts = [pool.select(self._rng.random(self._count) < 0.5)]
            self._count = len(self._parts[0].gaps)

    def tail(self) -> ImpostorTail:
        """Return the pairs above the cut, scored in float64."""
        tail, _ = _score(self._products, Candidates.joined(self._parts), self._cut)
        return tail.select(slice(None), fraction=self._fraction)
