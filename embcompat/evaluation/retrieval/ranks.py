"""Ranks of the relevant items in the full ranking, counted block by block."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.evaluation.nearest import GALLERY_BLOCK, QUERY_BLOCK, RESCORE_ROWS
from embcompat.evaluation.retrieval.qrels import Relevance
from embcompat.evaluation.similarity import pairwise_scores, rounding_bound, row_scores
from embcompat.spaces import Similarity

_PENDING = 262_144
"""Scores too close to call that are kept before they are computed exactly."""

_PASSES = 24

_THREADS = os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class ScoreTerm:
    """One summand of a score: queries against a gallery in one space.

    Attributes:
        queries: Array (q, dim).
        gallery: Array (n, dim).
        similarity: How to score.
        weight: What the score is multiplied by.
    """

    queries: NDArray[Any]
    gallery: NDArray[Any]
    similarity: Similarity
    weight: float = 1.0


def rank_relevant(
    terms: Sequence[ScoreTerm],
    relevance: Relevance,
    *,
    order: NDArray[np.intp] | None = None,
    sizes: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Rank every relevant item among the whole gallery, the best being 1.

    The rank is counted, never sorted out: one matrix product a block, memory bounded by the block. Scores closer to
    a relevant item's than float32 can tell are computed exactly, so the ranks are those of exact scores rounded to
    float32, whatever the blocks and threads; equal scores are ordered by gallery row, the lower first.

    Args:
        terms: What the score is the sum of; all with the same queries and gallery items.
        relevance: The queries, their relevant items, and what each must not find.
        order: Gallery rows in the order in which ``sizes`` nests them; the gallery's own order when None.
        sizes: Sizes of nested galleries, ascending, each the first rows of ``order``; the relevant items must lie in
            the smallest. The whole gallery alone when None.

    Returns:
        Ranks (len(sizes), nnz).
    """
    count = len(terms[0].gallery)
    order = np.arange(count) if order is None else order
    ends = [count] if sizes is None else list(sizes)
    position = np.empty(count, dtype=np.intp)
    position[order] = np.arange(count)
    exact = _exact(terms, relevance.queries[relevance.numbers], relevance.rows)
    ranks = np.tile(_ranks_among_relevant(relevance, exact), (len(ends), 1))
    for first in range(0, len(relevance), QUERY_BLOCK):
        last = min(first + QUERY_BLOCK, len(relevance))
        pairs = slice(relevance.offsets[first], relevance.offsets[last])
        block = _QueryBlock.of(relevance, first, last, exact, position)
        ranks[:, pairs] += _count_above(terms, block, order, ends)
    return ranks


@dataclass(frozen=True, eq=False)
class _QueryBlock:
    """Some queries: their rows, their relevant items, and the places in the order that must not be counted."""

    queries: NDArray[np.intp]
    offsets: NDArray[np.intp]
    rows: NDArray[np.intp]
    exact: NDArray[np.float32]
    hidden_queries: NDArray[np.intp]
    hidden_places: NDArray[np.intp]

    @classmethod
    def of(
        cls, relevance: Relevance, first: int, last: int, exact: NDArray[np.float32], position: NDArray[np.intp]
    ) -> _QueryBlock:
        start, stop = relevance.offsets[first], relevance.offsets[last]
        numbers, rows = relevance.left_out
        members = (numbers >= first) & (numbers < last)
        hidden = np.concatenate([relevance.numbers[start:stop], numbers[members]]) - first
        places = position[np.concatenate([relevance.rows[start:stop], rows[members]])]
        offsets = relevance.offsets[first : last + 1] - start
        return cls(
            relevance.queries[first:last], offsets, relevance.rows[start:stop], exact[start:stop], hidden, places
        )


