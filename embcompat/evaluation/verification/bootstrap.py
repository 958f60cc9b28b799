"""How sure verification figures are: a bootstrap over subjects. numpy only.

The scores of one person hang together, so subjects are resampled, not pairs. A subject that is drawn w times weighs w:
its genuine pairs weigh w, an impostor pair of subjects i and j weighs w_i·w_j, and every replicate chooses its own
threshold. Two figures that are replicated with the same weights are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import Estimate, estimate_from
from embcompat.evaluation.verification.counts import ImpostorTail, count_impostors
from embcompat.evaluation.verification.figures import threshold_at_frr
from embcompat.evaluation.verification.pairs import Float64, GenuineScores, VerificationPairs

REPLICATES = 1_000
"""How often the subjects are resampled [ours]."""


@dataclass(frozen=True, eq=False)
class SubjectWeights:
    """How often each subject stands in each replicate.

    Attributes:
        drawn: Array (replicates, subjects). A weight above 255 does not occur: its probability is below 1e-490.
        genuine_weight: Array (replicates,), the weights of all genuine pairs, added up.
        impostor_weight: Array (replicates,), the weights of all impostor pairs, added up.
    """

    drawn: NDArray[np.uint8]
    genuine_weight: Float64
    impostor_weight: Float64

    def __len__(self) -> int:
        return len(self.drawn)


def draw_weights(pairs: VerificationPairs, *, seed: int, replicates: int = REPLICATES) -> SubjectWeights:
    """Draw how often each subject stands in each replicate.

    Replicates that hold no genuine or no impostor pair are drawn again.

    Args:
        pairs: Only their subjects matter: pairs with equal subjects get equal weights.
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
    genuine = anchors * positives - (anchors if pairs.same_items else 0)
    drawn = np.empty((replicates, pairs.subjects), dtype=np.uint8)
    weights = SubjectWeights(drawn, np.empty(replicates), np.empty(replicates))
    row = 0
    while row < replicates:
        picked = present[rng.integers(len(present), size=len(present))]
        counts = np.bincount(picked, minlength=pairs.subjects).astype(np.float64)
        own = np.einsum("i,i,i,i->", counts, counts, anchors, positives)
        drawn[row] = counts
        weights.genuine_weight[row] = (counts * genuine).sum()
        weights.impostor_weight[row] = (counts * anchors).sum() * (counts * positives).sum() - own
        row += bool(weights.genuine_weight[row] > 0 and weights.impostor_weight[row] > 0)
    return weights


def replicate_thresholds(genuine: GenuineScores, weights: SubjectWeights, frr: float) -> Float64:
    """Choose the threshold at an FRR in every replicate, as `threshold_at_frr` does.

    Returns:
        Array (replicates,).
    """
    limits = frr * weights.genuine_weight + 1e-6
    length = min(len(genuine.scores), int(1.5 * frr * len(genuine.scores)) + 100)
    thresholds = np.empty(len(weights))
    for row, limit in enumerate(limits):
        rejected = np.cumsum(weights.drawn[row][genuine.subjects[:length]], dtype=np.float64)
        if rejected[-1] <= limit:
            rejected = np.cumsum(weights.drawn[row][genuine.subjects], dtype=np.float64)
        thresholds[row] = genuine.scores[np.searchsorted(rejected, limit, side="right")]
    return np.nextafter(thresholds, -np.inf)


def replicate_frr(genuine: GenuineScores, weights: SubjectWeights, thresholds: Float64) -> Float64:
    """Compute the FRR of every replicate at its threshold: array (replicates,)."""
    counts = np.searchsorted(genuine.scores, thresholds, side="right")
    rejected = [
        int(row[genuine.subjects[:count]].sum(dtype=np.int64)) for row, count in zip(weights.drawn, counts, strict=True)
    ]
    return np.asarray(rejected / weights.genuine_weight)


def replicate_far(tail: ImpostorTail, weights: SubjectWeights, thresholds: Float64) -> Float64:
    """Compute the FAR of every replicate at its threshold.

    Args:
        tail: The impostor pairs above a cut that is not above any of the thresholds.
        weights: What `draw_weights` drew.
        thresholds: Array (replicates,).

    Returns:
        Array (replicates,).
    """
    counts = np.searchsorted(-tail.scores, -thresholds, side="left")
    accepted = np.empty(len(weights))
    for row, count in enumerate(counts):
        weight = weights.drawn[row].astype(np.float32)
        anchors, positives = tail.anchor_subjects[:count], tail.positive_subjects[:count]
        # Not a BLAS product: waking its threads a thousand times costs more than the sums.
        accepted[row] = np.einsum("i,i->", weight[anchors], weight[positives])
    return accepted / tail.fraction / weights.impostor_weight


def far_ratio(
    first: VerificationPairs, second: VerificationPairs, *, frr: float, seed: int, replicates: int = REPLICATES
) -> Estimate:
    """Compare two aligners: the FAR of the first as a multiple of the second's, each at its own threshold.

    Both are resampled with the same weights, so the interval is that of the paired ratio. A replicate in which the
    second makes no false acceptance has the ratio infinity, or 1 where neither makes one.

    Args:
        first: The pairs of one aligner.
        second: The pairs of the other, with the same subjects.
        frr: The FRR at which each threshold is chosen, again in each replicate.
        seed: Seed of the resampling.
        replicates: How often to resample.

    Raises:
        InputError: If the subjects differ, or the second makes no false acceptance.
    """
    if not np.array_equal(np.stack(first.rows_of_subjects()), np.stack(second.rows_of_subjects())):
        raise InputError("both aligners must be compared on the same subjects with equally many rows. Got others.")
    weights = draw_weights(first, seed=seed, replicates=replicates)
    values, replicated = [], []
    for pairs in (first, second):
        threshold = threshold_at_frr(pairs.genuine.scores, frr)
        thresholds = replicate_thresholds(pairs.genuine, weights, frr)
        counts = count_impostors(pairs, [threshold], tails_above=[float(thresholds.min())])
        values.append(int(counts.above[0]) / counts.total)
        replicated.append(replicate_far(counts.tails[0], weights, thresholds))
    return ratio_estimate(values[0], values[1], *replicated)


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


def far_estimate(value: float, replicates: Float64, impostor_pairs: int) -> Estimate:
    """Estimate a FAR; where no error was seen the upper end is at least 3 / pairs, the rule of three."""
    estimate = estimate_from(value, replicates)
    return estimate if value > 0 else Estimate(value, estimate.low, max(estimate.high, 3 / impostor_pairs))
