"""The lines of a model change beside a lexical run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import embcompat as ec
from embcompat.embeddings import normalize_rows
from embcompat.errors import FileFormatError, InputError
from embcompat.evaluation.retrieval.hybrid import Run, evaluate_hybrid, read_run
from embcompat.evaluation.retrieval.lines import Sides
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import match_qrels
from embcompat.evaluation.retrieval.ranks import rank_relevant

ITEMS, QUERIES = 120, 40


@pytest.fixture(scope="module")
def sides() -> Sides:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(ITEMS, 8))
    ids = [f"d{row}" for row in range(ITEMS)], [f"q{row}" for row in range(QUERIES)]
    results = []
    for rows, names in ((items[:QUERIES], ids[1]), (items, ids[0])):
        for name, noise in (("old", 0.9), ("new", 0.4)):
            space = ec.SpaceVersion(name=name, version="1", dim=8, normalized=True)
            views = normalize_rows((rows + noise * rng.normal(size=rows.shape)).astype(np.float32))
            results.append(ec.Embeddings(views, names, space))
    return Sides(*results, ec.Embeddings(results[2].vectors, ids[0], results[3].space))


@pytest.fixture(scope="module")
def run() -> Run:
    rng = np.random.default_rng(1)
    return {
        f"q{row}": {f"d{item}": float(rng.normal() + 2 * (item == row)) for item in {row, *rng.choice(ITEMS, 20)}}
        for row in range(QUERIES)
    }


def test_the_hybrid_is_the_naive_sum_of_standardized_scores(sides: Sides, run: Run) -> None:
    qrels = ec.Qrels({f"q{row}": {f"d{row}": 1.0} for row in range(QUERIES)})
    relevance = match_qrels(qrels, sides.old_queries.ids, sides.old_gallery.ids, exclude_self=False)
    lines = sides.lines(np.zeros(ITEMS, dtype=bool))
    report = evaluate_hybrid(lines, run, relevance, sides.old_queries, sides.old_gallery, metric="mrr", seed=0)
    expected = []
    for row in range(QUERIES):
        dense = (sides.new_queries.vectors[row] @ sides.new_gallery.vectors.T).astype(np.float64)
        listed = np.array([run[f"q{row}"].get(f"d{item}", np.nan) for item in range(ITEMS)])
        lexical = (listed - np.nanmean(listed)) / np.nanstd(listed)
        lexical = np.where(np.isnan(lexical), np.nanmin(lexical), lexical)
        scores = (dense - dense.mean()) / dense.std() + lexical
        expected.append(1 / (1 + np.count_nonzero(scores > scores[row])))
    full = report.lines["full_reindex"]
    assert full.equal.value == pytest.approx(np.mean(expected), abs=1e-9)
    assert full.equal_difference is not None
    today = report.lines["status_quo"]
    assert today.equal_difference is None
    assert full.equal_difference.value == pytest.approx(full.equal.value - today.equal.value)
    pure = metric_per_query("mrr", rank_relevant(lines["status_quo"], relevance)[0], relevance).mean()
    assert today.equal.value > pure  # a good lexical run helps
    assert report.missing_queries == 0


def test_a_query_that_the_run_lacks_is_the_line_alone(sides: Sides, run: Run) -> None:
    qrels = ec.Qrels({"q0": {"d0": 1.0}, "q1": {"d1": 1.0}})
    relevance = match_qrels(qrels, sides.old_queries.ids, sides.old_gallery.ids, exclude_self=False)
    lines = sides.lines(np.zeros(ITEMS, dtype=bool))
    part = {"q1": run["q1"]}
    report = evaluate_hybrid(lines, part, relevance, sides.old_queries, sides.old_gallery, metric="mrr", seed=0)
    assert report.missing_queries == 1
    with pytest.raises(InputError, match="It holds none of their ids"):
        evaluate_hybrid(lines, {"x": {}}, relevance, sides.old_queries, sides.old_gallery, metric="mrr", seed=0)


def test_a_run_is_read_and_a_bad_line_named(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 d1 1 12.5 bm25\nq1 Q0 d2 2 3 bm25\n\n")
    assert read_run(path) == {"q1": {"d1": 12.5, "d2": 3.0}}
    for text, message in (
        ("q1 Q0 d1 1 x bm25", "line 1 must hold six fields"),
        ("q1 d1 3", "line 1 must hold six fields"),
        ("q1 Q0 d1 1 2 a\nq1 Q0 d1 2 1 a", "line 2: item 'd1' is scored twice for query 'q1'"),
        ("", "must hold at least one line"),
    ):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=message):
            read_run(path)
