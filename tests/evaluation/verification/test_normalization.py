"""Cohort score normalization against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.cohorts import normalizable_scores
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import InputError
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.evaluation.verification.figures import far_at_frr
from embcompat.evaluation.verification.normalization import (
    make_cohort,
    make_score_cohort,
    make_score_moments,
    normalize_scores,
    normalized_pairs,
)
from embcompat.evaluation.verification.pairs import VerificationPairs, genuine_rows
from embcompat.spaces import SpaceVersion


def made_embeddings(count=90, subjects=30, *, similarity="cosine", seed=0, labels=True):
    rng = np.random.default_rng(seed)
    space = SpaceVersion(name="made", version="1", dim=5, similarity=similarity)
    names = [f"s{row % subjects}" for row in range(count)]
    vectors = rng.standard_normal((count, 5)).astype(np.float32)
    return Embeddings(vectors, [str(row) for row in range(count)], space, names if labels else None)


def test_a_cohort_is_one_seeded_row_of_each_subject():
    embeddings = made_embeddings()
    cohort = make_cohort(embeddings, top=10, seed=3)
    rows = [int(np.flatnonzero((embeddings.vectors == vector).all(axis=1))[0]) for vector in cohort.vectors]
    assert sorted(embeddings.labels[rows]) == sorted(set(embeddings.labels))
    assert np.array_equal(cohort.vectors, make_cohort(embeddings, top=10, seed=3).vectors)
    assert not np.array_equal(cohort.vectors, make_cohort(embeddings, top=10, seed=4).vectors)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_statistics_and_scores_follow_the_formula(similarity):
    cohort = make_cohort(made_embeddings(similarity=similarity), top=10)
    queries, gallery = (made_embeddings(8, similarity=similarity, seed=seed).vectors for seed in (1, 2))
    left, right = cohort.statistics(queries), cohort.statistics(gallery)
    all_scores = normalizable_scores(pairwise_scores(queries, cohort.vectors, similarity), similarity)
    top = np.sort(all_scores, axis=1)[:, -10:]
    assert np.allclose(left.mean, np.mean(top, axis=1), rtol=1e-6)
    assert np.allclose(left.deviation, np.std(top, axis=1), rtol=1e-5)
    scores = normalizable_scores(pairwise_scores(queries, gallery, similarity), similarity)
    normalized = normalize_scores(scores, left, right)
    for i, j in ((0, 0), (3, 5), (7, 1)):
        by_hand = (scores[i, j] - left.mean[i]) / left.deviation[i] + (scores[i, j] - right.mean[j]) / right.deviation[
            j
        ]
        assert normalized[i, j] == pytest.approx(by_hand, rel=1e-6)


def test_a_vector_alone_gets_what_it_gets_among_others():
    cohort = make_cohort(made_embeddings(), top=10)
    vectors = made_embeddings(40, seed=1).vectors
    whole = cohort.statistics(vectors)
    alone = cohort.statistics(vectors[17:18])
    assert alone.mean[0] == pytest.approx(whole.mean[17], rel=1e-5)
    assert alone.deviation[0] == pytest.approx(whole.deviation[17], rel=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_normalized_pairs_score_what_normalize_scores_says(similarity):
    cohort = make_cohort(made_embeddings(similarity=similarity), top=10)
    anchors, positives = (made_embeddings(30, seed=seed).vectors for seed in (1, 2))
    pairs = VerificationPairs(anchors, positives, np.arange(30), np.arange(30), similarity)
    left, right = cohort.statistics(anchors), cohort.statistics(positives)
    scores = normalizable_scores(pairwise_scores(anchors, positives, similarity), similarity)
    expected = normalize_scores(scores, left, right)
    normalized = normalized_pairs(pairs, left, right)
    rows, columns = genuine_rows(normalized)
    assert np.allclose(normalized.genuine.scores, np.sort(expected[rows, columns]), rtol=1e-5, atol=1e-5)
    rates = far_at_frr(normalized, 0.1)
    impostor = expected[~np.eye(30, dtype=bool)]
    assert rates.false_acceptances == pytest.approx(np.sum(impostor > rates.threshold), abs=1)


def test_vectors_that_score_high_with_everybody_are_brought_into_line():
    rng = np.random.default_rng(0)

    def people(count, seed):
        draw = np.random.default_rng(seed)
        return draw.standard_normal((count, 16)), draw.uniform(0, 3, (count, 1))

    # A hub direction that some people have much of: it raises all their scores.
    hub = np.zeros(16)
    hub[0] = 1.0
    centres, amount = people(300, 1)
    sides = [centres + 0.6 * rng.standard_normal(centres.shape) + amount * hub for _ in range(2)]
    strangers, much = people(200, 2)
    space = SpaceVersion(name="hub", version="1", dim=16)
    ids = [str(row) for row in range(200)]
    cohort = make_cohort(Embeddings(strangers + much * hub, ids, space, ids), top=50)
    pairs = VerificationPairs(*sides, np.arange(300), np.arange(300), "cosine")
    normalized = normalized_pairs(pairs, cohort.statistics(sides[0]), cohort.statistics(sides[1]))
    assert far_at_frr(normalized, 0.05).far < 0.8 * far_at_frr(pairs, 0.05).far


def test_one_side_alone_is_its_own_term_of_the_formula():
    cohort = make_cohort(made_embeddings(), top=10)
    anchors, positives = made_embeddings(12, seed=1).vectors, made_embeddings(12, seed=2).vectors
    pairs = VerificationPairs(anchors, positives, np.arange(12) % 6, np.arange(12) % 6, "cosine")
    left, right = cohort.statistics(anchors), cohort.statistics(positives)
    scores = pairwise_scores(anchors, positives, "cosine").astype(np.float64)
    rows = genuine_rows(pairs)
    for normalized, expected in (
        (normalized_pairs(pairs, None, right), (scores - right.mean) / right.deviation),
        (normalized_pairs(pairs, left, None), ((scores.T - left.mean) / left.deviation).T),
    ):
        assert np.allclose(normalized.genuine.scores, np.sort(expected[rows]), rtol=1e-5)
    with pytest.raises(InputError, match="of both. Got none"):
        normalized_pairs(pairs, None, None)


def test_a_score_cohort_is_the_same_people_on_both_sides():
    native = made_embeddings()
    converted = Embeddings(2 * native.vectors, native.ids, native.space, native.labels)
    cohort = make_score_cohort(converted, native, people=7, top=300)
    assert cohort.native.vectors.shape == (7, 5)
    assert np.array_equal(cohort.converted.vectors, 2 * cohort.native.vectors)
    assert (cohort.native.top, cohort.converted.top) == (7, 7)
    people = [native.labels[(native.vectors == vector).all(axis=1)][0] for vector in cohort.native.vectors]
    assert len(set(people)) == 7
    assert len(make_score_cohort(converted, native, people=10_000).native.vectors) == 30
    with pytest.raises(InputError, match="at least two people. Got 1"):
        make_score_cohort(converted, native, people=1)
    with pytest.raises(InputError, match="same ids in the same order"):
        make_score_cohort(converted.select(np.arange(5)), native, people=5)
    with pytest.raises(InputError, match="needs labels"):
        make_score_cohort(made_embeddings(labels=False), made_embeddings(labels=False), people=5)


def test_messages():
    with pytest.raises(InputError, match="a cohort needs labels"):
        make_cohort(made_embeddings(labels=False))
    with pytest.raises(InputError, match="top must be between 2 and the number of people in the cohort, 30. Got 300"):
        make_cohort(made_embeddings())
    space = SpaceVersion(name="one", version="1", dim=2, similarity="dot")
    flat = make_cohort(Embeddings([[1.0, 0.0], [1.0, 0.0]], ["a", "b"], space, ["a", "b"]), top=2)
    with pytest.raises(InputError, match="Row 0 scores the same with all of them"):
        flat.statistics([[1.0, 2.0]])
    cohort = make_cohort(made_embeddings(), top=10)
    vectors = made_embeddings(4).vectors
    statistics = cohort.statistics(vectors)
    with pytest.raises(InputError, match=r"scores must have shape \(4, 4\)"):
        normalize_scores(np.zeros((4, 3)), statistics, statistics)
    with pytest.raises(InputError, match="must be minus the Euclidean distance, 0 or less. Got 3. Negate distances"):
        normalizable_scores([[-1.0, 3.0]], "euclidean")
    pairs = VerificationPairs(vectors[:3], vectors[:3], np.arange(3), np.arange(3), "cosine")
    with pytest.raises(InputError, match="statistics for each anchor and each positive"):
        normalized_pairs(pairs, statistics, statistics)


@pytest.fixture(scope="module")
def people() -> Embeddings:
    """People whose vectors are Gaussian, so that the scores of a vector are, too."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3_000, 6)) * [2.0, 1.5, 1.0, 1.0, 0.5, 0.5] + [0.5, 0, 0, 0, 0, 0]
    space = SpaceVersion(name="made", version="1", dim=6, similarity="dot")
    names = [str(row) for row in range(3_000)]
    return Embeddings(vectors.astype(np.float32), names, space, names)


