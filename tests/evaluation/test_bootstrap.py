"""The paired bootstrap."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import (
    Estimate,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_ratio,
    estimate_from,
)


def series(count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    right = rng.uniform(0.2, 1.0, size=count)
    return np.clip(right * 0.8 + rng.normal(scale=0.05, size=count), 0, None), right


def test_the_value_is_that_of_the_data_and_lies_inside() -> None:
    left, right = series()
    for estimate, value in (
        (bootstrap_mean(left, seed=0), left.mean()),
        (bootstrap_difference(left, right, seed=0), left.mean() - right.mean()),
        (bootstrap_ratio(left, right, seed=0), left.mean() / right.mean()),
    ):
        assert estimate.value == pytest.approx(value)
        assert estimate.low < estimate.value < estimate.high


def test_the_same_seed_gives_the_same_interval() -> None:
    left, right = series()
    assert bootstrap_ratio(left, right, seed=4) == bootstrap_ratio(left, right, seed=4)
    assert bootstrap_ratio(left, right, seed=4) != bootstrap_ratio(left, right, seed=5)


def test_units_are_resampled_with_both_values() -> None:
    values = series()[0]
    assert bootstrap_difference(values, values, seed=0) == Estimate(0.0, 0.0, 0.0)
    assert bootstrap_ratio(values, values, seed=0) == Estimate(1.0, 1.0, 1.0)
    apart = bootstrap_mean(values, seed=0)
    shifted = bootstrap_difference(values + 0.1, values, seed=0)
    assert shifted.high - shifted.low < 1e-9 < apart.high - apart.low


def test_more_units_give_a_narrower_interval() -> None:
    few, many = (bootstrap_mean(series(count)[0], seed=0) for count in (20, 2_000))
    assert many.high - many.low < (few.high - few.low) / 5


def test_intervals_agree_with_scipy() -> None:
    left, right = series()
    statistics = {
        bootstrap_mean(left, seed=0): ((left,), lambda x, axis: x.mean(axis=axis)),
        bootstrap_difference(left, right, seed=0): ((left, right), lambda x, y, axis: (x - y).mean(axis=axis)),
        bootstrap_ratio(left, right, seed=0): ((left, right), lambda x, y, axis: x.mean(axis=axis) / y.mean(axis=axis)),
    }
    for estimate, (data, statistic) in statistics.items():
        expected = stats.bootstrap(
            data, statistic, paired=True, vectorized=True, method="percentile", n_resamples=4_000, rng=1
        ).confidence_interval
        width = expected.high - expected.low
        assert estimate.low == pytest.approx(expected.low, abs=0.1 * width)
        assert estimate.high == pytest.approx(expected.high, abs=0.1 * width)


def test_a_mean_is_covered_about_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=(300, 60))
    covered = [(e := bootstrap_mean(draw, seed=1, replicates=300)).low <= 0.5 <= e.high for draw in draws]
    assert 0.90 <= np.mean(covered) <= 0.985


def test_the_blocks_of_a_long_series_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = series()
    whole = bootstrap_ratio(left, right, seed=0)
    monkeypatch.setattr("embcompat.evaluation.bootstrap._BLOCK_DRAWS", 1_000)
    assert bootstrap_ratio(left, right, seed=0) == whole


def test_a_denominator_that_can_vanish_leaves_the_ratio_unbounded() -> None:
    ratio = bootstrap_ratio([1.0, 1.0], [0.0, 1.0], seed=0)
    assert ratio.value == 2.0
    assert math.isinf(ratio.high)
    assert json.loads(json.dumps(ratio.to_dict())) == {"value": 2.0, "low": ratio.low, "high": None}


def test_one_unit_and_percentiles() -> None:
    assert bootstrap_mean([0.25], seed=0) == Estimate(0.25, 0.25, 0.25)
    assert estimate_from(50.0, range(1, 101)) == Estimate(50.0, 3.0, 98.0)


def test_an_estimate_formats_its_interval() -> None:
    assert f"{Estimate(0.5, 0.25, 0.75):.2f}" == "0.50 (0.25 to 0.75)"
    assert f"{Estimate(0.5, 0.25, 0.75)}" == "Estimate(value=0.5, low=0.25, high=0.75)"


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"at least one unit. Got shapes \(0,\)"):
        bootstrap_mean([], seed=0)
    with pytest.raises(InputError, match=r"Got shapes \(2,\) and \(1,\)"):
        bootstrap_difference([1.0, 2.0], [1.0], seed=0)
    with pytest.raises(InputError, match="finite values"):
        bootstrap_mean([math.nan], seed=0)
    with pytest.raises(InputError, match="mean of denominator must be positive. Got 0"):
        bootstrap_ratio([1.0], [0.0], seed=0)
    with pytest.raises(InputError, match="replicates must be at least 1. Got 0"):
        bootstrap_mean([1.0], seed=0, replicates=0)
