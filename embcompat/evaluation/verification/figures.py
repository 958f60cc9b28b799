"""Verification figures: FAR, FRR, EER, the DET curve, and the thresholds they are taken at. numpy only.

Scores rise with closeness. A pair matches when its score is *above* the threshold (its distance below), so a tie with
the threshold is no match. FRR = FN / (FN + TP) over genuine pairs, FAR = FP / (FP + TN) over impostor pairs: what
ISO/IEC 19795-1 calls FNMR and FMR where nothing fails to be embedded. Every pair counts by its vote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from embcompat.errors import InputError
from embcompat.evaluation.verification.counts import count_impostors, largest_impostors
from embcompat.evaluation.verification.pairs import Float64, VerificationPairs

DET_POINTS = 256
"""How many thresholds a DET curve of N:N pairs has at most [ours]."""


@dataclass(frozen=True)
class ErrorRates:
    """FAR and FRR at one threshold, by the votes of the pairs, and how many pairs are wrong.

    Attributes:
        threshold: Score above which a pair matches.
        frr: False rejection rate, a fraction of the votes.
        far: False acceptance rate, a fraction of the votes.
        false_rejections: Genuine pairs that do not match.
        genuine_pairs: Genuine pairs.
        false_acceptances: Impostor pairs that match.
        impostor_pairs: Impostor pairs.
    """

    threshold: float
    frr: float
    far: float
    false_rejections: int
    genuine_pairs: int
    false_acceptances: int
    impostor_pairs: int


@dataclass(frozen=True, eq=False)
class DetCurve:
    """The trade between the two errors.

    Attributes:
        thresholds: Array (k,), ascending.
        far: Array (k,), falling.
        frr: Array (k,), rising.
    """

    thresholds: Float64
    far: Float64
    frr: Float64

    @property
    def eer(self) -> float:
        """The rate at which FAR and FRR are equal, interpolated between the two points around it."""
        gap = self.frr - self.far
        above = int(np.argmax(gap >= 0)) if gap[-1] >= 0 else len(gap) - 1
        below = max(above - 1, 0)
        share = -gap[below] / (gap[above] - gap[below]) if gap[above] > gap[below] else 1.0
        return float(self.frr[below] + min(max(share, 0.0), 1.0) * (self.frr[above] - self.frr[below]))

    def points(self) -> tuple[tuple[float, float], ...]:
        """Return points (FAR, FRR) of four significant digits; points without an error of each kind are left out.

        Example:
            >>> det_curve([0.5, 0.9], [0.1, 0.6]).points()
            ((0.5, 0.5),)
        """
        drawable = (self.far > 0) & (self.frr > 0)
        return tuple(
            (float(f"{far:.4g}"), float(f"{frr:.4g}"))
            for far, frr in zip(self.far[drawable], self.frr[drawable], strict=True)
        )


def threshold_at_frr(genuine: ArrayLike, frr: float, *, votes: ArrayLike | None = None) -> float:
    """Return the largest threshold whose FRR does not exceed a rate.

    It lies just below a genuine score, so that no other threshold with that FRR or a lower one has a lower FAR.

    Args:
        genuine: Scores of genuine pairs, in any order.
        frr: The rate, a fraction below 1.
        votes: What each score counts; all the same when None.

    Raises:
        InputError: If there is no score, the rate is out of range, or there is not one vote for each score.

    Example:
        >>> round(threshold_at_frr([0.1, 0.2, 0.3, 0.4], 0.25), 6)  # rejects 0.1, accepts 0.2
        0.2
        >>> round(threshold_at_frr([0.1, 0.2, 0.3, 0.4], 0.25, votes=[1, 1, 1, 5]), 6)
        0.3
    """
    scores = _scores(genuine, "genuine")
    counts = np.ones(len(scores)) if votes is None else np.asarray(votes, dtype=np.float64)
    if counts.shape != scores.shape:
        raise InputError(f"there must be one vote for each of {len(scores)} scores. Got shape {counts.shape}.")
    order = np.argsort(scores, kind="stable")
    rejected = np.cumsum(counts[order])
    first = int(np.searchsorted(rejected, allowed_votes(frr, rejected[-1], "frr"), side="right"))
    return float(np.nextafter(scores[order[min(first, len(scores) - 1)]], -np.inf))


def threshold_at_far(impostor: ArrayLike, far: float) -> float:
    """Return the smallest threshold whose FAR does not exceed a rate; it is an impostor score.

    Args:
        impostor: Scores of impostor pairs, in any order.
        far: The rate, a fraction below 1.

    Raises:
        InputError: If there is no score, or the rate is out of range.

    Example:
        >>> threshold_at_far([0.1, 0.2, 0.3, 0.4], 0.25)  # accepts 0.4
        0.3
    """
    scores = _scores(impostor, "impostor")
    allowed = allowed_errors(far, len(scores), "far")
    return float(-np.partition(-scores, allowed)[allowed])


def rates_at(pairs: VerificationPairs, threshold: float) -> ErrorRates:
    """Return FAR and FRR of N:N pairs at a threshold."""
    genuine = pairs.genuine
    rejected = int(np.searchsorted(genuine.scores, threshold, side="right"))
    counts = count_impostors(pairs, [threshold])
    return ErrorRates(
        threshold,
        float(genuine.rejected(threshold)),
        float(counts.far[0]),
        rejected,
        len(genuine.scores),
        int(counts.above[0]),
        counts.total,
    )


def far_at_frr(pairs: VerificationPairs, frr: float) -> ErrorRates:
    """Return the rates of N:N pairs at the threshold of `threshold_at_frr`."""
    return rates_at(pairs, threshold_at_frr(pairs.genuine.scores, frr, votes=pairs.genuine.votes))


def frr_at_far(pairs: VerificationPairs, far: float) -> ErrorRates:
    """Return the rates of N:N pairs at the smallest threshold whose FAR does not exceed a rate."""
    tail = largest_impostors(pairs, allowed_votes(far, pairs.impostor_votes, "far"))
    return rates_at(pairs, float(tail.scores[-1]))


def det_curve(genuine: ArrayLike, impostor: ArrayLike) -> DetCurve:
    """Return the DET curve of scores that are at hand, at every threshold where a rate changes.

    Args:
        genuine: Scores of genuine pairs, in any order.
        impostor: Scores of impostor pairs, in any order.

    Raises:
        InputError: If one of the two is empty or not finite.

    Example:
        >>> curve = det_curve([0.5, 0.9], [0.1, 0.5])
        >>> curve.thresholds.tolist(), curve.far.tolist(), curve.frr.tolist()
        ([-inf, 0.1, 0.5, 0.9], [1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 1.0])
    """
    accepted, rejected = np.sort(_scores(impostor, "impostor")), np.sort(_scores(genuine, "genuine"))
    thresholds = np.concatenate([[-np.inf], np.union1d(accepted, rejected)])
    far = 1 - np.searchsorted(accepted, thresholds, side="right") / len(accepted)
    frr = np.searchsorted(rejected, thresholds, side="right") / len(rejected)
    return DetCurve(thresholds, far, frr)


def det_thresholds(pairs: VerificationPairs, *, points: int = DET_POINTS) -> Float64:
    """Return thresholds just below genuine scores for a DET curve.

    Where there are more genuine pairs than points, the points' FRRs are spaced evenly in the logarithm.

    Args:
        pairs: Who is compared with whom.
        points: Most points.

    Returns:
        Array (at most points,), ascending.
    """
    genuine = pairs.genuine
    ranks = np.arange(len(genuine.scores))
    if len(ranks) > points:
        rejected = np.cumsum(genuine.votes)
        shares = np.geomspace(rejected[0], rejected[-1], points) * (1 - 1e-12)
        ranks = np.unique(np.searchsorted(rejected, shares, side="left"))
    return np.unique(np.nextafter(genuine.scores[ranks], -np.inf))


def det_curve_of_pairs(pairs: VerificationPairs, *, points: int = DET_POINTS) -> DetCurve:
    """Return the DET curve of N:N pairs, with exact rates at the thresholds of `det_thresholds`."""
    thresholds = det_thresholds(pairs, points=points)
    return DetCurve(thresholds, count_impostors(pairs, thresholds).far, pairs.genuine.rejected(thresholds))


def one_in(rate: float, *, trials: int | None = None) -> str:
    """Write a rate as "1 in N".

    Args:
        rate: A fraction.
        trials: How many pairs the rate was measured on: said instead of N when the rate is 0.

    Example:
        >>> one_in(1 / 30775), one_in(0.0, trials=704760)
        ('1 in 30,775', 'none in 704,760')
    """
    if rate > 0:
        return f"1 in {1 / rate:,.0f}" if rate <= 0.1 else f"1 in {1 / rate:,.3g}"
    return "none" if trials is None else f"none in {trials:,}"


def allowed_errors(rate: float, count: int, what: str) -> int:
    """Return the largest number of errors among ``count`` that does not exceed a rate.

    Raises:
        InputError: If the rate is not in [0, 1).
    """
    return min(math.floor(round(allowed_votes(rate, count, what), 6)), count - 1)


def allowed_votes(rate: float, total: float, what: str) -> float:
    """Return the votes that errors may have at a rate, with room for the rounding of sums.

    Raises:
        InputError: If the rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise InputError(f"{what} must be a fraction from 0 to below 1. Got {rate!r}.")
    return (rate + 1e-12) * total


def _scores(values: ArrayLike, what: str) -> Float64:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise InputError(f"{what} must be one or more finite scores. Got an array of shape {scores.shape}.")
    return scores
