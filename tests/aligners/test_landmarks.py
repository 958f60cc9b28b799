from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import AffineAligner
from embcompat.aligners import landmarks as landmarks_module
from embcompat.aligners.landmarks import LandmarkSums, median_bandwidth, similarities
from embcompat.embeddings import normalize_rows

PENALTY = 0.1


def expected_coefficients(
    source: np.ndarray, target: np.ndarray, mean: np.ndarray, linear: AffineAligner, centres: np.ndarray, beta: float
) -> np.ndarray:
    """Solve the normal equations of all pairs at once, in float64, by least squares."""
    kernel = similarities(normalize_rows(source.astype(np.float64) - mean), centres, beta)
    residual = target - (source.astype(np.float64) @ linear.weight.T + linear.bias)
    gram = kernel.T @ kernel + PENALTY * similarities(centres, centres, beta)
    gram += (1e-3 + 2e-6 * gram.diagonal().max()) * np.eye(len(gram))
    return np.linalg.lstsq(gram, kernel.T @ residual, rcond=None)[0].T


@pytest.mark.parametrize("far", [0.0, 50.0])
@pytest.mark.parametrize("block_bytes", [1_000, 1 << 25])
def test_sums_of_float32_blocks_agree_with_float64_at_once(
    far: float, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Far from the origin, and a linear part that is not the best one: nothing may lean on means that are zero.
    monkeypatch.setattr(landmarks_module, "_BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    source = (rng.standard_normal((700, 24)) + far).astype(np.float32)
    target = (rng.standard_normal((700, 5)) - far).astype(np.float32)
    linear = AffineAligner(0.1 * rng.standard_normal((5, 24)), rng.standard_normal(5))
    means = source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    centres = normalize_rows(source[:40] - means[0].astype(np.float32))
    sums = LandmarkSums(*means, centres, median_bandwidth(centres))
    sums.add(source, target, np.arange(300))
    sums.add(source, target, np.arange(300, 700))
    for count in (40, 15):
        expected = expected_coefficients(source, target, means[0], linear, centres[:count], sums.bandwidth)
        result = sums.solve(linear, PENALTY, count)
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_some_of_the_rows_are_summed() -> None:
    rng = np.random.default_rng(1)
    source = rng.standard_normal((90, 6)).astype(np.float32)
    target = rng.standard_normal((90, 4)).astype(np.float32)
    linear = AffineAligner(np.zeros((4, 6)), np.zeros(4))
    centres = normalize_rows(source[:10])
    rows = np.array([3, 7, 50, 88])
    some, alone = (LandmarkSums(np.zeros(6), np.zeros(4), centres, 1.0) for _ in range(2))
    some.add(source, target, rows)
    alone.add(source[rows], target[rows], np.arange(4))
    np.testing.assert_array_equal(some.solve(linear, PENALTY, 10), alone.solve(linear, PENALTY, 10))


def test_one_landmark_has_a_bandwidth() -> None:
    assert median_bandwidth(np.array([[1, 0]], dtype=np.float32)) == 1.0
    assert median_bandwidth(np.eye(2, dtype=np.float32)) == 2.0
    assert median_bandwidth(np.ones((3, 1), dtype=np.float32)) == 1e-3
