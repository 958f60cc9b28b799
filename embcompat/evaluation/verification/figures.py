"""Verification figures: FAR, FRR, EER, the DET curve, and the thresholds they are taken at. numpy only.

Scores rise with closeness. A pair matches when its score is *above* the threshold (its distance below), so a tie with
the threshold is no match. FRR = FN / (FN + TP) over genuine pairs, FAR = FP / (FP + TN) over impostor pairs: what
ISO/IEC 19795-1 calls FNMR and FMR where nothing fails to be embedded.
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
    """FAR and FRR at one threshold, with the counts they are made of.

    Attributes:
        threshold: Score above which a pair matches.
        frr: False rejection rate, a fraction.
        far: False acceptance rate, a fraction.
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
        after = int(np.argmax(gap >= 0)) if gap[-1] >= 0 else len(gap) - 1
        before = max(after - 1, 0)
        share = -gap[before] / (gap[after] - gap[before]) if gap[after] > gap[before] else 1.0
        return float(self.frr[before] + min(max(share, 0.0), 1.0) * (self.frr[after] - self.frr[before]))


def threshold_at_frr(genuine: ArrayLike, frr: float) -> float:
    """Return the largest threshold whose FRR does not exceed a rate.

    It lies just below a genuine score, so that no other threshold with that FRR or a lower one has a lower FAR.

    Args:
        genuine: Scores of genuine pairs, in any order.
        frr: The rate, a fraction below 1.

    Raises:
        InputError: If there is no score, or the rate is out of range.

    Example:
        >>> round(threshold_at_frr([0.1, 0.2, 0.3, 0.4], 0.25), 6)  # rejects 0.1, accepts 0.2
        0.2
    """
    scores = _scores(genuine, "genuine")
    allowed = allowed_errors(frr, len(scores), "frr")
    return float(np.nextafter(np.partition(scores, allowed)[allowed], -np.inf))


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
    genuine = pairs.genuine.scores
    rejected = int(np.searchsorted(genuine, threshold, side="right"))
    counts = count_impostors(pairs, [threshold])
    accepted = int(counts.above[0])
    return ErrorRates(
        threshold, rejected / len(genuine), accepted / counts.total, rejected, len(genuine), accepted, counts.total
    )


def far_at_frr(pairs: VerificationPairs, frr: float) -> ErrorRates:
    """Return the rates of N:N pairs at the threshold of `threshold_at_frr`."""
    return rates_at(pairs, threshold_at_frr(pairs.genuine.scores, frr))


def frr_at_far(pairs: VerificationPairs, far: float) -> ErrorRates:
    """Return the rates of N:N pairs at the threshold of `threshold_at_far`."""
    allowed = allowed_errors(far, pairs.impostor_count, "far")
    return rates_at(pairs, float(largest_impostors(pairs, allowed + 1).scores[allowed]))


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


def det_curve_of_pairs(pairs: VerificationPairs, *, points: int = DET_POINTS) -> DetCurve:
    """Return the DET curve of N:N pairs, with exact rates at thresholds just below genuine scores.

    Where there are more genuine pairs than points, the points' FRRs are spaced evenly in the logarithm.

    Args:
        pairs: Who is compared with whom.
        points: Most points.
    """
    genuine = pairs.genuine.scores
    ranks = np.arange(len(genuine))
    if len(genuine) > points:
        ranks = np.unique(np.round(np.geomspace(1, len(genuine), points)).astype(np.intp)) - 1
    thresholds = np.unique(np.nextafter(genuine[ranks], -np.inf))
    counts = count_impostors(pairs, thresholds)
    frr = np.searchsorted(genuine, thresholds, side="right") / len(genuine)
    return DetCurve(thresholds, counts.above / counts.total, frr)


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
    if not 0 <= rate < 1:
        raise InputError(f"{what} must be a fraction from 0 to below 1. Got {rate!r}.")
    return min(math.floor(round(rate * count, 6)), count - 1)


def _scores(values: ArrayLike, what: str) -> Float64:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise InputError(f"{what} must be one or more finite scores. Got an array of shape {scores.shape}.")
    return scores
