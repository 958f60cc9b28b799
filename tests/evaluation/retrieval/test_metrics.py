"""Retrieval metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval

from embcompat.errors import UnknownNameError
from embcompat.evaluation.retrieval.metrics import METRICS, metric_per_query, parse_metric
from embcompat.evaluation.retrieval.qrels import Relevance

NOTHING = (np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp))


def random_case(seed: int, queries: int = 30, items: int = 60) -> tuple[np.ndarray, Relevance, dict, dict]:
    """Rank items at random; return ranks and judgements in our form and in that of trec_eval."""
    rng = np.random.default_rng(seed)
    rows, gains, ranks, offsets, qrels, run = [], [], [], [0], {}, {}
    for query in range(queries):
        order = rng.permutation(items)
        chosen = rng.choice(items, size=rng.integers(1, 20), replace=False)
        weights = rng.integers(1, 5, size=len(chosen))
        rows.extend(chosen)
        gains.extend(weights)
        ranks.extend(np.argsort(order)[chosen] + 1)
        offsets.append(len(rows))
        qrels[str(query)] = {str(item): int(gain) for item, gain in zip(chosen, weights, strict=True)}
        run[str(query)] = {str(item): float(items - place) for place, item in enumerate(order)}
    judged = Relevance(np.arange(queries), np.array(offsets), np.array(rows), np.array(gains, dtype=float), NOTHING)
    return np.array(ranks), judged, qrels, run


@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_trec_eval(seed: int) -> None:
    ranks, judged, qrels, run = random_case(seed)
    names = {
        "ndcg@10": "ndcg_cut_10",
        "ndcg@3": "ndcg_cut_3",
        "recall@10": "recall_10",
        "recall@1": "recall_1",
        "cmc@5": "success_5",
        "cmc@1": "success_1",
        "mrr": "recip_rank",
        "map": "map",
    }
    measures = {"ndcg_cut.3,10", "recall.1,10", "success.1,5", "recip_rank", "map"}
    expected = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    for ours, reference in names.items():
        np.testing.assert_allclose(
            metric_per_query(ours, ranks, judged),
            [expected[str(query)][reference] for query in range(len(judged))],
            rtol=1e-12,
            err_msg=ours,
        )


@pytest.mark.parametrize("name", [*METRICS, "ndcg@1", "cmc@7"])
def test_metrics_are_fractions_and_a_perfect_ranking_has_one(name: str) -> None:
    ranks, judged, _, _ = random_case(5)
    values = metric_per_query(name, ranks, judged)
    assert ((values >= 0) & (values <= 1)).all()
    best = np.empty_like(ranks)
    order = np.lexsort((-judged.gains, judged.numbers))
    best[order] = np.arange(len(ranks)) - judged.offsets[judged.numbers] + 1
    perfect = metric_per_query(name, best, judged)
    if name == "recall@10":
        perfect = perfect[np.diff(judged.offsets) <= 10]
    np.testing.assert_allclose(perfect, 1.0)


@pytest.mark.parametrize("name", METRICS)
def test_moving_a_relevant_item_down_never_helps(name: str) -> None:
    ranks, judged, _, _ = random_case(6)
    lowered = ranks + 60 * (np.arange(len(ranks)) % 3 == 0)
    assert (metric_per_query(name, lowered, judged) <= metric_per_query(name, ranks, judged) + 1e-12).all()


def test_values_by_hand() -> None:
    judged = Relevance(np.array([0]), np.array([0, 3]), np.array([4, 5, 6]), np.array([1.0, 3.0, 2.0]), NOTHING)
    ranks = np.array([1, 2, 12])
    dcg, ideal = 1 + 3 / math.log2(3), 3 + 2 / math.log2(3) + 1 / 2
    for name, value in {
        "ndcg@10": dcg / ideal,
        "ndcg@1": 1 / 3,
        "recall@10": 2 / 3,
        "cmc@1": 1.0,
        "mrr": 1.0,
        "map": (1 + 1 + 3 / 12) / 3,
    }.items():
        assert metric_per_query(name, ranks, judged).item() == pytest.approx(value)


def test_no_query() -> None:
    judged = Relevance(np.zeros(0, dtype=np.intp), np.zeros(1, dtype=np.intp), NOTHING[0], np.zeros(0), NOTHING)
    assert [metric_per_query(name, np.zeros(0, dtype=np.int64), judged).shape for name in METRICS] == [(0,)] * len(
        METRICS
    )


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "recall@ten", "map@10", "MRR", ""])
def test_an_unknown_metric_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownNameError, match="Known: cmc@K, map, mrr, ndcg@K, recall@K"):
        parse_metric(name)
