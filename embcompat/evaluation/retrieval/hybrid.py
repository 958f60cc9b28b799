"""Hybrid search: the lines of a model change beside a lexical run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from embcompat.evaluation.retrieval.lines import Lines, cross_fit
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Relevance
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.results import HybridLine, HybridReport

WEIGHTS = (0.3, 0.5, 0.7)
"""Weights of the vectors' score that cross-fitting tries [ours]."""

_EQUAL = WEIGHTS.index(0.5)

Run = Mapping[str, Mapping[str, float]]
"""Query id → {gallery id: score}, larger is better."""


def read_run(path: str | Path) -> Run:
    """Read a run in the format of trec_eval: ``query Q0 item rank score tag`` on each line; the rank is ignored.

    Raises:
        FileFormatError: If the file is missing, empty or not UTF-8, a line has other fields, or an item is scored twice
            for a query; names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} must be UTF-8 text. Byte {error.start} is not.") from error
    run: dict[str, dict[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
        if not any(fields):
            continue
        try:
            query, _, item, _, text, _ = fields
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise FileFormatError(
                f"{path}, line {number} must hold six fields: query, Q0, item, rank, score, tag. Got {line!r}."
            )
        if item in run.setdefault(query, {}):
            raise FileFormatError(f"{path}, line {number}: item {item!r} is scored twice for query {query!r}.")
        run[query][item] = score
    if not run:
        raise FileFormatError(f"{path} must hold at least one line. Got none.")
    return run


def evaluate_hybrid(
    lines: Lines, run: Run, relevance: Relevance, queries: Embeddings, gallery: Embeddings, *, metric: str, seed: int
) -> HybridReport:
    """Measure each line beside a lexical run, on held-out queries.

    For each query the scores of the vectors, over the gallery, and those of the run, over the items that it lists, are
    brought to mean 0 and deviation 1 and added with weights w and 1 − w. An item that the run does not list has the
    lowest score that the run gave that query [ours].

    Args:
        lines: How each line scores.
        run: The lexical run.
        relevance: The queries and their relevant items.
        queries: The queries, for their ids.
        gallery: The gallery, for its ids.
        metric: What to measure.
        seed: Seed of folds and bootstrap.

    Raises:
        InputError: If the run holds none of the queries.
    """
    row_of = {identifier: row for row, identifier in enumerate(gallery.ids.tolist())}
    query_ids = queries.ids[relevance.queries].tolist()
    missing = sum(query not in run for query in query_ids)
    if missing == len(query_ids):
        raise InputError("the lexical run must hold the evaluation's queries. It holds none of their ids.")
    ranks = {line: [np.zeros((1, len(relevance.rows)), dtype=np.int64) for _ in WEIGHTS] for line in lines}
    alone = np.zeros(len(relevance.rows), dtype=np.int64)
    for number in range(len(relevance)):
        part = slice(relevance.offsets[number], relevance.offsets[number + 1])
        rows, hidden = relevance.rows[part], relevance.left_out[1][relevance.left_out[0] == number]
        lexical = _lexical_scores(run.get(query_ids[number], {}), row_of)
        alone[part] = _ranks(lexical, rows, hidden)
        for line, terms in lines.items():
            dense = sum(
                term.weight
                * pairwise_scores(term.queries[relevance.queries[number]][np.newaxis], term.gallery, term.similarity)[0]
                for term in terms
            )
            scores = _standardize(np.asarray(dense, dtype=np.float64))
            for place, weight in enumerate(WEIGHTS):
                ranks[line][place][0, part] = _ranks(weight * scores + (1 - weight) * lexical, rows, hidden)
    values = {}
    for line, candidates in ranks.items():
        best, chosen = cross_fit(candidates, relevance, metric, seed=seed)
        equal = metric_per_query(metric, candidates[_EQUAL][0], relevance)
        values[line] = equal, metric_per_query(metric, chosen[0], relevance), WEIGHTS[best]
    base = values["status_quo"]
    return HybridReport(
        metric=metric,
        lexical=bootstrap_mean(metric_per_query(metric, alone, relevance), seed=seed),
        lines={
            line: HybridLine(
                equal=bootstrap_mean(equal, seed=seed),
                equal_difference=None if line == "status_quo" else bootstrap_difference(equal, base[0], seed=seed),
                chosen=bootstrap_mean(chosen, seed=seed),
                chosen_difference=None if line == "status_quo" else bootstrap_difference(chosen, base[1], seed=seed),
                weight=weight,
            )
            for line, (equal, chosen, weight) in values.items()
        },
        missing_queries=missing,
    )


def _lexical_scores(scored: Mapping[str, float], row_of: Mapping[str, int]) -> NDArray[np.float64]:
    """Return the standardized scores that a run gives one query (n,); zeros where it lists nothing."""
    scores = np.zeros(len(row_of))
    known = {row_of[item]: score for item, score in scored.items() if item in row_of}
    if known:
        standard = _standardize(np.array(list(known.values())))
        scores[:] = standard.min()
        scores[list(known)] = standard
    return scores


def _standardize(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = scores.std()
    return np.asarray((scores - scores.mean()) / deviation if deviation > 0 else np.zeros_like(scores))


def _ranks(scores: NDArray[np.float64], rows: NDArray[np.intp], hidden: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the ranks of some rows, from 1; of equal scores the earlier row is first."""
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isin(order, hidden)]
    places = np.empty(len(scores), dtype=np.int64)
    places[order] = np.arange(1, len(order) + 1)
    return places[rows]
