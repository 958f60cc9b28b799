"""Estimates of builds from samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embcompat.stores.growth import BUDGET_SECONDS, extrapolate, growth, time_builds


@given(st.floats(1.0, 1.5), st.integers(10, 10_000), st.integers(1, 10_000), st.integers(0, 8))
def test_a_build_that_grows_with_a_power_lies_in_the_range(power: float, rows: int, factor: int, workers: int) -> None:
    samples = [(count, 1e-4 * count**power) for count in (rows, 2 * rows, 4 * rows)]
    estimate = extrapolate("hnsw", samples, 4 * rows * factor, workers=workers)
    truth = 1e-4 * (4.0 * rows * factor) ** power
    assert growth(samples) == pytest.approx(power, abs=0.006)
    low, seconds, high = (float(each or 0) for each in (estimate.seconds_low, estimate.seconds, estimate.seconds_high))
    assert low <= truth <= high
    assert low <= truth / (1 + workers)
    assert low <= seconds <= high


def test_more_rows_and_fewer_workers_take_longer() -> None:
    samples = [(500, 0.4), (1000, 1.0)]
    seconds = [extrapolate("ivf", samples, rows).seconds or 0 for rows in (200, 1_000, 5_000, 20_000)]
    assert seconds == sorted(seconds)
    alone, helped = (extrapolate("ivf", samples, 9_000, workers=workers) for workers in (0, 3))
    assert (alone.seconds or 0) == pytest.approx(2 * (helped.seconds or 0))
    assert alone.seconds_high == helped.seconds_high


@pytest.mark.parametrize("samples", [[(3, 0.0)], [(1, 0.0), (2, 0.0)], [(1, 5.0), (2, 1.0)], [(1, 1e-9), (2, 9.0)]])
def test_samples_full_of_noise_give_finite_ordered_ranges(samples: list[tuple[int, float]]) -> None:
    assert 1.0 <= growth(samples) <= 1.5
    estimate = extrapolate("hnsw", samples, 100)
    assert np.isfinite([estimate.seconds_low, estimate.seconds, estimate.seconds_high]).all()
    assert (estimate.seconds_low or 0) <= (estimate.seconds or 0) <= (estimate.seconds_high or 0)


def test_samples_double_and_stop_where_the_next_takes_too_long() -> None:
    assert time_builds(float, 80) == [(10, 10.0), (20, 20.0)]
    assert [count for count, _ in time_builds(lambda _: BUDGET_SECONDS / 20, 8_192)] == [1_024, 2_048, 4_096, 8_192]
    assert time_builds(lambda _: 0.0, 3) == [(1, 0.0), (3, 0.0)]
    assert time_builds(lambda _: 0.0, 1_000, least=256) == [(256, 0.0), (500, 0.0), (1000, 0.0)]
    assert time_builds(lambda _: 0.0, 100, least=256) == [(100, 0.0)]
