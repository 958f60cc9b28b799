from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from embcompat.backfill import SCORERS, Backlog, HeldOut, backfill_order
from embcompat.backfill.curves.recommend import mixtures, take_turns
from embcompat.backfill.order import available_orders, order_rows, pseudo_classes, score_rows, standardize
from embcompat.backfill.residuals import predict_errors
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import InputError, MissingExtraError, UnknownNameError
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs


@pytest.fixture
def backlog() -> Backlog:
    pairs = make_pairs(120, source_dim=6, target_dim=6, subjects=10).pairs
    converted = Embeddings(pairs.target.vectors, pairs.ids, pairs.target.space)
    rng = np.random.default_rng(0)
    held_out = HeldOut(pairs.source.select(range(40)), converted.select(range(40)), noisy(pairs.target, rng, 40))
    convertibility = rng.random(120).astype(np.float32)
    return Backlog(pairs.source, converted, held_out, convertibility, pairs.target.vectors[:7])


def noisy(side: Embeddings, rng: np.random.Generator, count: int) -> Embeddings:
    vectors = side.vectors[:count] + rng.standard_normal((count, side.space.dim)).astype(np.float32)
    return Embeddings(vectors, side.ids[:count], side.space)


@pytest.mark.parametrize("kind", sorted(SCORERS))
def test_every_order_holds_every_converted_row_once(kind: str, backlog: Backlog) -> None:
    options = {name: getattr(backlog, name) for name in ("held_out", "convertibility", "queries")}
    weights = {"class_mean": 0.5, "usefulness": 0.5}
    native = {"item-3", "item-77"}
    result = [
        backfill_order(
            kind, backlog.old, backlog.converted, native_ids=native, weights=weights, seed=seed, **options
        ).tolist()
        for seed in (0, 0, 1)
    ]
    assert result[0] == result[1]
    assert sorted(result[0]) == sorted(set(backlog.old.ids.tolist()) - native)
    if kind in ("random", "class_mean"):
        assert (result[0] == result[2]) == (kind == "class_mean")


def test_class_mean_does_not_follow_the_size_of_the_class() -> None:
    # Rows of every class lie equally far from each other, whatever their number; one row is alone.
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(60), [2] * 30 + [20] * 29 + [1])
    centres = 5 * np.eye(60)[codes]
    vectors = (centres + 0.3 * rng.standard_normal(centres.shape)).astype(np.float32)
    space = SpaceVersion(name="x", version="1", dim=60, similarity="cosine")
    rows = Embeddings(vectors, [str(row) for row in range(len(codes))], space, [f"c{code}" for code in codes])
    scores = score_rows("class_mean", Backlog(rows, rows))
    small, large = scores[codes < 30], scores[(codes >= 30) & (codes < 59)]
    assert small.mean() > large.mean()  # with the row in its own mean, small classes would come last
    assert scores[-1] == pytest.approx(scores[:-1].mean())


def test_class_mean_is_the_naive_distance_farthest_first(backlog: Backlog) -> None:
    vectors, labels = backlog.converted.vectors.astype(np.float64), backlog.old.labels
    assert labels is not None
    distances = np.empty(len(vectors))
    for row, label in enumerate(labels):
        mean = vectors[(labels == label) & (np.arange(len(labels)) != row)].mean(axis=0)
        distances[row] = 1 - vectors[row] @ mean / np.linalg.norm(vectors[row]) / np.linalg.norm(mean)
    assert np.allclose(score_rows("class_mean", backlog) + 1, distances, atol=1e-6)
    result = backfill_order("class_mean", backlog.old, backlog.converted)
    assert result.tolist() == backlog.old.ids[np.argsort(-distances)].tolist()


def test_usefulness_counts_retrievals_and_a_log_takes_their_place(backlog: Backlog) -> None:
    from embcompat.evaluation.similarity import pairwise_scores

    assert backlog.queries is not None
    scores = pairwise_scores(backlog.queries, backlog.converted.vectors, "cosine")
    naive = np.zeros(len(backlog))
    for row in scores:
        best = np.argsort(-row, kind="stable")[:100]
        naive[best] += 1 / np.log2(np.arange(100) + 2)
    assert np.allclose(score_rows("usefulness", backlog), naive)
    result = backfill_order(
        "usefulness", backlog.old, backlog.converted, visits={"item-9": 4, "item-5": 9}, queries=backlog.queries
    )
    assert result[:2].tolist() == ["item-5", "item-9"]


