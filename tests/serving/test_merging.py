from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embcompat.serving import FusedSearch, MixedGallery, Search

QUERIES = np.zeros((3, 1), dtype=np.float32)
NAMINGS = {
    "small integers": lambda numbers: numbers,
    "wide integers": lambda numbers: numbers.astype(np.int64) * 3_000_000_000_000 - 1,
    "small unsigned": lambda numbers: numbers.astype(np.uint8),
    "wide unsigned": lambda numbers: numbers.astype(np.uint64) + np.uint64(1 << 63),
    "objects": lambda numbers: numbers.astype(str).astype(object),
    "strings": lambda numbers: numbers.astype(str),
}


@st.composite
def sides(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores with many ties, ids without a repeat, as a search brings them."""
    width = draw(st.integers(0, 7))
    ids = [draw(st.permutations(range(12)))[:width] for _ in QUERIES]
    few = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), min_size=width, max_size=width)
    scores = [sorted(draw(few), reverse=True) for _ in QUERIES]
    shape = len(QUERIES), width
    return np.array(scores, dtype=np.float32).reshape(shape), np.array(ids, dtype=np.int64).reshape(shape)


def constant(side: tuple[NDArray[Any], NDArray[Any]], naming: str | None = None) -> Search:
    """A search that brings these hits, whatever it is asked."""
    return lambda *_: (side[0], NAMINGS[naming](side[1]) if naming else side[1])


def lists(side: tuple[NDArray[Any], NDArray[Any]], naming: str, query: int) -> dict[Any, float]:
    return dict(zip(NAMINGS[naming](side[1])[query].tolist(), side[0][query].tolist(), strict=True))


def ranked(hits: list[dict[Any, float]], k: int) -> tuple[list[list[float]], list[list[Any]]]:
    """Sort stably, the plain way."""
    width = min([k, *map(len, hits)])
    rows = [sorted(each.items(), key=lambda item: -item[1])[:width] for each in hits]
    return [[score for _, score in row] for row in rows], [[name for name, _ in row] for row in rows]


@given(sides(), sides(), st.sampled_from(sorted(NAMINGS)), st.integers(1, 15), st.sampled_from([0.0, 0.5, 0.7, 1.0]))
def test_fused_hits_are_those_of_the_plain_loop(new: Any, old: Any, naming: str, k: int, weight: float) -> None:
    scores, ids = FusedSearch(constant(new, naming), constant(old, naming), weight=weight).search(QUERIES, QUERIES, k)
    hits = []
    for query in range(len(QUERIES)):
        both_sides = [lists(side, naming, query) for side in (new, old)]
        low = [min(each.values(), default=0.0) for each in both_sides]
        every = dict.fromkeys([*both_sides[0], *both_sides[1]])
        hits.append(
            {
                name: weight * both_sides[0].get(name, low[0]) + (1 - weight) * both_sides[1].get(name, low[1])
                for name in every
            }
        )
    assert (scores.tolist(), ids.tolist()) == ranked(hits, k)


@given(sides(), sides(), st.sampled_from(sorted(NAMINGS)), st.integers(1, 15))
def test_mixed_hits_are_those_of_the_plain_loop(native: Any, converted: Any, naming: str, k: int) -> None:
    mixed = MixedGallery(constant(native, naming), constant(converted, naming), scale=0.5, offset=0.25)
    hits = [
        {name: 0.5 * score + 0.25 for name, score in lists(converted, naming, query).items()}
        | lists(native, naming, query)
        for query in range(len(QUERIES))
    ]
    scores, ids = mixed.search(QUERIES, k)
    assert (scores.tolist(), ids.tolist()) == ranked(hits, k)


def test_many_queries_are_merged_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.integers(5, size=(2, 400, 40)).astype(np.float64), axis=2)
    ids = np.argsort(rng.random((2, 400, 90)), axis=2)[:, :, :40]

    def merge(rows: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        queries = QUERIES[:1].repeat(len(range(400)[rows]), axis=0)
        each = [(scores[side, rows], ids[side, rows]) for side in (0, 1)]
        return FusedSearch(constant(each[0]), constant(each[1])).search(queries, queries, 10)

    whole = merge(slice(None))
    alone = [merge(slice(row, row + 1)) for row in range(400)]
    assert np.array_equal(whole[0], np.concatenate([each[0] for each in alone]))
    assert np.array_equal(whole[1], np.concatenate([each[1] for each in alone]))


@pytest.mark.parametrize("naming", ["small integers", "objects"])
def test_padding_that_a_side_repeats_is_one_row(naming: str) -> None:
    new = np.array([[1.0, -np.inf, -np.inf]] * 3), np.array([[4, 0, 0]] * 3)
    old = np.array([[1.0, 0.5, 0.25]] * 3), np.array([[4, 5, 6]] * 3)
    scores, ids = FusedSearch(constant(new, naming), constant(old, naming)).search(QUERIES, QUERIES, 9)
    assert ids.shape == (3, 4)
    assert scores[0].tolist() == [1.0, -np.inf, -np.inf, -np.inf]


@pytest.mark.parametrize("naming", ["small integers", "objects"])
def test_an_id_that_both_sides_repeat_is_one_row_with_the_last_score_of_each(naming: str) -> None:
    new = np.array([[0.9, 0.8, 0.7, 0.1]] * 3), np.array([[4, 4, 5, 4]] * 3)
    old = np.array([[0.6, 0.5, 0.3]] * 3), np.array([[4, 6, 4]] * 3)
    scores, ids = FusedSearch(constant(new, naming), constant(old, naming), weight=0.5).search(QUERIES, QUERIES, 9)
    assert [str(each) for each in ids[0]] == ["5", "6", "4"]
    assert scores[0] == pytest.approx([0.5 * 0.7 + 0.5 * 0.3, 0.5 * 0.1 + 0.5 * 0.5, 0.5 * 0.1 + 0.5 * 0.3])


def test_no_query_has_no_hits() -> None:
    none = np.empty((0, 5)), np.empty((0, 5), dtype=np.int64)
    scores, ids = FusedSearch(constant(none), constant(none)).search(QUERIES[:0], QUERIES[:0], 3)
    assert len(scores) == len(ids) == 0


def test_ids_of_two_kinds_are_no_match() -> None:
    new = np.array([[1.0]] * 3), np.array([[1]] * 3)
    old = np.array([[1.0]] * 3), np.array([["1"]] * 3)
    _, ids = FusedSearch(constant(new), constant(old)).search(QUERIES, QUERIES, 3)
    assert ids[0].tolist() == [1, "1"]
