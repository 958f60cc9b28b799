from __future__ import annotations

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.evaluation.chance import LEVEL, PERMUTATIONS, compare_with_chance


def test_weak_but_real_pairs_are_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    native = rng.standard_normal((400, 32)).astype(np.float32)
    weak = native + 3 * rng.standard_normal((400, 32)).astype(np.float32)
    test = compare_with_chance(weak, native, "cosine")
    assert test.p_value == 1 / (1 + PERMUTATIONS)
    assert not test.at_chance


def test_shuffled_pairs_seldom_pass() -> None:
    passed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        native = rng.standard_normal((60, 8)).astype(np.float32)
        passed += not compare_with_chance(native[rng.permutation(60)], native, "euclidean", seed=seed).at_chance
    assert passed <= 200 * LEVEL * 6


def test_one_place_for_all_is_chance() -> None:
    native = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    assert compare_with_chance(np.ones_like(native), native, "dot").at_chance


def test_one_item_tells_nothing() -> None:
    one = np.ones((1, 3), np.float32)
    assert compare_with_chance(one, one, "cosine").at_chance
    with pytest.raises(InputError, match="the same items, at least one"):
        compare_with_chance(one[:0], one[:0], "cosine")