def test_predicted_error_finds_where_conversions_fail() -> None:
    rng = np.random.default_rng(1)
    pairs = make_pairs(600, source_dim=5, target_dim=5).pairs
    spread = np.exp(1.5 * np.sign(pairs.source.vectors[:, :1]))  # the error depends on the side of a plane
    noise = spread * rng.standard_normal((600, 5))
    off = Embeddings((pairs.target.vectors + 0.05 * noise).astype(np.float32), pairs.ids, pairs.target.space)
    known = slice(300)
    held_out = HeldOut(*(side.select(range(*known.indices(600))) for side in (pairs.source, off, pairs.target)))
    predicted = predict_errors(pairs.source.vectors[300:], held_out)
    true = np.linalg.norm(off.vectors - pairs.target.vectors, axis=1)[300:]
    assert np.corrcoef(predicted, np.log(true))[0, 1] > 0.7
    shuffled = replace(
        held_out, new=Embeddings(rng.permutation(pairs.target.vectors[:300]), pairs.ids[:300], off.space)
    )
    assert np.ptp(predict_errors(pairs.source.vectors[300:], shuffled)) < 0.3 * np.ptp(predicted)


def test_leave_one_out_is_that_of_the_naive_loop() -> None:
    from embcompat.backfill import residuals

    rng = np.random.default_rng(2)
    rows = rng.standard_normal((30, 3)).astype(np.float32)
    kernel = residuals._kernel(rows, rows, 5.0)
    values = np.sin(rows[:, 0]).astype(np.float64)
    errors = {}
    for penalty in residuals.PENALTIES:
        left_out = []
        for row in range(30):
            others = np.arange(30) != row
            fitted = np.linalg.solve(kernel[np.ix_(others, others)] + penalty * np.eye(29), values[others])
            left_out.append(values[row] - kernel[row, others] @ fitted)
        errors[penalty] = np.square(left_out).sum()
    best = min(errors, key=errors.__getitem__)
    result = residuals._solve(kernel, values)
    assert result is not None
    assert np.allclose(result, np.linalg.solve(kernel + best * np.eye(30), values), rtol=1e-5)


def test_recommended_is_the_weighted_sum_of_ranks(backlog: Backlog) -> None:
    one = replace(backlog, weights={"convertibility": 1.0})
    assert np.array_equal(
        order_rows(score_rows("recommended", one), seed=0), order_rows(score_rows("convertibility", backlog), seed=0)
    )
    two = replace(backlog, weights={"convertibility": 0.5, "class_mean": 0.5})
    expected = sum(0.5 * standardize(score_rows(kind, backlog)) for kind in two.weights)
    assert np.allclose(score_rows("recommended", two), expected)
    assert not score_rows("recommended", backlog).any()
    assert len(mixtures(["a", "b", "c"])) == 3 + 3 + 1


def test_turns_are_nested_and_equally_spaced() -> None:
    scores = np.random.default_rng(0).random(103)
    native = np.arange(103) % 10 == 0
    turns = take_turns(scores, native, steps=5, seed=0)
    assert [int((turns <= step).sum()) for step in range(5)] == [11, 34, 57, 80, 103]
    first = np.flatnonzero((turns == 1) & ~native)
    assert scores[first].min() > scores[turns > 1].max()


def test_without_labels_k_means_makes_the_classes(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(0)
    truth = np.arange(400) % 20
    vectors = (20 * rng.standard_normal((20, 8))[truth] + rng.standard_normal((400, 8))).astype(np.float32)
    assert adjusted_rand_score(truth, pseudo_classes(vectors, seed=0)) > 0.6
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    bare = Embeddings(backlog.old.vectors, backlog.old.ids, backlog.old.space)
    with pytest.raises(MissingExtraError, match=r"embcompat\[cluster\]"):
        backfill_order("class_mean", bare, backlog.converted)


def test_what_an_order_lacks_is_said(backlog: Backlog) -> None:
    bare = Backlog(backlog.old, backlog.converted)
    assert available_orders(bare) == ["random", "class_mean"]
    assert set(available_orders(backlog)) == set(SCORERS) - {"recommended"}
    for kind, missing in (
        ("predicted_error", "held_out"),
        ("convertibility", "convertibility"),
        ("usefulness", "visits"),
    ):
        with pytest.raises(InputError, match=f"needs .*{missing}="):
            score_rows(kind, bare)
    with pytest.raises(UnknownNameError, match="class_mean"):
        score_rows("alphabetical", bare)


def test_other_rows_are_refused(backlog: Backlog, split: PairSplit) -> None:
    with pytest.raises(InputError, match="same ids in the same order"):
        Backlog(backlog.old, backlog.converted.select(range(5)))
    with pytest.raises(InputError, match="one number for each of 120 rows"):
        replace(backlog, convertibility=np.ones(3, np.float32))
    with pytest.raises(InputError, match=r"new vectors \(q, 6\)"):
        replace(backlog, queries=np.ones((3, 5), np.float32))
    with pytest.raises(InputError, match="at least two items"):
        HeldOut(*(backlog.old.select([0]) for _ in range(3)))
