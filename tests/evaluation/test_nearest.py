"""Exact nearest neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from embcompat.errors import InputError
from embcompat.evaluation import nearest, search
from embcompat.evaluation.similarity import SIMILARITIES, row_scores
from embcompat.spaces import Similarity


def vectors(rows: int, dim: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def naive(queries, gallery, k, similarity, own_rows=None):
    """Score everything exactly, then sort by score and row."""
    q, n = len(queries), len(gallery)
    scores = row_scores(np.repeat(queries, n, axis=0), np.tile(gallery, (q, 1)), similarity).reshape(q, n)
    rows = np.tile(np.arange(n), (q, 1))
    if own_rows is not None:
        for query, row in enumerate(own_rows):
            if row >= 0:
                scores[query, row], rows[query, row] = -np.inf, n
    order = np.lexsort((rows, -scores), axis=1)[:, : min(k, n)]
    rows = np.where(rows == n, -1, rows)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"QUERY_BLOCK": 3, "GALLERY_BLOCK": 7, "RESCORE_ROWS": 5, "_POOL_EXTRA": 2}.items():
        monkeypatch.setattr(nearest, name, value)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("k", [1, 5, 40, 60])
def test_blocks_change_neither_scores_nor_order(similarity: Similarity, k: int, request: pytest.FixtureRequest) -> None:
    queries, gallery = vectors(10, 6), vectors(40, 6, seed=1)
    whole = search(queries, gallery, k=k, similarity=similarity)
    request.getfixturevalue("small_blocks")
    blocks = search(queries, gallery, k=k, similarity=similarity)
    np.testing.assert_array_equal(blocks[0], whole[0])
    np.testing.assert_array_equal(blocks[1], whole[1])
    alone = [search(query[np.newaxis], gallery, k=k, similarity=similarity)[1][0] for query in queries]
    np.testing.assert_array_equal(alone, whole[1])


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_search_equals_the_naive_loop(data: st.DataObject) -> None:
    rows, dim, k = (data.draw(st.integers(1, high)) for high in (30, 4, 34))
    similarity = data.draw(st.sampled_from(SIMILARITIES))
    numbers = st.integers(-2, 2)  # coarse, so that ties and equal rows are common
    gallery = np.array(data.draw(st.lists(st.lists(numbers, min_size=dim, max_size=dim), min_size=rows, max_size=rows)))
    queries = gallery[: data.draw(st.integers(1, 8))].astype(np.float32)
    gallery = gallery.astype(np.float32)
    own_rows = np.arange(len(queries)) if data.draw(st.booleans()) else None
    hits = search(queries, gallery, k=k, similarity=similarity, exclude_self=own_rows)
    expected = naive(queries, gallery, k, similarity, own_rows)
    np.testing.assert_array_equal(hits[0], expected[0])
    np.testing.assert_array_equal(hits[1], expected[1])


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_search_equals_scikit_learn(similarity: Similarity) -> None:
    queries, gallery = vectors(20, 16), vectors(500, 16, seed=1)
    if similarity == "dot":
        expected = np.argsort(-(queries.astype(np.float64) @ gallery.T.astype(np.float64)), axis=1)[:, :10]
    else:
        oracle = NearestNeighbors(n_neighbors=10, metric=similarity, algorithm="brute").fit(gallery.astype(np.float64))
        expected = oracle.kneighbors(queries.astype(np.float64), return_distance=False)
    np.testing.assert_array_equal(search(queries, gallery, k=10, similarity=similarity)[1], expected)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_equal_rows_come_in_their_order_wherever_they_stand(similarity: Similarity) -> None:
    gallery = vectors(20_000, 24)
    copies = np.array([3, 8_190, 8_191, 8_192, 12_345, 19_999])
    gallery[copies] = gallery[0] * 0.5 + gallery[1] * 0.1
    scores, rows = search(gallery[3][np.newaxis] * 3, gallery, k=6, similarity=similarity)
    if similarity == "cosine":
        assert rows[0].tolist() == copies.tolist()
    result = [row for row in rows[0].tolist() if row in copies]
    assert result == copies[: len(result)].tolist()
    assert (np.diff(scores[0]) <= 0).all()


def test_a_gallery_of_one_vector_repeated_keeps_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    settle = nearest._settle
    monkeypatch.setattr(nearest, "_settle", lambda pool, *rest: widths.append(pool[0].shape[1]) or settle(pool, *rest))
    monkeypatch.setattr(nearest, "GALLERY_BLOCK", 600)
    rows = search(np.ones((2, 4)), np.ones((6_000, 4)), k=3, similarity="dot")[1]
    assert rows.tolist() == [[0, 1, 2]] * 2
    assert max(widths) <= 2 * 3 + 1_024 + 600


def test_negative_scores_are_found() -> None:
    scores, rows = search(np.array([[1.0]]), np.array([[-3.0], [-1.0], [-2.0]]), k=2, similarity="dot")
    assert (scores.tolist(), rows.tolist()) == ([[-1.0, -2.0]], [[1, 2]])


def test_a_query_that_is_a_gallery_row_is_left_out() -> None:
    gallery = vectors(30, 5)
    rows = search(gallery[10:14], gallery, k=30, similarity="cosine", exclude_self=[10, 11, -1, 13])[1]
    for query, row in ((0, 10), (1, 11), (3, 13)):
        assert row not in rows[query]
        assert rows[query, -1] == -1
    assert rows[2, 0] == 12


def test_no_queries_and_no_gallery() -> None:
    assert search(vectors(0, 3), vectors(4, 3), k=2, similarity="dot")[1].shape == (0, 2)
    assert search(vectors(4, 3), vectors(0, 3), k=2, similarity="dot")[1].shape == (4, 0)


def test_a_memory_map_is_searched(tmp_path) -> None:
    gallery = vectors(50, 4)
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    hits = search(gallery[:3], mapped, k=4, similarity="euclidean")
    np.testing.assert_array_equal(hits[1], search(gallery[:3], gallery, k=4, similarity="euclidean")[1])


def test_bad_input() -> None:
    with pytest.raises(InputError, match="k must be at least 1. Got 0"):
        search(vectors(2, 3), vectors(4, 3), k=0, similarity="dot")
    with pytest.raises(InputError, match=r"vectors of one length. Got \(2, 3\) and \(4, 5\)"):
        search(vectors(2, 3), vectors(4, 5), k=1, similarity="dot")
    for own_rows in ([0], [0, 4], [0, -2], [0.0, 1.0]):
        with pytest.raises(InputError, match="exclude_self must give each of 2 queries its gallery row, 0 to 3, or -1"):
            search(vectors(2, 3), vectors(4, 3), k=1, similarity="dot", exclude_self=own_rows)