def _ranks_among_relevant(relevance: Relevance, exact: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rank each relevant item among the relevant items of its query."""
    numbers = relevance.numbers
    order = np.lexsort((relevance.rows, -exact, numbers))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) - relevance.offsets[numbers] + 1
    return ranks


def _count_above(
    terms: Sequence[ScoreTerm], block: _QueryBlock, order: NDArray[np.intp], ends: Sequence[int]
) -> NDArray[np.int64]:
    """Count, for each nested size and relevant item, the other items that rank above it."""
    counted = np.zeros((len(ends), len(block.rows)), dtype=np.int64)
    above = np.zeros(len(block.rows), dtype=np.int64)
    start = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, end in enumerate(ends):
            while start < end:
                stop = min(start + GALLERY_BLOCK, end)
                scores, bound = _block_scores(terms, block.queries, order[start:stop])
                hidden = np.flatnonzero((block.hidden_places >= start) & (block.hidden_places < stop))
                scores[block.hidden_queries[hidden], block.hidden_places[hidden] - start] = -np.inf
                ascending = pool.map(partial(np.sort, axis=1), np.array_split(scores, _THREADS))
                above += _count_block(terms, block, scores, chain.from_iterable(ascending), bound, order[start:stop])
                start = stop
            counted[number] = above
    return counted


def _count_block(
    terms: Sequence[ScoreTerm],
    block: _QueryBlock,
    scores: NDArray[np.float32],
    ascending: Iterable[NDArray[np.float32]],
    bound: NDArray[np.float32],
    rows: NDArray[np.intp],
) -> NDArray[np.int64]:
    """Count the columns of one block of scores (q, g), also given in order, above each relevant item's score."""
    above = np.zeros(len(block.rows), dtype=np.int64)
    pending: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    waiting = 0
    for query, ordered in enumerate(ascending):
        members = slice(block.offsets[query], block.offsets[query + 1])
        lower, upper = block.exact[members] - bound[query], block.exact[members] + bound[query]
        sure = ordered.searchsorted(upper, side="right")
        maybe = ordered.searchsorted(lower, side="left")
        above[members] = scores.shape[1] - sure
        close = np.flatnonzero(maybe < sure)
        if len(close) > _PASSES:  # passes over the row are faster than sorting it with its columns, up to that many
            order = np.argsort(scores[query])
            items = np.repeat(close, sure[close] - maybe[close])
            columns = np.concatenate([order[maybe[item] : sure[item]] for item in close])
        elif len(close):
            limits = lower[close, np.newaxis], upper[close, np.newaxis]
            hits = np.flatnonzero((scores[query] >= limits[0]) & (scores[query] <= limits[1]))
            items, columns = np.divmod(hits, scores.shape[1])
            items = close[items]
        if len(close):
            pending.append((block.offsets[query] + items, columns))
            waiting += len(columns)
        if pending and (waiting > _PENDING or query == len(scores) - 1):
            above += _settle(terms, block, pending, rows)
            pending, waiting = [], 0
    return above


def _settle(
    terms: Sequence[ScoreTerm],
    block: _QueryBlock,
    pending: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    rows: NDArray[np.intp],
) -> NDArray[np.int64]:
    """Decide by exact scores which columns are above the relevant items that they are close to."""
    items, columns = (np.concatenate(parts) for parts in zip(*pending, strict=True))
    gallery_rows = rows[columns]
    numbers = np.searchsorted(block.offsets, items, side="right") - 1
    scores, limits = _exact(terms, block.queries[numbers], gallery_rows), block.exact[items]
    wins = (scores > limits) | ((scores == limits) & (gallery_rows < block.rows[items]))
    return np.bincount(items[wins], minlength=len(block.rows))


def _block_scores(
    terms: Sequence[ScoreTerm], queries: NDArray[np.intp], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score queries against gallery rows: scores (q, g) and how far each query's may be off (q,)."""
    total, bound = _term_scores(terms[0], queries, rows)
    for term in terms[1:]:
        scores, error = _term_scores(term, queries, rows)
        total += scores
        bound += error
    return total, bound


def _term_scores(
    term: ScoreTerm, queries: NDArray[np.intp], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score by one summand, as `_block_scores` does."""
    query_block, block = term.queries[queries], term.gallery[rows]
    scores = pairwise_scores(query_block, block, term.similarity)
    if term.weight != 1.0:
        scores *= np.float32(term.weight)
    return scores, np.float32(abs(term.weight)) * rounding_bound(query_block, block, term.similarity)


def _exact(terms: Sequence[ScoreTerm], queries: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Score pairs (query row, gallery row) exactly."""
    total = np.zeros(len(rows))
    for start in range(0, len(rows), RESCORE_ROWS):
        part = slice(start, start + RESCORE_ROWS)
        for term in terms:
            total[part] += term.weight * row_scores(
                term.queries[queries[part]], term.gallery[rows[part]], term.similarity
            ).astype(np.float64)
    return total.astype(np.float32)
