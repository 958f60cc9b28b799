"""What a model change does to search: five lines on held-out queries."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_ratio
from embcompat.evaluation.retrieval.changes import compare_queries
from embcompat.evaluation.retrieval.lines import Lines, Sides, nested_gallery, rank_lines
from embcompat.evaluation.retrieval.metrics import METRICS, metric_per_query, parse_metric
from embcompat.evaluation.retrieval.qrels import Qrels, Relevance, match_qrels
from embcompat.results import (
    ENOUGH_QUERIES,
    MIN_QUERIES,
    Estimate,
    Figures,
    GalleryPart,
    Line,
    RetrievalReport,
)

FUSED_WEIGHTS = (0.3, 0.5, 0.7)
"""Weights of the new score to try for the fused line [ours]."""

WAYS_OUT = (
    "Two ways out: leave the items that answer a query out of the pairs (`embcompat fit --keep-out QRELS`), or keep "
    "the test pairs out of the fit (`embcompat fit --no-refit`)."
)
"""What to do where every item that could judge was fitted on."""

_Ranks = dict[Line, NDArray[np.int64]]
_Values = dict[Line, NDArray[np.float64]]


def evaluate_retrieval(
    *,
    old_queries: Embeddings,
    new_queries: Embeddings,
    old_gallery: Embeddings,
    new_gallery: Embeddings,
    converted: Embeddings,
    mixable: Embeddings | None = None,
    weighted_queries: Embeddings | None = None,
    qrels: Qrels,
    native_ids: Collection[str] = (),
    metric: str = "ndcg@10",
    metrics: Sequence[str] = METRICS,
    fused_weights: Sequence[float] = (),
    exclude_self: bool = False,
    seed: int = 0,
) -> RetrievalReport:
    """Measure a converted gallery against the status quo and a full reindex.

    Nothing leaks: items that were fitted on (``native_ids``) have new vectors already, so the converted gallery
    serves them native (but for one that is reweighted: native rows may not stand among its rows, and ``mixable`` is
    given), and the figures are taken on queries none of whose relevant items was fitted. Where
    fewer than 20 queries are like that, or fewer than 100 and less than half, the others join them, judged by their
    unfitted relevant items alone.

    Args:
        old_queries: The queries under the old model.
        new_queries: The same queries, in the same order, under the new model.
        old_gallery: The gallery under the old model.
        new_gallery: The same items, in the same order, under the new model.
        converted: The same items, in the same order, as the aligner makes them of ``old_gallery``.
        mixable: Where that aligner is reweighted, the same without its reweighting.
        weighted_queries: The new queries as they search ``converted``, where they are weighted
            (`embcompat.aligners.query_weights`).
        qrels: Which items are relevant to which queries.
        native_ids: Items that were embedded with the new model to fit or choose the aligner: train and validation.
        metric: The metric of the verdict; `metric_per_query` lists the names.
        metrics: Others to report.
        fused_weights: Weights w of the new score in w·(new query, converted row) + (1 − w)·(old query, old row). A
            single weight is used as it is; of several, each fifth of the queries takes the one that is best on the
            other four (cross-fitting). No fused line when empty.
        exclude_self: Whether the queries are items of the gallery: an item with a query's id is then left out of
            that query's ranking.
        seed: Seed of folds, nested galleries and bootstrap.

    Raises:
        InputError: If queries or galleries are not the same items row by row, or no query is held-out.
        SpaceMismatchError: If ``converted`` is not in the space of ``new_gallery``, or queries and gallery of one
            model are not comparable.
        UnknownNameError: If a metric is not known.
    """
    sides = Sides(old_queries, new_queries, old_gallery, new_gallery, converted, mixable, weighted_queries)
    names = list(dict.fromkeys([metric, *metrics]))
    _check(names, fused_weights)
    judged = match_qrels(qrels, old_queries.ids, old_gallery.ids, exclude_self=exclude_self)
    native = sides.native_rows(native_ids)
    leaked = judged.leaked(native)
    held_out, fitted = held_out_relevance(judged, native), judged.select(leaked)
    order, sizes = nested_gallery(held_out, len(old_gallery), seed=seed)
    lines = sides.lines(native)
    ranks, weight = rank_lines(lines, fused_weights, held_out, metric, order=order, sizes=sizes, seed=seed)
    values: _Values = {line: metric_per_query(metric, line_ranks[-1], held_out) for line, line_ranks in ranks.items()}
    gain = bootstrap_difference(values["full_reindex"], values["status_quo"], seed=seed)
    return RetrievalReport(
        metric=metric,
        old_space=old_gallery.space.id,
        new_space=new_gallery.space.id,
        queries=len(held_out),
        gallery_size=len(old_gallery),
        native_fraction=float(native.mean()),
        metrics=_figures(ranks, held_out, names, seed),
        gaps=_gaps(values, gain, seed),
        retention_by_size=tuple(
            _part(ranks, number, size, held_out, metric, seed) for number, size in enumerate(sizes)
        ),
        unfitted=_unfitted(lines, fused_weights, native, held_out, metric, seed) if native.any() else None,
        fused_weight=weight,
        residual=bool(leaked[np.isin(judged.queries, held_out.queries)].any()),
        in_sample=_in_sample(lines, weight, fitted, names, seed) if len(fitted) else None,
        in_sample_queries=len(fitted),
        unjudged_queries=len(old_queries) - len(judged),
        changes=compare_queries({line: rank[-1] for line, rank in ranks.items()}, values, held_out, old_queries),
        reasons=_reasons(sides, values, gain, weight),
        per_query=values,
        query_ids=tuple(old_queries.ids[held_out.queries].tolist()),
    )


def _check(metrics: Sequence[str], fused_weights: Sequence[float]) -> None:
    for name in metrics:
        parse_metric(name)
    if any(not 0 < weight < 1 for weight in fused_weights):
        raise InputError(f"fused_weights must lie between 0 and 1. Got {list(fused_weights)}.")


def held_out_relevance(judged: Relevance, native: NDArray[np.bool_]) -> Relevance:
    """Choose the queries, and their relevant items, on which an aligner can be judged.

    Args:
        judged: All judgements.
        native: Gallery rows that were fitted (n,).

    Raises:
        InputError: If no query has a relevant item that was not fitted.
    """
    free = judged.select(~judged.leaked(native))
    if len(free) >= ENOUGH_QUERIES or (len(free) >= MIN_QUERIES and len(free) >= len(judged) / 2):
        return free
    if len(judged) == 0:
        raise InputError(
            "a query must have a relevant item in the gallery. 0 queries have a relevant item. Pass judgements whose "
            "query and item ids are those of the queries and the gallery."
        )
    residual = judged.without(native)
    if len(residual) == 0:
        raise InputError(
            f"every item that answers a query was fitted on, so none of {len(judged)} judged queries can judge. "
            f"{WAYS_OUT} Or evaluate on queries that other items answer."
        )
    return residual


def _figures(ranks: _Ranks, relevance: Relevance, metrics: Sequence[str], seed: int) -> Figures:
    return {
        name: {
            line: bootstrap_mean(metric_per_query(name, line_ranks[-1], relevance), seed=seed)
            for line, line_ranks in ranks.items()
        }
        for name in metrics
    }


def _gaps(values: _Values, gain: Estimate, seed: int) -> dict[Line, Estimate]:
    if gain.low <= 0:
        return {}
    base = values["status_quo"]
    compared: tuple[Line, ...] = ("converted", "fused")
    return {
        line: bootstrap_ratio(values[line] - base, values["full_reindex"] - base, seed=seed)
        for line in compared
        if line in values
    }


def _part(ranks: _Ranks, number: int, size: int, relevance: Relevance, metric: str, seed: int) -> GalleryPart:
    """Summarize the ranks (sizes, nnz) that each line gives in one of the nested galleries."""
    values: _Values = {
        line: metric_per_query(metric, line_ranks[number], relevance) for line, line_ranks in ranks.items()
    }
    base, goal = values["status_quo"], values["full_reindex"]
    compared: tuple[Line, ...] = ("status_quo", "naive_swap", "converted", "fused")
    return GalleryPart(
        gallery_size=size,
        means={line: float(series.mean()) for line, series in values.items()},
        differences={
            line: bootstrap_difference(values[line], base, seed=seed) for line in values if line != "status_quo"
        },
        retentions={
            line: bootstrap_ratio(values[line], goal, seed=seed) for line in compared if line in values and goal.any()
        },
    )


def _unfitted(
    lines: Lines,
    fused_weights: Sequence[float],
    native: NDArray[np.bool_],
    relevance: Relevance,
    metric: str,
    seed: int,
) -> GalleryPart:
    """Measure the lines in the gallery without the fitted items."""
    order, size = np.argsort(native, kind="stable"), int(np.count_nonzero(~native))
    ranks, _ = rank_lines(lines, fused_weights, relevance, metric, order=order, sizes=[size], seed=seed)
    return _part(ranks, 0, size, relevance, metric, seed)


def _in_sample(lines: Lines, weight: float | None, fitted: Relevance, metrics: Sequence[str], seed: int) -> Figures:
    """Measure the lines on queries with a fitted relevant item."""
    ranks, _ = rank_lines(lines, () if weight is None else (weight,), fitted, metrics[0], seed=seed)
    return _figures(ranks, fitted, metrics, seed)


def _reasons(sides: Sides, values: _Values, gain: Estimate, weight: float | None) -> dict[str, str]:
    """Say why a line or figure is absent."""
    reasons = {}
    if "naive_swap" not in values:
        dims = sides.old_gallery.space.dim, sides.new_gallery.space.dim
        reasons["naive_swap"] = f"the old space has {dims[0]} dimensions and the new one {dims[1]}"
    if weight is None:
        reasons["fused"] = "no weight was given"
    if not values["full_reindex"].any():
        reasons["retention"] = "a full reindex scores 0 on every query"
    if gain.low <= 0:
        reasons["gap"] = (
            "the new model is not shown to be better than the old one on these queries "
            f"(full reindex less status quo: {gain:+.3f})"
        )
    return reasons
