"""Uncertainty of verification figures: a bootstrap over subjects. numpy only.

The scores of one person depend on each other, so subjects are resampled, not pairs. A subject that is drawn w times
counts w times: its genuine pairs have w times their votes, an impostor pair of subjects i and j w_i·w_j times its vote,
and every replicate chooses its own threshold. Two figures that are replicated with the same draws are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import estimate_from
from embcompat.evaluation.verification.counts import ImpostorTail, count_impostors
from embcompat.evaluation.verification.figures import threshold_at_frr
from embcompat.evaluation.verification.pairs import Float64, GenuineScores, VerificationPairs
from embcompat.results import Estimate

REPLICATES = 1_000
"""How often the subjects are resampled [ours]."""

_CHUNK = 1_024


@dataclass(frozen=True, eq=False)
class SubjectDraws:
    """How often each subject stands in each replicate.

    Attributes:
        drawn: Array (replicates, subjects). A count above 255 does not occur: its probability is below 1e-490.
        genuine_votes: Array (replicates,), the votes of all genuine pairs.
        impostor_votes: Array (replicates,), the votes of all impostor pairs.
    """

    drawn: NDArray[np.uint8]
    genuine_votes: Float64
    impostor_votes: Float64

    def __len__(self) -> int:
        return len(self.drawn)


@dataclass(frozen=True, eq=False)
class Threshold:
    """A threshold, chosen on the data and in every replicate.

    Attributes:
        value: The score above which a pair matches.
        replicates: Array (replicates,).
    """

    value: float
    replicates: Float64

    def estimate(self) -> Estimate:
        """Return the threshold with its interval."""
        return estimate_from(self.value, self.replicates)


def draw_subjects(pairs: VerificationPairs, *, seed: int, replicates: int = REPLICATES) -> SubjectDraws:
    """Draw how often each subject stands in each replicate.

    Replicates that hold no genuine or no impostor pair are drawn again.

    Args:
        pairs: Only their subjects and votes matter: pairs with equal subjects get equal draws.
        seed: Seed of the resampling.
        replicates: How often to resample.

    Raises:
        InputError: If there is no replicate to draw.
    """
    if replicates < 1:
        raise InputError(f"replicates must be at least 1. Got {replicates}.")
    rng = np.random.default_rng(seed)
    anchors, positives = pairs.rows_of_subjects()
    present = np.flatnonzero(anchors + positives)
    votes = pairs.votes
    genuine, left, right = votes.genuine * pairs.genuine_counts, votes.anchors * anchors, votes.positives * positives
    draws = SubjectDraws(
        np.empty((replicates, pairs.subjects), dtype=np.uint8), np.empty(replicates), np.empty(replicates)
    )
    row = 0
    while row < replicates:
        draw = present[rng.integers(len(present), size=len(present))]
        counts = np.bincount(draw, minlength=pairs.subjects).astype(np.float64)
        draws.drawn[row] = counts
        draws.genuine_votes[row] = counts @ genuine
        draws.impostor_votes[row] = (counts @ left) * (counts @ right) - (counts * left) @ (counts * right)
        row += bool(draws.genuine_votes[row] > 1e-9 and draws.impostor_votes[row] > 1e-9)
    return draws


def choose_threshold(pairs: VerificationPairs, draws: SubjectDraws, frr: float) -> Threshold:
    """Choose the threshold at an FRR, as `threshold_at_frr` does, on the data and in every replicate."""
    genuine = pairs.genuine
    limits = (frr + 1e-12) * draws.genuine_votes
    ranks = _RejectedVotes(genuine, draws).ranks(limits)
    return Threshold(
        threshold_at_frr(genuine.scores, frr, votes=genuine.votes), np.nextafter(genuine.scores[ranks], -np.inf)
    )


def replicate_frr(genuine: GenuineScores, draws: SubjectDraws, thresholds: Float64) -> Float64:
    """Compute the FRR of every replicate at its threshold: array (replicates,)."""
    counts = np.searchsorted(genuine.scores, thresholds, side="right")
    return np.asarray(_RejectedVotes(genuine, draws).votes(counts) / draws.genuine_votes)


def replicate_far(tail: ImpostorTail, draws: SubjectDraws, thresholds: Float64) -> Float64:
    """Compute the FAR of every replicate at its threshold.

    Args:
        tail: The impostor pairs above a cut that is not above any of the thresholds.
        draws: What `draw_subjects` drew.
        thresholds: Array (replicates,).

    Returns:
        Array (replicates,).
    """
    counts = np.searchsorted(-tail.scores, -thresholds, side="left")
    accepted = np.empty(len(draws))
    for row, count in enumerate(counts):
        drawn = draws.drawn[row].astype(np.float64)
        factors = drawn[tail.anchor_subjects[:count]], drawn[tail.positive_subjects[:count]]
        # Not a BLAS product: waking its threads a thousand times costs more than the sums.
        accepted[row] = np.einsum("i,i,i->", tail.votes[:count], *factors)
    return accepted / draws.impostor_votes


def far_ratio(
    first: VerificationPairs, second: VerificationPairs, *, frr: float, seed: int, replicates: int = REPLICATES
) -> Estimate:
    """Compare two aligners: the FAR of the first as a multiple of the second's, each at its own threshold.

    Both are resampled with the same draws, so the interval is that of the paired ratio. A replicate in which the
    second makes no false acceptance has the ratio infinity, or 1 where neither makes one.

    Args:
        first: The pairs of one aligner.
        second: The pairs of the other, with the same subjects.
        frr: The FRR at which each threshold is chosen, again in each replicate.
        seed: Seed of the resampling.
        replicates: How often to resample.

    Raises:
        InputError: If the subjects or the weights differ, or the second makes no false acceptance.
    """
    require_same_subjects(first, second, "both aligners must be compared on")
    draws = draw_subjects(first, seed=seed, replicates=replicates)
    values, replicated = [], []
    for pairs in (first, second):
        threshold = choose_threshold(pairs, draws, frr)
        counts = count_impostors(pairs, [threshold.value], tails_above=[float(threshold.replicates.min())])
        values.append(float(counts.far[0]))
        replicated.append(replicate_far(counts.tails[0], draws, threshold.replicates))
    return ratio_estimate(values[0], values[1], *replicated)


def require_same_subjects(first: VerificationPairs, second: VerificationPairs, who: str) -> None:
    """Check that two comparisons can share draws.

    Raises:
        InputError: If the subjects, their numbers of rows or the weights differ.
    """
    if not np.array_equal(np.stack(first.rows_of_subjects()), np.stack(second.rows_of_subjects())):
        raise InputError(f"{who} the same subjects with equally many rows. Got others.")
    if first.weight != second.weight:
        raise InputError(f"{who} one weight. Got {first.weight!r} and {second.weight!r}.")


def ratio_estimate(value: float, base: float, replicates: Float64, base_replicates: Float64) -> Estimate:
    """Estimate a ratio of two rates from paired replicates.

    Raises:
        InputError: If ``base`` is 0.
    """
    if base == 0:
        raise InputError("a ratio of rates needs errors to divide by. Got none: compare on more subjects, or at more.")
    some = base_replicates > 0
    ratios = np.where(some, replicates / np.where(some, base_replicates, 1.0), np.where(replicates > 0, np.inf, 1.0))
    return estimate_from(value / base, ratios)


def far_estimate(value: float, replicates: Float64, impostor_pairs: float) -> Estimate:
    """Estimate a FAR; where no error was seen the upper end is at least 3 / pairs, the rule of three."""
    estimate = estimate_from(value, replicates)
    return estimate if value > 0 else Estimate(value, estimate.low, max(estimate.high, min(1.0, 3 / impostor_pairs)))


class _RejectedVotes:
    """The votes of the lowest genuine scores in every replicate, added up by chunks, so that any sum is soon had."""

    def __init__(self, genuine: GenuineScores, draws: SubjectDraws) -> None:
        self._drawn = draws.drawn.astype(np.float64)
        chunks = -(-len(genuine.scores) // _CHUNK)
        self._subjects = np.zeros(chunks * _CHUNK, dtype=np.intp)
        self._subjects[: len(genuine.subjects)] = genuine.subjects
        self._votes = np.zeros(chunks * _CHUNK)
        self._votes[: len(genuine.votes)] = genuine.votes
        self._last = len(genuine.scores) - 1
        subjects = draws.drawn.shape[1]
        cells = np.arange(len(genuine.scores)) // _CHUNK * subjects + genuine.subjects
        by_subject = np.bincount(cells, genuine.votes, minlength=chunks * subjects).reshape(chunks, subjects)
        self._before = np.zeros((len(draws), chunks + 1))
        np.cumsum(self._drawn @ by_subject.T, axis=1, out=self._before[:, 1:])

    def votes(self, counts: NDArray[np.intp]) -> Float64:
        """Return the votes of the first ``counts`` scores (replicates,)."""
        chunks, rest = np.divmod(counts, _CHUNK)
        inside = np.concatenate(
            [np.zeros((len(counts), 1)), self._within(np.minimum(chunks, self._chunks - 1))], axis=1
        )
        rows = np.arange(len(counts))
        return np.asarray(self._before[rows, chunks] + inside[rows, rest])

    def ranks(self, limits: Float64) -> NDArray[np.intp]:
        """Return the first rank at which the votes up to it exceed a limit (replicates,)."""
        chunks = np.minimum((self._before[:, 1:] <= limits[:, np.newaxis]).sum(axis=1), self._chunks - 1)
        rows = np.arange(len(limits))
        sums = self._before[rows, chunks][:, np.newaxis] + self._within(chunks)
        return np.asarray(np.minimum(chunks * _CHUNK + (sums <= limits[:, np.newaxis]).sum(axis=1), self._last))

    @property
    def _chunks(self) -> int:
        return self._before.shape[1] - 1

    def _within(self, chunks: NDArray[np.intp]) -> Float64:
        """Return the votes up to each score of one chunk a replicate (replicates, chunk)."""
        places = chunks[:, np.newaxis] * _CHUNK + np.arange(_CHUNK)
        drawn = np.take_along_axis(self._drawn, self._subjects[places], axis=1)
        return np.asarray(np.cumsum(drawn * self._votes[places], axis=1))
