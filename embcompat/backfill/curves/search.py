"""Search in a gallery that is native in part: the metric of every query, for many orders at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.backlog import Backlog
from embcompat.backfill.curves.measured import Float64, Measured, Replicated
from embcompat.backfill.curves.recommend import (
    UNCALIBRATED,
    Scale,
    Turns,
    choose_mixture,
    choose_scale,
    draw_names,
    mixtures,
    plan_turns,
)
from embcompat.backfill.order import score_rows
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import REPLICATES
from embcompat.evaluation.retrieval.evaluate import held_out_relevance
from embcompat.evaluation.retrieval.metrics import metric_per_query, parse_metric
from embcompat.evaluation.retrieval.qrels import Qrels, Relevance, match_qrels
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.evaluation.similarity import pairwise_scores

FOLDS = 5
"""Parts of the queries: what a part's curve uses is chosen on the others [ours]."""

MOST_QUERIES = 2_000
"""Most queries that are judged; if there are more, a random sample of this size is [ours]."""

_BLOCK_SCORES = 8_388_608
"""Scores of one matrix product: 32 MiB."""


@dataclass(frozen=True, eq=False)
class SearchTask:
    """Judge by search: new queries against the mixed gallery.

    Attributes:
        new_queries: The queries under the new model.
        qrels: Which items are relevant to which queries.
        old_queries: The same queries under the old model; for the status quo and for fused scoring.
        metric: What is measured, see `metric_per_query`.
        fused_weight: w in w·(new query, mixed row) + (1 − w)·(old query, old row); None for the mixed gallery alone.
        exclude_self: Whether the queries are items of the gallery and must not find themselves.
        weighted_queries: The new queries as they search the mixed gallery, where they are weighted
            (`embcompat.serving.WeightedSearch`). A full reindex is searched by the plain ones.

    Raises:
        InputError: If the weighted queries are not the new ones.
    """

    new_queries: Embeddings
    qrels: Qrels
    old_queries: Embeddings | None = None
    metric: str = "ndcg@10"
    fused_weight: float | None = None
    exclude_self: bool = False
    weighted_queries: Embeddings | None = None

    def __post_init__(self) -> None:
        if self.weighted_queries is not None and not np.array_equal(self.weighted_queries.ids, self.new_queries.ids):
            raise InputError("weighted_queries must be the new queries, row by row: weigh those by `weigh_queries`.")

    @property
    def target_queries(self) -> NDArray[np.float32]:
        """The vectors that search the mixed gallery (q, target_dim)."""
        return (self.new_queries if self.weighted_queries is None else self.weighted_queries).vectors

    def measure(
        self,
        backlog: Backlog,
        new: Embeddings,
        native: NDArray[np.bool_],
        kinds: Sequence[str],
        *,
        steps: int,
        recommend: bool,
    ) -> Measured:
        """Measure orders, and the recommended one if ``recommend``, by cross-fitting over five parts of the queries."""
        judged = match_qrels(self.qrels, self.new_queries.ids, new.ids, exclude_self=self.exclude_self)
        relevance = _at_most(held_out_relevance(judged, native), MOST_QUERIES, seed=backlog.seed)
        fold = np.random.default_rng(backlog.seed).permutation(len(relevance)) % FOLDS
        search = _MixedSearch(self, backlog, new, relevance, steps)
        scales = _choose_scales(search, backlog, native, fold)
        shared = {kind: score_rows(kind, backlog) for kind in kinds if kind != "usefulness"}
        turns = []
        for part in range(FOLDS):
            blind = self._blind(backlog, relevance, fold != part)
            scores = {kind: shared[kind] if kind in shared else score_rows(kind, blind) for kind in kinds}
            turns.append(plan_turns(scores, native, steps=steps, mixed=recommend, seed=backlog.seed))
        values = search.run(turns, fold, scales)
        values["random"] = np.mean([values[name] for name in draw_names()], axis=0)
        weights: Mapping[str, float] = {}
        if recommend:
            values["recommended"], weights = _cross_fit(values, mixtures(kinds), fold, backlog.seed)
        reported = [name for name in ("random", *kinds, "recommended") if name in values]
        resampled = resample(len(relevance), seed=backlog.seed)
        status_quo = None
        if self.old_queries is not None:
            status_quo = float(self._line(self.old_queries, backlog.old, relevance).mean())
        return Measured(
            {name: replicate(values[name], resampled) for name in reported},
            replicate(self._line(self.new_queries, new, relevance)[np.newaxis], resampled),
            status_quo,
            weights,
            float(np.mean([scales[part] != UNCALIBRATED for part in fold])),
            len(relevance),
        )

    def _blind(self, backlog: Backlog, relevance: Relevance, others: NDArray[np.bool_]) -> Backlog:
        """Let the order see the other parts' queries alone, where no sample of queries was given."""
        if backlog.queries is not None or backlog.visits is not None:
            return backlog
        return replace(backlog, queries=self.target_queries[relevance.queries[others]])

    def _line(self, queries: Embeddings, gallery: Embeddings, relevance: Relevance) -> Float64:
        term = ScoreTerm(queries.vectors, gallery.vectors, gallery.space.similarity)
        return metric_per_query(self.metric, rank_relevant([term], relevance)[0], relevance)


