"""Scores between vectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.similarity import SIMILARITIES, pairwise_scores, rounding_bound, row_scores
from embcompat.spaces import Similarity


def vectors(rows: int, dim: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_query_scores_alone_what_it_scores_in_a_batch(similarity: Similarity) -> None:
    queries, gallery = vectors(5, 16), vectors(9, 16, seed=1)
    together = pairwise_scores(queries, gallery, similarity)
    alone = np.vstack([pairwise_scores(query[np.newaxis], gallery, similarity) for query in queries])
    np.testing.assert_allclose(alone, together, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_the_nearest_row_of_a_vector_is_itself(similarity: Similarity) -> None:
    gallery = vectors(20, 8)
    assert pairwise_scores(gallery, gallery, similarity).argmax(axis=1).tolist() == list(range(20))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rotating_both_sides_changes_no_score(similarity: Similarity) -> None:
    queries, gallery = vectors(5, 8), vectors(9, 8, seed=1)
    rotation = np.linalg.qr(vectors(8, 8, seed=2))[0]
    np.testing.assert_allclose(
        pairwise_scores(queries @ rotation, gallery @ rotation, similarity),
        pairwise_scores(queries, gallery, similarity),
        atol=2e-5,
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_scores_equal_scipy(similarity: Similarity) -> None:
    queries, gallery = vectors(7, 12), vectors(11, 12, seed=1)
    if similarity == "dot":
        expected = queries.astype(np.float64) @ gallery.astype(np.float64).T
    elif similarity == "cosine":
        expected = 1 - cdist(queries, gallery, "cosine")
    else:
        expected = -cdist(queries.astype(np.float64), gallery.astype(np.float64))
    scores = pairwise_scores(queries, gallery, similarity)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=5e-6)
    diagonal = row_scores(queries, gallery[:7], similarity)
    np.testing.assert_array_equal(diagonal, np.diag(expected[:, :7]).astype(np.float32))


@pytest.mark.parametrize("dim", [8, 64, 384, 1024])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("kind", ["normal", "positive", "biased"])
def test_no_score_is_further_from_the_exact_one_than_the_bound(similarity: Similarity, dim: int, kind: str) -> None:
    rng = np.random.default_rng(dim)
    rows = rng.normal(size=(2, 120, dim))
    if kind == "positive":
        rows = np.abs(rows)
    elif kind == "biased":
        rows = rows * (rng.random(rows.shape) < 0.1) + 1e-3
    queries, gallery = rows.astype(np.float32)
    exact = row_scores(np.repeat(queries, 120, axis=0), np.tile(gallery, (120, 1)), similarity).reshape(120, 120)
    error = np.abs(pairwise_scores(queries, gallery, similarity).astype(np.float64) - exact)
    assert (error <= rounding_bound(queries, gallery, similarity)[:, np.newaxis]).all()


def test_close_distances_do_not_cancel() -> None:
    base = np.full((1, 64), 100.0, dtype=np.float32)
    other = base.copy()
    other[0, 0] += np.float32(2**-10)
    np.testing.assert_allclose(pairwise_scores(base, other, "euclidean"), [[-(2.0**-10)]], rtol=1e-3)
    assert row_scores(base, other, "euclidean").tolist() == [-(2.0**-10)]


def test_negative_cosines_and_zero_vectors() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    gallery = np.array([[-2.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    assert pairwise_scores(queries, gallery, "cosine").tolist() == [[-1.0, 0.0], [0.0, 0.0]]
    assert row_scores(queries, gallery, "cosine").tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_no_rows(similarity: Similarity) -> None:
    assert pairwise_scores(vectors(0, 3), vectors(4, 3), similarity).shape == (0, 4)
    assert pairwise_scores(vectors(4, 3), vectors(0, 3), similarity).shape == (4, 0)
    assert row_scores(vectors(0, 3), vectors(0, 3), similarity).shape == (0,)
    assert rounding_bound(vectors(2, 3), vectors(0, 3), similarity).shape == (2,)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"vectors of one length. Got \(2, 3\) and \(2, 4\)"):
        pairwise_scores(vectors(2, 3), vectors(2, 4), "dot")
    with pytest.raises(InputError, match="equally many rows. Got 2 and 3"):
        row_scores(vectors(2, 3), vectors(3, 3), "dot")
    with pytest.raises(UnknownNameError, match="no similarity called 'l2'. Known: cosine, dot, euclidean"):
        pairwise_scores(vectors(2, 3), vectors(2, 3), "l2")  # type: ignore[arg-type]
