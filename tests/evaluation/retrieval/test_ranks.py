"""Ranks of the relevant items."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompat.evaluation import search
from embcompat.evaluation.retrieval import ranks as ranks_module
from embcompat.evaluation.retrieval.qrels import Relevance
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.evaluation.similarity import SIMILARITIES, row_scores
from embcompat.spaces import Similarity


def vectors(rows: int, dim: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def relevance(items: list[list[int]], left_out: list[tuple[int, int]] = []) -> Relevance:  # noqa: B006
    """Judge items[i] relevant to query i."""
    sizes = [len(each) for each in items]
    rows = np.array([row for each in items for row in each], dtype=np.intp)
    pairs = np.array(left_out, dtype=np.intp).reshape(-1, 2)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
    return Relevance(np.arange(len(items)), offsets, rows, np.ones(len(rows)), (pairs[:, 0], pairs[:, 1]))


def naive(terms: list[ScoreTerm], judged: Relevance, allowed: set[int]) -> list[int]:
    """Sort the whole gallery for each query and look the relevant items up."""
    count, result = len(terms[0].gallery), []
    hidden = set(zip(*(part.tolist() for part in judged.left_out), strict=True))
    for number, query in enumerate(judged.queries):
        scores = np.zeros(count)
        for term in terms:
            queries = np.repeat(term.queries[query][np.newaxis], count, axis=0)
            scores += term.weight * row_scores(queries, term.gallery, term.similarity).astype(np.float64)
        candidates = [row for row in range(count) if row in allowed and (number, row) not in hidden]
        order = sorted(candidates, key=lambda row: (-np.float32(scores[row]), row))
        relevant = judged.rows[judged.offsets[number] : judged.offsets[number + 1]]
        result += [order.index(row) + 1 for row in relevant]
    return result


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"QUERY_BLOCK": 2, "GALLERY_BLOCK": 5, "_PENDING": 3, "_PASSES": 1, "RESCORE_ROWS": 4}.items():
        monkeypatch.setattr(ranks_module, name, value)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_ranks_equal_the_naive_loop(data: st.DataObject) -> None:
    count, dim, requests = (data.draw(st.integers(1, high)) for high in (24, 3, 5))
    similarity = data.draw(st.sampled_from(SIMILARITIES))
    numbers = st.integers(-2, 2)  # coarse, so that ties and equal rows are common
    rows = st.lists(st.lists(numbers, min_size=dim, max_size=dim), min_size=count, max_size=count)
    gallery = np.array(data.draw(rows), dtype=np.float32)
    queries = gallery[np.arange(requests) % count]
    item = st.integers(0, count - 1)
    items = data.draw(
        st.lists(st.lists(item, min_size=1, max_size=4, unique=True), min_size=requests, max_size=requests)
    )
    left_out = [
        (number, row)
        for number, row in data.draw(st.lists(st.tuples(st.integers(0, requests - 1), item), max_size=5, unique=True))
        if row not in items[number]
    ]
    judged = relevance(items, left_out)
    terms = [ScoreTerm(queries, gallery, similarity)]
    if data.draw(st.booleans()):
        terms = [ScoreTerm(queries, gallery, similarity, 0.25), ScoreTerm(-queries, gallery, "dot", 0.75)]
    assert rank_relevant(terms, judged).tolist() == [naive(terms, judged, set(range(count)))]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_blocks_change_no_rank(similarity: Similarity, request: pytest.FixtureRequest) -> None:
    gallery = vectors(80, 6)
    gallery[40:60] = gallery[:20]
    judged = relevance([[row, 79 - row, row + 40] for row in range(12)])
    terms = [ScoreTerm(vectors(12, 6, seed=1), gallery, similarity)]
    whole = rank_relevant(terms, judged)
    request.getfixturevalue("small_blocks")
    np.testing.assert_array_equal(rank_relevant(terms, judged), whole)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_ranks_agree_with_search(similarity: Similarity) -> None:
    queries, gallery = vectors(9, 32, seed=1), vectors(9_000, 32)
    gallery[8_500:] = gallery[:500]
    nearest = search(queries, gallery, k=40, similarity=similarity)[1]
    judged = relevance([[int(row) for row in each[::3]] for each in nearest])
    ranks = rank_relevant([ScoreTerm(queries, gallery, similarity)], judged)
    assert ranks[0].tolist() == list(range(1, 41, 3)) * 9


@pytest.mark.usefixtures("small_blocks")
def test_nested_galleries_are_ranked_in_one_pass() -> None:
    gallery, queries = vectors(40, 4), vectors(6, 4, seed=1)
    judged = relevance([[row, row + 6] for row in range(6)], [(0, 39), (3, 20)])
    order = np.concatenate([np.arange(12), np.random.default_rng(0).permutation(np.arange(12, 40))])
    terms = [ScoreTerm(queries, gallery, "cosine")]
    ranks = rank_relevant(terms, judged, order=order, sizes=[12, 23, 40])
    for result, size in zip(ranks, (12, 23, 40), strict=True):
        assert result.tolist() == naive(terms, judged, set(order[:size].tolist()))
    assert (np.diff(ranks, axis=0) >= 0).all()


@pytest.mark.usefixtures("small_blocks")
def test_a_collapsed_gallery_ties_in_the_order_of_its_rows() -> None:
    gallery = np.ones((30, 3), dtype=np.float32)
    judged = relevance([[4, 29, 0]], [(0, 2)])
    assert rank_relevant([ScoreTerm(gallery[:1], gallery, "cosine")], judged).tolist() == [[4, 29, 1]]


def test_a_negative_cosine_still_ranks() -> None:
    gallery = np.array([[-1.0, 0.0], [-1.0, -1.0], [0.0, -1.0]], dtype=np.float32)
    ranks = rank_relevant(
        [ScoreTerm(np.array([[1.0, 0.5]], dtype=np.float32), gallery, "cosine")], relevance([[0, 1, 2]])
    )
    assert ranks.tolist() == [[2, 3, 1]]


def test_no_query() -> None:
    assert rank_relevant([ScoreTerm(vectors(2, 3), vectors(4, 3), "dot")], relevance([])).shape == (1, 0)
