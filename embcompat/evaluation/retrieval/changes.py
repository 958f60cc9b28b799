"""Which queries a conversion improves, and which it makes worse."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.evaluation.retrieval.qrels import Relevance
from embcompat.results import Line, QueryChange, QueryChanges

SHOWN = 10
"""Queries that are listed on each side [ours]."""


def compare_queries(
    ranks: Mapping[Line, NDArray[np.int64]],
    values: Mapping[Line, NDArray[np.float64]],
    relevance: Relevance,
    queries: Embeddings,
) -> QueryChanges:
    """Compare each query in the converted gallery with the same query today.

    Args:
        ranks: Ranks of the relevant items (nnz,) by line.
        values: The metric of each query (m,) by line.
        relevance: The queries and their relevant items.
        queries: The queries, with their ids, and with their texts where they have some.
    """
    old_ranks, new_ranks = (
        np.minimum.reduceat(ranks[line], relevance.offsets[:-1]) for line in ("status_quo", "converted")
    )
    differences = values["converted"] - values["status_quo"]
    order = np.lexsort((np.arange(len(differences)), new_ranks - old_ranks, -differences))

    def describe(number: int) -> QueryChange:
        row = relevance.queries[number]
        return QueryChange(
            query=str(queries.ids[row]),
            text=None if queries.texts is None else queries.texts[row],
            before=int(old_ranks[number]),
            after=int(new_ranks[number]),
            difference=float(differences[number]),
        )

    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return QueryChanges(
        better=better,
        worse=worse,
        same=len(differences) - better - worse,
        gains=tuple(describe(number) for number in order[: min(SHOWN, better)]),
        losses=tuple(describe(number) for number in order[::-1][: min(SHOWN, worse)]),
    )
