from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import GramSums
from embcompat.aligners.affine import solve_ridge
from embcompat.errors import InputError


def pairs(count: int, *, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    source = (rng.standard_normal((count, 4)) + offset).astype(np.float32)
    return source, (source[:, :3] + 0.1 * rng.standard_normal((count, 3)) + offset).astype(np.float32)


def assert_same(result: GramSums, expected: GramSums) -> None:
    assert result.count == expected.count
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(result, name), value, rtol=1e-9, atol=1e-9, err_msg=name)


def test_sums_are_the_centred_products() -> None:
    source, target = pairs(40)
    sums = GramSums.of([(source, target)])
    x, y = source - source.mean(axis=0, dtype=float), target - target.mean(axis=0, dtype=float)
    np.testing.assert_allclose(sums.source_gram, x.T @ x, atol=1e-12)
    np.testing.assert_allclose(sums.cross_gram, x.T @ y, atol=1e-12)
    np.testing.assert_allclose(sums.target_square, np.sum(y * y))
    np.testing.assert_allclose(sums.source_mean, source.mean(axis=0, dtype=float))


@pytest.mark.parametrize("cuts", [[1], [10, 10, 30], [1, 2, 3, 4, 49]])
def test_streaming_and_merging_give_what_one_pass_gives(cuts: list[int]) -> None:
    source, target = pairs(50)
    whole = GramSums.of([(source, target)])
    parts = list(zip(np.split(source, cuts), np.split(target, cuts), strict=True))
    assert_same(GramSums.of(parts), whole)
    merged = GramSums(4, 3)
    for part in reversed(parts):
        worker = GramSums(4, 3)
        worker.add(*part)
        merged.merge(worker)
    assert_same(merged, whole)


def test_data_in_several_internal_blocks() -> None:
    source, target = pairs(20_000)
    x = source - source.mean(axis=0, dtype=float)
    np.testing.assert_allclose(GramSums.of([(source, target)]).source_gram, x.T @ x, rtol=1e-9, atol=1e-6)


def test_data_far_from_the_origin_lose_no_digits() -> None:
    rng = np.random.default_rng(0)
    source = rng.standard_normal((500, 4)) + 1e7
    target = (source - 1e7) @ rng.standard_normal((4, 3))
    sums = GramSums.of([(source[:100], target[:100]), (source[100:], target[100:])])
    near = GramSums.of([(source - 1e7, target)])
    np.testing.assert_allclose(solve_ridge(sums, 1e-6)[0], solve_ridge(near, 1e-6)[0], rtol=1e-6)


def test_what_cannot_be_summed_is_refused() -> None:
    source, target = pairs(10)
    sums = GramSums(4, 3)
    with pytest.raises(InputError, match=r"must have the shapes \(10, 4\) and \(10, 3\)\. Got \(10, 4\) and \(9, 3\)"):
        sums.add(source, target[:9])
    with pytest.raises(InputError, match=r"must have the shapes"):
        sums.add(source, target[:, :2])
    target[7, 1] = np.inf
    with pytest.raises(InputError, match=r"pairs must be finite\. Row 7 holds NaN or infinity"):
        sums.add(source, target)
    assert sums.count == 0
    with pytest.raises(InputError, match=r"must be of dimensions \(4, 3\) to be merged\. Got \(4, 2\)"):
        sums.merge(GramSums(4, 2))
    with pytest.raises(InputError, match=r"at least one pair is needed to fit an aligner\. Got none"):
        GramSums.of([])
