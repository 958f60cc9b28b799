"""Retrieval metrics of each query, from the ranks of its relevant items."""

from __future__ import annotations

import re
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import UnknownNameError
from embcompat.evaluation.retrieval.qrels import Relevance

METRICS = ("ndcg@10", "recall@10", "recall@100", "cmc@1", "mrr", "map")
"""What a report shows unless asked otherwise [ours]."""

_Kind = Literal["ndcg", "recall", "cmc", "mrr", "map"]
_NAME = re.compile(r"(?:(ndcg|recall|cmc)@([1-9][0-9]*)|(mrr|map))")


def parse_metric(name: str) -> tuple[_Kind, int | None]:
    """Split the name of a metric into kind and depth.

    Raises:
        UnknownNameError: If there is no such metric.

    Example:
        >>> parse_metric("ndcg@10")
        ('ndcg', 10)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownNameError("metric", name, ["ndcg@K", "recall@K", "cmc@K", "mrr", "map"])
    kind, depth, full = match.groups()
    return (cast(_Kind, kind), int(depth)) if kind else (cast(_Kind, full), None)


def metric_per_query(name: str, ranks: NDArray[np.int64], relevance: Relevance) -> NDArray[np.float64]:
    """Evaluate one metric for each query; means and intervals derive from this array.

    ========= ==================================================================================================
    recall@K  relevant items among the first K, as a fraction of all relevant items
    cmc@K     1 if any relevant item is among the first K, else 0 (cumulative match characteristic, hit rate)
    mrr       1 / rank of the first relevant item, over the full ranking
    map       average precision over the full ranking; the mean over queries is mAP
    ndcg@K    Σ gain / log2(rank + 1) over the first K, divided by its largest possible value (linear gain, as
              trec_eval)
    ========= ==================================================================================================

    Args:
        name: The metric.
        ranks: Ranks of the relevant items (nnz,), from 1.
        relevance: The queries and their relevant items.

    Returns:
        Array (m,), fractions.

    Raises:
        UnknownNameError: If there is no such metric.

    Example:
        >>> one = Relevance(*(np.array(x) for x in ([0], [0, 2], [5, 7], [1.0, 1.0])), (np.array([]), np.array([])))
        >>> [metric_per_query(name, np.array([1, 4]), one).item() for name in ("recall@3", "cmc@1", "mrr", "map")]
        [0.5, 1.0, 1.0, 0.75]
    """
    kind, depth = parse_metric(name)
    if len(relevance) == 0:
        return np.zeros(0)
    first, sizes, numbers = relevance.offsets[:-1], np.diff(relevance.offsets), relevance.numbers
    if kind == "mrr":
        return np.asarray(1.0 / np.minimum.reduceat(ranks, first))
    if kind == "map":
        ascending = ranks[np.lexsort((ranks, numbers))]
        hits = np.arange(len(ranks)) - np.repeat(first, sizes) + 1
        return np.asarray(np.add.reduceat(hits / ascending, first) / sizes)
    reached = ranks <= cast(int, depth)
    if kind == "recall":
        return np.asarray(np.add.reduceat(reached.astype(np.float64), first) / sizes)
    if kind == "cmc":
        return np.asarray(np.maximum.reduceat(reached.astype(np.float64), first))
    best = np.arange(len(ranks)) - np.repeat(first, sizes) + 1
    ideal = relevance.gains[np.lexsort((-relevance.gains, numbers))] / np.log2(best + 1) * (best <= cast(int, depth))
    gained = relevance.gains / np.log2(ranks + 1) * reached
    return np.asarray(np.add.reduceat(gained, first) / np.add.reduceat(ideal, first))