class _MixedSearch:
    """Queries against a gallery whose rows turn native one after the other.

    Both scores of every row, native and converted, are computed once for a block of queries; each order only decides
    which of the two counts. Rows that cannot reach the metric's depth in any mixture are left out.
    """

    def __init__(self, task: SearchTask, backlog: Backlog, new: Embeddings, relevance: Relevance, steps: int) -> None:
        self._task, self._backlog, self._new, self._relevance, self.steps = task, backlog, new, relevance, steps
        self._depth = parse_metric(task.metric)[1] or len(new)

    def run(
        self, turns: Sequence[Mapping[str, Turns]], fold: NDArray[np.intp], scales: Sequence[Scale]
    ) -> dict[str, Float64]:
        """Return the metric (steps, q) of each order; each query uses the turns and the scale of its fold."""
        names = list(turns[0])
        stacked = [np.stack([each[name] for name in names]) for each in turns]
        values = np.empty((len(names), self.steps, len(self._relevance)))
        rows = max(1, _BLOCK_SCORES // max(1, len(self._new)))
        for start in range(0, len(self._relevance), rows):
            inside = np.zeros(len(self._relevance), dtype=bool)
            inside[start : start + rows] = True
            block = self._relevance.select(inside)
            ranks = self._block_ranks(block, stacked, fold[inside], scales)
            for place in np.ndindex(values.shape[:2]):
                values[place][inside] = metric_per_query(self._task.metric, ranks[place], block)
        return dict(zip(names, values, strict=True))

    def _block_ranks(
        self, block: Relevance, turns: Sequence[Turns], fold: NDArray[np.intp], scales: Sequence[Scale]
    ) -> NDArray[np.int64]:
        """Return the ranks of the relevant items: (orders, steps, nnz)."""
        native, converted = self._scores(block, np.array([scales[part] for part in fold], dtype=np.float32))
        ranks = np.empty((len(turns[0]), self.steps, len(block.rows)), dtype=np.int64)
        for query in range(len(block)):
            relevant = slice(block.offsets[query], block.offsets[query + 1])
            ranks[..., relevant] = mixed_ranks(
                native[query], converted[query], block.rows[relevant], turns[fold[query]], self.steps, self._depth
            )
        return ranks

    def _scores(self, block: Relevance, scales: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score every row natively and converted, calibrated and fused: two arrays (q, n)."""
        task, similarity = self._task, self._new.space.similarity
        queries = task.target_queries[block.queries]
        native = pairwise_scores(queries, self._new.vectors, similarity)
        converted = pairwise_scores(queries, self._backlog.converted.vectors, similarity)
        converted = converted * scales[:, :1] + scales[:, 1:]
        if task.fused_weight is not None and task.old_queries is not None:
            old = self._backlog.old
            added = pairwise_scores(task.old_queries.vectors[block.queries], old.vectors, old.space.similarity)
            weight = np.float32(task.fused_weight)
            native, converted = (weight * side + (1 - weight) * added for side in (native, converted))
        for side in (native, converted):
            side[block.left_out] = -np.inf
        return native, converted


def mixed_ranks(
    native: NDArray[np.float32],
    converted: NDArray[np.float32],
    relevant: NDArray[np.intp],
    turns: Turns,
    steps: int,
    depth: int,
) -> NDArray[np.int64]:
    """Rank relevant items where row j counts natively from step ``turns[j]`` on.

    Args:
        native: One query's scores of native rows (n,).
        converted: Its scores of converted rows (n,).
        relevant: Rows to rank (r,).
        turns: Of several orders (orders, n).
        steps: Number of fractions.
        depth: Ranks up to here are exact; n stands for those beyond.

    Returns:
        Ranks (orders, steps, r), from 1; equal scores in the order of their rows.
    """
    count = len(native)
    rows = np.arange(count)
    if depth < count:
        lowest = np.minimum(native, converted)
        reached = np.partition(lowest, count - depth)[count - depth]
        rows = np.flatnonzero(np.maximum(native, converted) >= reached)
    inside = np.isin(relevant, rows)
    columns = np.searchsorted(rows, relevant[inside])
    ranks = np.full((len(turns), steps, len(relevant)), count, dtype=np.int64)
    for number, turn in enumerate(turns[:, rows]):
        is_native = turn <= np.arange(steps)[:, np.newaxis]
        order = np.argsort(-np.where(is_native, native[rows], converted[rows]), axis=1, kind="stable")
        places = np.empty_like(order)
        np.put_along_axis(places, order, np.arange(1, len(rows) + 1)[np.newaxis], axis=1)
        ranks[number][:, inside] = places[:, columns]
    return ranks


def resample(count: int, *, seed: int) -> NDArray[np.float32]:
    """Draw each query's share of each replicate: array (replicates, q)."""
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(REPLICATES)]
    return np.asarray(np.stack(drawn) / count, dtype=np.float32)


def replicate(values: Float64, resampled: NDArray[np.float32]) -> Replicated:
    """Return the mean over queries of values (fractions, q), with replicates."""
    return Replicated(values.mean(axis=1), (resampled @ values.T).astype(np.float64))


def _at_most(relevance: Relevance, count: int, *, seed: int) -> Relevance:
    if len(relevance) <= count:
        return relevance
    sample = np.zeros(len(relevance), dtype=bool)
    sample[np.random.default_rng(seed).permutation(len(relevance))[:count]] = True
    return relevance.select(sample)


def _choose_scales(
    search: _MixedSearch, backlog: Backlog, native: NDArray[np.bool_], fold: NDArray[np.intp]
) -> list[Scale]:
    """Return the scale of each fold: the calibration where it helps the random orders on the other folds."""
    if backlog.held_out is None:
        return [UNCALIBRATED] * FOLDS
    turns = [plan_turns({}, native, steps=search.steps, mixed=False, seed=backlog.seed)] * FOLDS
    calibration = backlog.held_out.calibrate()
    values = [
        np.mean(list(search.run(turns, fold, [scale] * FOLDS).values()), axis=0)
        for scale in (calibration, UNCALIBRATED)
    ]
    scales = []
    for part in range(FOLDS):
        others = fold != part
        resampled = resample(int(others.sum()), seed=backlog.seed)
        scales.append(choose_scale(calibration, *(replicate(each[:, others], resampled) for each in values)))
    return scales


def _cross_fit(
    values: Mapping[str, Float64], weights: Mapping[str, Mapping[str, float]], fold: NDArray[np.intp], seed: int
) -> tuple[Float64, Mapping[str, float]]:
    """Give each fold the mixture that is best on the others; also return the weights that are best on all."""

    def choose(part: NDArray[np.bool_]) -> str:
        resampled = resample(int(part.sum()), seed=seed)
        curves = {name: replicate(values[name][:, part], resampled) for name in weights}
        return choose_mixture(curves, replicate(values["random"][:, part], resampled)) or "random"

    recommended = np.empty_like(values["random"])
    for number in range(FOLDS):
        recommended[:, fold == number] = values[choose(fold != number)][:, fold == number]
    return recommended, weights.get(choose(np.ones(len(fold), dtype=bool)), {})
