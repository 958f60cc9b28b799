"""Scores of stores as scores of which the larger is closer."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.integrations.hits import as_search, check_depth, rank, read_hits


@pytest.mark.parametrize("scores", ["similarity", "cosine_distance", "squared_distance"])
def test_every_kind_of_score_becomes_the_cosine(scores: str) -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = rows[0]
    cosines = rows @ query
    stored = {
        "similarity": cosines,
        "cosine_distance": 1 - cosines,
        "squared_distance": np.square(rows - query).sum(axis=1),
    }[scores]
    order = np.argsort(-cosines)
    hits = read_hits([(str(row), row, float(stored[row])) for row in order], scores, "Store")
    assert [item for item, _ in hits.values()] == order.tolist()
    np.testing.assert_allclose([score for _, score in hits.values()], cosines[order], atol=1e-12)


def test_scores_that_rise_are_refused_and_ties_are_not() -> None:
    assert len(read_hits([("a", 1, 0.5), ("b", 2, 0.5)], "similarity", "Store")) == 2
    with pytest.raises(InputError, match="scores of Store must fall from hit to hit as 'cosine_distance'. They rise"):
        read_hits([("a", 1, 0.5), ("b", 2, 0.4)], "cosine_distance", "Store")


def test_no_hits_are_a_search_of_nothing() -> None:
    scores, ids = as_search({})(np.zeros((1, 3), dtype=np.float32), 5)
    assert scores.shape == ids.shape == (1, 0)


def test_the_first_side_gives_the_item_that_both_have() -> None:
    merged = (np.array([[0.5, 0.25]]), np.array([["a", "b"]], dtype=object))
    assert rank([{"a": ("first", 1.0)}, {"a": ("second", 1.0), "b": ("third", 0.0)}], merged) == [
        ("first", 0.5),
        ("third", 0.25),
    ]


def test_a_depth_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="similarity_top_k must be at least 1. Got 0"):
        check_depth(0, name="similarity_top_k")
