"""Compatibility figures: by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.evaluation.compatibility import Compatibility, CompatibilityMatrix, compatibility_matrix, count_flips


def test_the_criterion_is_strict():
    assert Compatibility(old=0.5, cross=0.51, new=0.7).compatible
    assert not Compatibility(old=0.5, cross=0.5, new=0.7).compatible


def test_the_update_gain_is_the_part_of_the_gain_that_arrives():
    assert Compatibility(old=0.5, cross=0.65, new=0.7).update_gain == pytest.approx(0.75)
    assert Compatibility(old=0.5, cross=0.4, new=0.7).update_gain == pytest.approx(-0.5)


@pytest.mark.parametrize("new", [0.5, 0.4])
def test_without_a_better_model_there_is_no_update_gain(new):
    result = Compatibility(old=0.5, cross=0.45, new=new)
    assert result.update_gain is None
    values = json.loads(json.dumps(result.to_dict()))
    assert values["update_gain"] is None
    assert "new model is not better" in values["note"]
    assert "note" not in Compatibility(old=0.5, cross=0.45, new=0.6).to_dict()


def test_average_compatibility_is_the_part_of_the_pairs_that_hold():
    values = np.array([[0.5, 0.0, 0.0], [0.6, 0.6, 0.0], [0.4, 0.7, 0.8]])
    matrix = CompatibilityMatrix(("1", "2", "3"), values)
    assert matrix.average_compatibility == pytest.approx(2 / 3)  # 3 on 1 does not hold
    pair = matrix.pair("3", "2")
    assert (pair.old, pair.cross, pair.new) == (0.6, 0.7, 0.8)
    assert json.loads(json.dumps(matrix.to_dict()))["values"] == values.tolist()


def test_the_matrix_asks_for_each_pair_of_versions_once():
    requests = []

    def measure(queries, gallery):
        requests.append((queries, gallery))
        return float(queries) + float(gallery) / 10

    matrix = compatibility_matrix(["1", "2"], measure)
    assert requests == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]
    assert matrix.values.tolist() == [[1.1, 1.2], [2.1, 2.2]]


def test_flips_are_counted_both_ways():
    rng = np.random.default_rng(0)
    original, after = rng.random(500) < 0.7, rng.random(500) < 0.8
    flips = count_flips(original, after)
    assert flips.negative == pytest.approx(sum(b and not a for b, a in zip(original, after, strict=True)) / 500)
    assert np.mean(after) - np.mean(original) == pytest.approx(flips.positive - flips.negative)
    same = count_flips(original, original)
    assert (same.negative, same.positive, same.count) == (0.0, 0.0, 500)


def test_messages():
    with pytest.raises(InputError, match="two or more different names"):
        compatibility_matrix(["1"], lambda *_: 0.0)
    with pytest.raises(InputError, match="two or more different names"):
        compatibility_matrix(["1", "1"], lambda *_: 0.0)
    with pytest.raises(InputError, match="must be booleans"):
        count_flips([1, 0], [0, 1])
    with pytest.raises(InputError, match=r"Got shapes \(2,\) and \(1,\)"):
        count_flips([True, False], [True])
    with pytest.raises(InputError, match="version must be one of 1, 2. Got '9'"):
        CompatibilityMatrix(("1", "2"), np.zeros((2, 2))).pair("9", "1")
