"""Replay known queries against a lazy backfill, to measure its quality and its cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.backfill.embed import Embed, look_up
from embcompat.backfill.lazy.backfill import DEFAULT_DEPTH, LazyBackfill
from embcompat.backfill.lazy.counters import LazyCounters
from embcompat.evaluation.retrieval.lines import Sides
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Relevance
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.serving import DEFAULT_WEIGHT
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.values import Job, TargetRows

NOT_FOUND = 2**52
"""Rank of a relevant item that is not among the candidates: it adds nothing to any metric."""

_TENTHS = 10


@dataclass(frozen=True, eq=False)
class LazyCurve:
    """Quality and cost of a lazy backfill, query by query.

    The queries were served one after the other, in random order, in a gallery where only the fitted items were native
    at first. Each query is judged once, as it was served: the first ones find a cold gallery, later ones find what
    earlier ones had embedded. Serving uses no judgement.

    Attributes:
        metric: What was measured.
        depth: Candidates of a query.
        weight: Weight of the new score in the search for candidates; None where only the target side was searched.
        order: Number of the query that was served first, second, … (m,).
        values: The metric of each query (m,), in the order of the judgements.
        cold: The same if the query had come first (m,): only the fitted items are native.
        reindex: The same in a gallery that is native entirely (m,).
        seconds: Time that each query took (m,), in the order of the judgements; realistic only with a real embedder.
        embedded: Rows embedded for queries so far, after each query served (m,).
        gallery_size: Items in the gallery.
        native_items: Items that were native from the start.
        counters: What the lazy backfill counted.
    """

    metric: str
    depth: int
    weight: float | None
    order: NDArray[np.intp]
    values: NDArray[np.float64]
    cold: NDArray[np.float64]
    reindex: NDArray[np.float64]
    seconds: NDArray[np.float64]
    embedded: NDArray[np.int64]
    gallery_size: int
    native_items: int
    counters: LazyCounters

    def native_fraction(self) -> NDArray[np.float64]:
        """Return the share of the gallery that is native after each query served (m,)."""
        return np.asarray((self.native_items + self.embedded) / self.gallery_size)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the curve as JSON: for each tenth of the queries its metric, and what had been embedded after it."""
        ends = np.unique(np.linspace(0, len(self.order), _TENTHS + 1).round().astype(int))
        values, cold, goal = (figures[self.order] for figures in (self.values, self.cold, self.reindex))
        native = self.native_fraction()
        parts = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        return {
            "metric": self.metric,
            "depth": self.depth,
            "weight": self.weight,
            "served": "one after the other, in random order; at first only the fitted items are native",
            "queries_served": [stop for _, stop in parts],
            "values": [float(values[start:stop].mean()) for start, stop in parts],
            "cold": [float(cold[start:stop].mean()) for start, stop in parts],
            "full_reindex": [float(goal[start:stop].mean()) for start, stop in parts],
            "rows_embedded": [int(self.embedded[stop - 1]) for _, stop in parts],
            "native_fraction": [float(native[stop - 1]) for _, stop in parts],
            "counters": self.counters.to_dict(),
        }


def replay_lazy(
    sides: Sides,
    relevance: Relevance,
    native: NDArray[np.bool_],
    *,
    metric: str = "ndcg@10",
    depth: int = DEFAULT_DEPTH,
    weight: float | None = DEFAULT_WEIGHT,
    warm_up: Sequence[str] = (),
    embed: Embed | None = None,
    seconds_per_query: float | None = None,
    seed: int = 0,
) -> LazyCurve:
    """Serve queries from a `LazyBackfill`, one after the other.

    Candidates are found by exact search in the rows as they are at that moment: native where they have been embedded,
    converted elsewhere. A relevant item that is not among the candidates counts as not found.

    Args:
        sides: Queries and gallery under both models, and the gallery as converted.
        relevance: The queries to serve, and their relevant items.
        native: Gallery rows that are native from the start (n,): those that were fitted.
        metric: What to measure.
        depth: Candidates of a query.
        weight: Weight of the new score where the search for candidates is fused, with both models alive; None to
            search the target side alone, with the new model alive.
        warm_up: Access log of items to embed before the first query; it must not come from these queries. They count
            as embedded.
        embed: The embedder; the known new vectors are looked up when None.
        seconds_per_query: After this time a query stops waiting for the embedder; a vector that comes late serves the
            next query.
        seed: Seed of the order in which queries come.
    """
    gallery = _MemoryGallery(sides, native, relevance, weight)
    order = np.random.default_rng(seed).permutation(len(relevance))
    cold = _serve_cold(gallery, depth)
    with LazyBackfill(
        gallery.search,
        embed or look_up(sides.new_gallery),
        gallery,
        gallery.job,
        depth=depth,
        seconds_per_query=seconds_per_query,
    ) as lazy:
        lazy.warm_up(warm_up)
        record = _serve(lazy, gallery, order, depth)
        counters = lazy.counters
    goal = ScoreTerm(sides.new_queries.vectors, sides.new_gallery.vectors, sides.new_gallery.space.similarity)
    return LazyCurve(
        metric=metric,
        depth=depth,
        weight=weight,
        order=order,
        values=metric_per_query(metric, record.ranks, relevance),
        cold=metric_per_query(metric, cold, relevance),
        reindex=metric_per_query(metric, rank_relevant([goal], relevance)[0], relevance),
        seconds=record.seconds,
        embedded=record.embedded,
        gallery_size=len(native),
        native_items=int(native.sum()),
        counters=counters,
    )