class TestMoments:
    def test_they_predict_what_the_people_would_give(self, people):
        cohort = make_cohort(people, top=200).statistics(people.vectors[:500] * np.float32(0.9))
        moments = make_score_moments(people, people).native.statistics(people.vectors[:500] * np.float32(0.9))
        assert np.allclose(moments.mean, cohort.mean, rtol=0.1, atol=0.1)
        assert np.corrcoef(moments.deviation, cohort.deviation)[0, 1] > 0.9

    def test_they_are_regressed_on_mean_and_spread_by_least_squares(self, people):
        few = people.select(np.arange(200))
        moments = make_score_moments(few, few).converted
        vectors = few.vectors.astype(np.float64)
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        highest = np.sort(scores, axis=1)[:, -(200 // 15) :]
        spread = np.sqrt(np.einsum("ij,jk,ik->i", vectors, np.cov(vectors.T, ddof=0), vectors))
        table = np.stack([np.ones(200), vectors @ vectors.mean(axis=0), spread], axis=1)
        for number, goal in enumerate((highest.mean(axis=1), np.log(highest.std(axis=1)))):
            expected = np.linalg.solve(table.T @ table, table.T @ goal)
            assert np.allclose(moments.weights[number], expected, rtol=1e-3, atol=1e-3)

    def test_a_vector_alone_gets_what_it_gets_among_others(self, people):
        moments = make_score_moments(people, people).native
        whole, alone = moments.statistics(people.vectors[:40]), moments.statistics(people.vectors[17:18])
        assert alone.mean[0] == pytest.approx(whole.mean[17])
        assert alone.deviation[0] == pytest.approx(whole.deviation[17])

    def test_vectors_of_another_length_and_too_few_people_are_refused(self, people):
        moments = make_score_moments(people, people).native
        with pytest.raises(InputError, match=r"vectors must have shape \(n, 6\)"):
            moments.statistics(np.ones((3, 5)))
        few = people.select(np.arange(99))
        with pytest.raises(InputError, match="at least 100 people with a label in 6 dimensions. Got 99"):
            make_score_moments(few, few)

    def test_people_with_one_vector_are_refused(self, people):
        collapsed = Embeddings(np.tile(people.vectors[:1], (200, 1)), people.ids[:200], people.space, people.ids[:200])
        native = people.select(np.arange(200))
        with pytest.raises(InputError, match="people whose vectors differ. All 200 have the same vector"):
            make_score_moments(collapsed, native)

    def test_squared_distances_have_the_mean_and_the_variance_of_the_formula(self, people):
        lengths = by_distance(people)
        moments, queries = make_score_moments(lengths, lengths).native, people.vectors[:50].astype(np.float64) + 1
        squares = np.square(queries[:, np.newaxis] - people.vectors).sum(axis=2)
        features = moments.features(queries)
        assert np.allclose(features[:, 1], -squares.mean(axis=1), rtol=1e-5)
        assert np.allclose(features[:, 2], squares.std(axis=1), rtol=1e-5)

    def test_they_predict_what_people_at_a_distance_would_give(self, people):
        lengths = by_distance(people)
        # Queries between the mean and far outside: their spread differs tenfold.
        queries = people.vectors[:500] * np.linspace(0.2, 2, 500, dtype=np.float32)[:, np.newaxis]
        cohort = make_cohort(lengths, top=200).statistics(queries)
        moments = make_score_moments(lengths, lengths).native.statistics(queries)
        assert np.corrcoef(moments.mean, cohort.mean)[0, 1] > 0.95
        assert np.corrcoef(np.log(moments.deviation), np.log(cohort.deviation))[0, 1] > 0.9

    def test_shifting_all_vectors_changes_no_squared_distance(self, people):
        lengths, shift = by_distance(people), np.float32(100)
        shifted = Embeddings(lengths.vectors + shift, lengths.ids, lengths.space, lengths.labels)
        here = make_score_moments(lengths, lengths).native.statistics(lengths.vectors[:50])
        there = make_score_moments(shifted, shifted).native.statistics(shifted.vectors[:50])
        assert np.allclose(here.mean, there.mean, rtol=1e-3, atol=1e-2)
        assert np.allclose(here.deviation, there.deviation, rtol=1e-2)


def by_distance(people):
    space = people.space.model_copy(update={"similarity": "euclidean"})
    return Embeddings(people.vectors, people.ids, space, people.labels)


def test_normalizing_distances_to_rows_of_one_length_makes_the_query_length_irrelevant():
    rng = np.random.default_rng(0)
    rows = np.float32(2) * normalize_rows(rng.standard_normal((400, 8)).astype(np.float32))
    space = SpaceVersion(name="made", version="1", dim=8, similarity="euclidean")
    names = [str(row) for row in range(300)]
    cohort = make_cohort(Embeddings(rows[:300], names, space, names), top=50)
    short = rng.standard_normal((5, 8)).astype(np.float32)
    normalized = []
    for queries in (short, 3 * short):
        scores = normalizable_scores(pairwise_scores(queries, rows[300:], "euclidean"), "euclidean")
        statistics = cohort.statistics(queries)
        normalized.append((scores - statistics.mean[:, np.newaxis]) / statistics.deviation[:, np.newaxis])
    assert np.allclose(*normalized, rtol=1e-3, atol=1e-3)
