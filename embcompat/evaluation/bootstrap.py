"""Figures with their uncertainty: the paired bootstrap over queries, subjects or pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError
from embcompat.results import Estimate

REPLICATES = 2_000
"""How often the units are resampled [ours]."""

LEVEL = 0.95
"""Coverage of every interval that is reported."""

_BLOCK_DRAWS = 2_097_152


def bootstrap_mean(values: ArrayLike, *, seed: int, replicates: int = REPLICATES) -> Estimate:
    """Estimate a mean over units.

    Args:
        values: Array (n,), one value a unit (a query).
        seed: Seed of the resampling; the same seed draws the same units for every array of n values.
        replicates: How often to resample.

    Raises:
        InputError: If there is no unit, or a value is not finite.

    Example:
        >>> bootstrap_mean([0.5, 0.5, 0.5], seed=0)
        Estimate(value=0.5, low=0.5, high=0.5)
    """
    (series,) = _checked(values)
    return _estimate(lambda means: means[:, 0], [series], seed, replicates)


def bootstrap_difference(left: ArrayLike, right: ArrayLike, *, seed: int, replicates: int = REPLICATES) -> Estimate:
    """Estimate mean(left) − mean(right), resampling units with both their values (paired).

    Args:
        left: Array (n,).
        right: Array (n,), the same units in the same order.
        seed: Seed of the resampling.
        replicates: How often to resample.

    Raises:
        InputError: If the units differ in number, there is none, or a value is not finite.

    Example:
        >>> bootstrap_difference([0.5, 0.75], [0.25, 0.5], seed=0)
        Estimate(value=0.25, low=0.25, high=0.25)
    """
    return _estimate(lambda means: means[:, 0] - means[:, 1], _checked(left, right), seed, replicates)


def bootstrap_ratio(
    numerator: ArrayLike, denominator: ArrayLike, *, seed: int, replicates: int = REPLICATES
) -> Estimate:
    """Estimate mean(numerator) / mean(denominator), resampling units with both their values (paired).

    A replicate whose denominator is not positive has no ratio: it counts as infinite with the numerator's sign, so
    that the interval is unbounded where the data do not bound it.

    Args:
        numerator: Array (n,).
        denominator: Array (n,), the same units in the same order; its mean must be positive.
        seed: Seed of the resampling.
        replicates: How often to resample.

    Raises:
        InputError: If the units differ in number, there is none, a value is not finite, or the mean of
            ``denominator`` is not positive.

    Example:
        >>> bootstrap_ratio([0.25, 0.5], [0.5, 1.0], seed=0)
        Estimate(value=0.5, low=0.5, high=0.5)
    """
    series = _checked(numerator, denominator)
    if not series[1].mean() > 0:
        raise InputError(f"the mean of denominator must be positive. Got {series[1].mean():.4g}.")
    return _estimate(_ratio, series, seed, replicates)


def estimate_from(value: float, replicates: ArrayLike) -> Estimate:
    """Make an estimate from a figure and its bootstrap replicates (percentile interval).

    The ends are replicates, never interpolated, so that infinite replicates are allowed.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.asarray(replicates, dtype=np.float64), [tail, 1 - tail], method="inverted_cdf")
    return Estimate(float(value), float(low), float(high))


def _ratio(means: NDArray[np.float64]) -> NDArray[np.float64]:
    top, bottom = means[:, 0], means[:, 1]
    positive = bottom > 0
    return np.where(positive, top / np.where(positive, bottom, 1.0), np.copysign(np.inf, top))


def _estimate(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    series: list[NDArray[np.float64]],
    seed: int,
    replicates: int,
) -> Estimate:
    """Evaluate a statistic of means, on the data and on resampled units."""
    if replicates < 1:
        raise InputError(f"replicates must be at least 1. Got {replicates}.")
    rng = np.random.default_rng(seed)
    count = len(series[0])
    means = np.empty((replicates, len(series)))
    rows = max(1, _BLOCK_DRAWS // count)
    for start in range(0, replicates, rows):
        drawn = rng.integers(count, size=(min(rows, replicates - start), count))
        for column, values in enumerate(series):
            means[start : start + rows, column] = values[drawn].mean(axis=1)
    value = statistic(np.array([[values.mean() for values in series]]))[0]
    return estimate_from(float(value), statistic(means))


def _checked(*arrays: Any) -> list[NDArray[np.float64]]:
    series = [np.asarray(values, dtype=np.float64) for values in arrays]
    if any(values.ndim != 1 or values.shape != series[0].shape for values in series) or len(series[0]) == 0:
        shapes = " and ".join(str(values.shape) for values in series)
        raise InputError(f"a bootstrap needs one value for each of at least one unit. Got shapes {shapes}.")
    if not all(np.isfinite(values).all() for values in series):
        raise InputError("a bootstrap needs finite values. Got NaN or infinity.")
    return series