class _Served(NamedTuple):
    """Ranks of the relevant items (nnz,), seconds of each query (m,), rows embedded after each one served (m,)."""

    ranks: NDArray[np.int64]
    seconds: NDArray[np.float64]
    embedded: NDArray[np.int64]


def _serve(lazy: LazyBackfill, gallery: _MemoryGallery, order: NDArray[np.intp], depth: int) -> _Served:
    """Serve the queries one after the other; what one embeds is written before the next one comes."""
    relevance, queries = gallery.relevance, gallery.sides.target_queries
    ranks = np.full(len(relevance.rows), NOT_FOUND, dtype=np.int64)
    seconds, embedded = np.zeros(len(order)), np.zeros(len(order), dtype=np.int64)
    for place, number in enumerate(order.tolist()):
        gallery.serving = number
        start = time.perf_counter()
        _, rows = lazy.search(queries[relevance.queries[number]][np.newaxis], k=depth)
        seconds[number] = time.perf_counter() - start
        lazy.flush()
        _note_ranks(ranks, gallery, number, rows[0].tolist())
        embedded[place] = lazy.counters.rows_embedded
    return _Served(ranks, seconds, embedded)


def _serve_cold(gallery: _MemoryGallery, depth: int) -> NDArray[np.int64]:
    """Rank natively what each query brings up before any other query came: ranks (nnz,)."""
    relevance, sides = gallery.relevance, gallery.sides
    ranks = np.full(len(relevance.rows), NOT_FOUND, dtype=np.int64)
    for number in range(len(relevance)):
        gallery.serving = number
        query = sides.target_queries[relevance.queries[number]][np.newaxis]
        ids = gallery.search(query, depth)[1][0]
        rows = [gallery.row_of[identifier] for identifier in ids.tolist()]
        scores = pairwise_scores(query, sides.new_gallery.vectors[rows], _similarity(gallery.job.target))[0]
        _note_ranks(ranks, gallery, number, ids[np.argsort(-scores, kind="stable")].tolist())
    return ranks


def _note_ranks(ranks: NDArray[np.int64], gallery: _MemoryGallery, number: int, ids: Sequence[str]) -> None:
    """Write the ranks that a query's relevant items have in a list of ids."""
    relevance = gallery.relevance
    rank_of = {gallery.row_of[identifier]: rank for rank, identifier in enumerate(ids, start=1)}
    part = slice(relevance.offsets[number], relevance.offsets[number + 1])
    ranks[part] = [rank_of.get(row, NOT_FOUND) for row in relevance.rows[part].tolist()]


class _MemoryGallery:
    """A gallery in memory that searches its rows exactly, as they are at that moment."""

    def __init__(self, sides: Sides, native: NDArray[np.bool_], relevance: Relevance, weight: float | None) -> None:
        self.serving = 0
        """Number of the query that is being served."""
        self.job = Job("0" * 64, sides.old_gallery.space, sides.new_gallery.space)
        self.sides, self.relevance, self._weight = sides, relevance, weight
        self._native = native.copy()
        self._target = np.where(native[:, np.newaxis], sides.new_gallery.vectors, sides.converted.vectors)
        self._ids = sides.old_gallery.ids
        self.row_of = {identifier: row for row, identifier in enumerate(self._ids.tolist())}
        self._hidden: dict[int, list[int]] = {}
        for number, row in zip(*(part.tolist() for part in relevance.left_out), strict=True):
            self._hidden.setdefault(number, []).append(row)

    def search(self, new_queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Find the k best rows of the query that is being served, without those that it must not find."""
        scores = pairwise_scores(new_queries, self._target, _similarity(self.job.target))
        if self._weight is not None:
            old_query = self.sides.old_queries.vectors[self.relevance.queries[self.serving]][np.newaxis]
            old = pairwise_scores(old_query, self.sides.old_gallery.vectors, _similarity(self.job.source))
            scores = np.float32(self._weight) * scores + np.float32(1 - self._weight) * old
        hidden = self._hidden.get(self.serving, [])
        scores[:, hidden] = -np.inf
        k = min(k, len(self._ids) - len(hidden))
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1), axis=1)
        return np.take_along_axis(scores, best, axis=1), self._ids[best]

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:  # noqa: ARG002
        """Return rows by id."""
        rows = [self.row_of[identifier] for identifier in ids]
        return TargetRows(ids, self._target[rows], self._native[rows])

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:  # noqa: ARG002
        """Put native vectors in place."""
        rows = [self.row_of[identifier] for identifier in ids]
        self._target[rows], self._native[rows] = vectors, True
        return len(rows)


def _similarity(space: SpaceVersion) -> Similarity:
    """Return how to score in a space; the cosine of unit vectors is their product, which takes less time."""
    return "dot" if space.normalized and space.similarity == "cosine" else space.similarity
