"""The five lines of a model change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from embcompat.aligners.affine import fit_affine
from embcompat.embeddings import Embeddings, normalize_rows, pair_embeddings, split_pairs
from embcompat.errors import InputError, SpaceMismatchError, UnknownNameError
from embcompat.evaluation.bootstrap import bootstrap_ratio
from embcompat.evaluation.retrieval.evaluate import FUSED_WEIGHTS, evaluate_retrieval
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.results import LINES, RetrievalReport
from embcompat.spaces import SpaceVersion

OLD = SpaceVersion(name="old", version="1", dim=8, normalized=True)
NEW = SpaceVersion(name="new", version="1", dim=12, normalized=True)
ITEMS, QUERIES = 150, 40
SCORES = ("status_quo", "converted", "fused", "full_reindex")


def unit(vectors: np.ndarray) -> np.ndarray:
    return normalize_rows(vectors.astype(np.float32))


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """Forty queries with two relevant items each, of 150; the new model sees more than the old one."""
    rng = np.random.default_rng(11)
    meaning = rng.normal(size=(ITEMS, 12))
    requests = meaning[: 2 * QUERIES].reshape(QUERIES, 2, 12).mean(axis=1)
    noise = {"items": rng.normal(size=meaning.shape), "queries": rng.normal(size=requests.shape)}
    gallery, queries = meaning + 0.3 * noise["items"], requests + 0.3 * noise["queries"]
    ids, query_ids = [f"d{row}" for row in range(ITEMS)], [f"q{row}" for row in range(QUERIES)]
    weak = rng.normal(size=(12, 8))
    return {
        "old_queries": Embeddings(unit(queries @ weak), query_ids, OLD),
        "new_queries": Embeddings(unit(queries), query_ids, NEW),
        "old_gallery": Embeddings(unit(gallery @ weak), ids, OLD),
        "new_gallery": Embeddings(unit(gallery), ids, NEW),
        "converted": Embeddings(unit(gallery + 0.4 * rng.normal(size=gallery.shape)), ids, NEW),
        "qrels": Qrels({f"q{row}": {f"d{2 * row}": 2, f"d{2 * row + 1}": 1} for row in range(QUERIES)}),
    }


def with_vectors(embeddings: Embeddings, vectors: np.ndarray) -> Embeddings:
    return Embeddings(unit(vectors), embeddings.ids, embeddings.space, embeddings.labels)


def trec(scores: np.ndarray, world: dict[str, Any], measure: str, ids: list[str] | None = None) -> np.ndarray:
    """Let trec_eval judge a matrix of scores."""
    names, queries = world["old_gallery"].ids, world["old_queries"].ids
    run = {q: {d: float(s) for d, s in zip(names, row, strict=True)} for q, row in zip(queries, scores, strict=True)}
    qrels = {q: {d: int(gain) for d, gain in items.items()} for q, items in world["qrels"].gains.items()}
    result = pytrec_eval.RelevanceEvaluator(qrels, {measure}).evaluate(run)
    return np.array([next(iter(result[query].values())) for query in (ids or queries)])


# Properties


def test_a_perfect_map_is_a_full_reindex(world: dict[str, Any]) -> None:
    report = evaluate_retrieval(**(world | {"converted": world["new_gallery"]}))
    assert report.lines["converted"] == report.lines["full_reindex"]
    assert (report.retention.value, report.retention.low, report.retention.high) == (1.0, 1.0, 1.0)
    assert report.gap.value == report.gap.low == 1.0
    assert report.loss is None


def test_the_gap_is_zero_at_the_status_quo_and_one_at_a_full_reindex(world: dict[str, Any]) -> None:
    report = evaluate_retrieval(**world)
    values = report.per_query
    base, goal = values["status_quo"].mean(), values["full_reindex"].mean()
    assert report.gap.value == pytest.approx((values["converted"].mean() - base) / (goal - base))
    assert report.retention.value == pytest.approx(values["converted"].mean() / goal)
    assert report.retention == bootstrap_ratio(values["converted"], values["full_reindex"], seed=0)
    for line, difference in report.differences.items():
        assert difference.value == pytest.approx(values[line].mean() - base)


def test_a_worse_map_never_retains_more(world: dict[str, Any]) -> None:
    noise = np.random.default_rng(2).normal(size=(ITEMS, 12))
    new = world["new_gallery"]
    result = [
        evaluate_retrieval(**(world | {"converted": with_vectors(new, new.vectors + step * noise)})).retention.value
        for step in (0.0, 0.3, 1.0, 5.0)
    ]
    assert result == sorted(result, reverse=True)


def test_turning_a_space_changes_nothing(world: dict[str, Any]) -> None:
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    turned = {
        name: with_vectors(world[name], world[name].vectors @ turn)
        for name in ("new_queries", "new_gallery", "converted")
    }
    for line in ("converted", "full_reindex"):
        np.testing.assert_array_equal(
            evaluate_retrieval(**(world | turned)).per_query[line], evaluate_retrieval(**world).per_query[line]
        )


def test_the_same_seed_gives_the_same_report(world: dict[str, Any]) -> None:
    first, second, other = (evaluate_retrieval(**world, fused_weights=FUSED_WEIGHTS, seed=seed) for seed in (1, 1, 2))
    assert first.to_dict() == second.to_dict()
    assert first.to_dict() != other.to_dict()


# Oracle


@pytest.mark.parametrize(("metric", "measure"), [("ndcg@10", "ndcg_cut.10"), ("map", "map"), ("recall@5", "recall.5")])
def test_the_lines_equal_trec_eval(world: dict[str, Any], metric: str, measure: str) -> None:
    report = evaluate_retrieval(**world, metric=metric, metrics=(), fused_weights=(0.4,))
    old = pairwise_scores(world["old_queries"].vectors, world["old_gallery"].vectors, "cosine")
    converted = pairwise_scores(world["new_queries"].vectors, world["converted"].vectors, "cosine")
    new = pairwise_scores(world["new_queries"].vectors, world["new_gallery"].vectors, "cosine")
    for line, scores in zip(SCORES, (old, converted, 0.4 * converted + 0.6 * old, new), strict=True):
        np.testing.assert_allclose(report.per_query[line], trec(scores, world, measure), rtol=1e-12, err_msg=line)
    assert report.fused_weight == 0.4


def test_naive_swap_is_the_new_query_against_the_old_gallery(world: dict[str, Any]) -> None:
    assert "naive_swap" not in evaluate_retrieval(**world).lines
    shrunk = {
        name: Embeddings(unit(world[name].vectors[:, :8]), world[name].ids, NEW.model_copy(update={"dim": 8}))
        for name in ("new_queries", "new_gallery", "converted")
    }
    report = evaluate_retrieval(**(world | shrunk))
    scores = pairwise_scores(shrunk["new_queries"].vectors, world["old_gallery"].vectors, "cosine")
    np.testing.assert_allclose(report.per_query["naive_swap"], trec(scores, world, "ndcg_cut.10"), rtol=1e-12)
    assert "naive_swap" not in report.reasons


# No leak


def test_fitted_items_are_served_native_and_headline_queries_are_free_of_them(world: dict[str, Any]) -> None:
    fitted = [f"d{row}" for row in range(10)]  # the items of queries 0 to 4
    broken = world["converted"].vectors.copy()
    broken[:10] = -world["new_queries"].vectors[0]
    report = evaluate_retrieval(**(world | {"converted": with_vectors(world["converted"], broken)}), native_ids=fitted)
    assert report.query_ids == tuple(f"q{row}" for row in range(5, QUERIES))
    assert (report.queries, report.in_sample_queries, report.residual) == (35, 5, False)
    assert report.native_fraction == 10 / ITEMS
    actual = broken.copy()
    actual[:10] = world["new_gallery"].vectors[:10]
    scores = pairwise_scores(world["new_queries"].vectors, actual, "cosine")
    expected = trec(scores, world, "ndcg_cut.10")
    np.testing.assert_allclose(report.per_query["converted"], expected[5:], rtol=1e-12)
    assert report.in_sample["ndcg@10"]["converted"].value == pytest.approx(expected[:5].mean())
    without = evaluate_retrieval(**(world | {"converted": with_vectors(world["converted"], broken)}))
    assert without.queries == QUERIES
    assert without.in_sample is None
    assert without.unfitted is None


def test_the_unfitted_part_is_the_gallery_without_the_fitted_items(world: dict[str, Any]) -> None:
    fitted = [f"d{row}" for row in range(120, ITEMS)]
    report = evaluate_retrieval(**world, native_ids=fitted, fused_weights=(0.5,))
    assert report.queries == QUERIES
    rows = np.arange(120)
    part = {name: world[name].select(rows) for name in ("old_gallery", "new_gallery", "converted")}
    alone = evaluate_retrieval(**(world | part), fused_weights=(0.5,))
    assert report.unfitted.gallery_size == 120
    assert report.unfitted.to_dict() == alone.retention_by_size[-1].to_dict()
    assert [part.gallery_size for part in report.parts] == [ITEMS, 120]
    assert len(alone.parts) == 1


def test_where_native_rows_flatter_the_converted_line_the_reader_is_told(world: dict[str, Any]) -> None:
    lift = world["new_queries"].vectors.mean(axis=0) * 40  # converted rows score higher than native ones throughout
    crowd = world["converted"].vectors * 0.05 + lift / np.linalg.norm(lift)
    fitted = [f"d{row}" for row in range(80, ITEMS)]
    report = evaluate_retrieval(**(world | {"converted": with_vectors(world["converted"], crowd)}), native_ids=fitted)
    actual, alone = (part.differences["converted"].value for part in report.parts)
    assert abs(actual - alone) > 0.05
    assert any("score on different scales" in note for note in report.notes)


def test_too_few_free_queries_are_joined_by_the_others_judged_by_unfitted_items(world: dict[str, Any]) -> None:
    fitted = [f"d{2 * row}" for row in range(25)]  # one of the two items of queries 0 to 24
    report = evaluate_retrieval(**world, native_ids=fitted, metric="map", metrics=())
    assert (report.residual, report.queries, report.in_sample_queries) == (True, QUERIES, 25)
    assert report.notes[0].startswith("25 judged queries have a fitted item among their answers, and too few ")
    scores = pairwise_scores(world["old_queries"].vectors, world["old_gallery"].vectors, "cosine")
    rest = dict(world["qrels"].gains)
    for row in range(25):
        scores[row, 2 * row] = -9  # out of the ranking
        rest[f"q{row}"] = {f"d{2 * row + 1}": 1}
    expected = trec(scores, world | {"qrels": Qrels(rest)}, "map")
    np.testing.assert_allclose(report.per_query["status_quo"], expected, rtol=1e-12)


def test_a_query_whose_items_were_all_fitted_is_never_headline(world: dict[str, Any]) -> None:
    fitted = [f"d{row}" for row in range(42)]
    report = evaluate_retrieval(**world, native_ids=fitted)
    assert (report.queries, report.in_sample_queries, report.residual) == (19, 21, False)
    assert "Only 19 held-out queries: too few to decide on, 20 are needed." in report.notes
    with pytest.raises(InputError, match="none of 40 judged queries can judge"):
        evaluate_retrieval(**world, native_ids=[f"d{row}" for row in range(ITEMS)])


# Nested galleries, fused line, queries that are items


def test_three_nested_galleries_keep_every_relevant_item(world: dict[str, Any]) -> None:
    report = evaluate_retrieval(**world)
    assert [part.gallery_size for part in report.retention_by_size] == [80 + round(70 / 9), 80 + round(70 / 3), ITEMS]
    for line in ("status_quo", "converted", "full_reindex"):
        means = [part.means[line] for part in report.retention_by_size]
        assert means == sorted(means, reverse=True)
        assert means[-1] == pytest.approx(report.lines[line].value)
    judgements = Qrels({f"q{row}": {f"d{item}": 1 for item in range(row, ITEMS, QUERIES)} for row in range(QUERIES)})
    one = evaluate_retrieval(**(world | {"qrels": judgements}))
    assert len(one.retention_by_size) == 1
    assert any("no smaller gallery" in note for note in one.notes)


def test_no_query_helps_to_choose_its_own_weight(world: dict[str, Any]) -> None:
    single = {w: evaluate_retrieval(**world, fused_weights=(w,)).per_query["fused"] for w in FUSED_WEIGHTS}
    report = evaluate_retrieval(**world, fused_weights=FUSED_WEIGHTS, seed=3)
    values = np.stack([single[w] for w in FUSED_WEIGHTS])
    assert report.fused_weight == FUSED_WEIGHTS[values.mean(axis=1).argmax()]
    fold = np.random.default_rng(3).permutation(QUERIES) % 5
    for number in range(5):
        best = values[:, fold != number].mean(axis=1).argmax()
        np.testing.assert_array_equal(report.per_query["fused"][fold == number], values[best, fold == number])


def test_queries_that_are_items_do_not_find_themselves() -> None:
    rng = np.random.default_rng(0)
    labels = [str(row % 10) for row in range(60)]
    centres = rng.normal(size=(10, 8))
    space = OLD.model_copy(update={"name": "new"})
    items = unit(np.tile(centres, (6, 1)) + 0.4 * rng.normal(size=(60, 8)))
    old = Embeddings(unit(items + 0.3 * rng.normal(size=items.shape)), [f"i{row}" for row in range(60)], OLD, labels)
    new = Embeddings(items, old.ids, space, labels)
    rows = np.arange(0, 60, 2)
    shared = {"old_gallery": old, "new_gallery": new, "converted": new, "metric": "cmc@1"}
    queries = {"old_queries": old.select(rows), "new_queries": new.select(rows)}
    qrels = Qrels.from_labels(queries["old_queries"], old)
    report = evaluate_retrieval(**shared, **queries, qrels=qrels, exclude_self=True)
    scores = pairwise_scores(items[rows], items, "cosine")
    scores[np.arange(len(rows)), rows] = -9
    nearest = scores.argmax(axis=1)
    expected = [labels[row] == labels[near] for row, near in zip(rows, nearest, strict=True)]
    assert report.per_query["full_reindex"].tolist() == expected
    assert evaluate_retrieval(**shared, **queries, qrels=qrels).lines["full_reindex"].value == 1.0


def test_queries_without_a_relevant_item_are_counted_and_left_out(world: dict[str, Any]) -> None:
    gains = dict(world["qrels"].gains) | {"q0": {"d0": 0}, "q1": {"elsewhere": 1}}
    report = evaluate_retrieval(**(world | {"qrels": Qrels(gains)}))
    assert (report.queries, report.unjudged_queries) == (38, 2)
    assert "2 queries have no relevant item in the gallery and are in no figure." in report.notes


def test_euclidean_and_dot_spaces(world: dict[str, Any]) -> None:
    for similarity in ("dot", "euclidean"):
        scaled = {}
        for name in ("old_queries", "new_queries", "old_gallery", "new_gallery", "converted"):
            space = world[name].space.model_copy(update={"similarity": similarity, "normalized": False})
            scaled[name] = Embeddings(world[name].vectors * 3, world[name].ids, space)
        report = evaluate_retrieval(**(world | scaled), fused_weights=(0.5,))
        base = evaluate_retrieval(**world, fused_weights=(0.5,))
        for line in ("status_quo", "converted", "full_reindex"):
            np.testing.assert_allclose(report.per_query[line], base.per_query[line])


# What is undefined, what is said


def test_a_new_model_that_is_not_better_has_no_gap(world: dict[str, Any]) -> None:
    noise = np.random.default_rng(4).normal(size=(ITEMS, 12))
    worse = with_vectors(world["new_gallery"], world["new_gallery"].vectors + 3 * noise)
    report = evaluate_retrieval(**(world | {"new_gallery": worse, "converted": worse}))
    assert report.gap is None
    assert report.reasons["gap"].startswith("the new model is not shown to be better than the old one")
    assert report.to_dict()["gap"] is None
    assert report.notes[0].startswith("The aligner loses to the status quo: ndcg@10 ")


def test_a_reindex_that_finds_nothing_has_no_retention(world: dict[str, Any]) -> None:
    away = with_vectors(world["new_gallery"], world["new_gallery"].vectors)
    away.vectors[:80] = -world["new_queries"].vectors.repeat(2, axis=0)
    report = evaluate_retrieval(**(world | {"new_gallery": away, "converted": away}), metric="cmc@1")
    assert report.lines["full_reindex"].value == 0
    assert report.retention is None
    assert report.reasons["retention"] == "a full reindex scores 0 on every query"


def test_the_report_is_json(world: dict[str, Any]) -> None:
    report = evaluate_retrieval(**world, native_ids=["d140", "d0", "d2"], fused_weights=FUSED_WEIGHTS)
    result = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert result["metric"] == "ndcg@10"
    assert result["naive_swap"] is result["naive_swap_interval"] is None
    assert result["reasons"]["naive_swap"] == "the old space has 8 dimensions and the new one 12"
    for line in SCORES:
        assert result[line] == pytest.approx(report.per_query[line].mean())
        assert result[f"{line}_interval"][0] <= result[line] <= result[f"{line}_interval"][1]
    assert result["retention_interval"] == [report.retention.low, report.retention.high]
    assert [part["gallery_size"] for part in result["retention_by_size"]] == [
        part.gallery_size for part in report.retention_by_size
    ]
    assert result["metrics"]["map"]["converted"].keys() == {"value", "low", "high"}
    assert result["in_sample"]["ndcg@10"].keys() == set(SCORES)
    assert result["queries"] == report.queries == 38
    assert {*LINES, "retention", "gap", "differences", "native_fraction", "notes"} <= result.keys()


def test_bad_input(world: dict[str, Any]) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"new_queries": world["new_queries"].select(range(9))}, InputError, "items of old_queries. Got 9 and 40"),
        ({"converted": world["converted"].select(range(ITEMS)[::-1])}, InputError, "Row 0 is 'd149' and 'd0'"),
        ({"converted": world["old_gallery"]}, SpaceMismatchError, "converted gallery must be in space 'new@1'"),
        ({"old_queries": world["new_queries"]}, SpaceMismatchError, "old_gallery must be of one model"),
        ({"metric": "ndcg"}, UnknownNameError, "no metric called 'ndcg'"),
        ({"fused_weights": (0.5, 1.0)}, InputError, r"between 0 and 1. Got \[0.5, 1.0\]"),
        ({"qrels": Qrels({"x": {"d0": 1}})}, InputError, "0 queries have a relevant item"),
    ]
    for change, error, message in cases:
        with pytest.raises(error, match=message):
            evaluate_retrieval(**(world | change))


def test_queries_may_be_embedded_with_another_prompt(world: dict[str, Any]) -> None:
    space = NEW.model_copy(update={"fingerprint": {"prompt": "query: "}})
    queries = Embeddings(world["new_queries"].vectors, world["new_queries"].ids, space)
    assert evaluate_retrieval(**(world | {"new_queries": queries})).queries == QUERIES


# Real text


def real_report(data: Path, old: str, new: str) -> RetrievalReport:
    """Cranfield; the aligner is fitted on 400 documents that answer no query."""

    def load(model: str, side: str, names: list[str]) -> Embeddings:
        vectors = np.load(data / "text" / f"cranfield_{model}_{side}.npy")
        space = SpaceVersion(name=model.replace("_", "-"), version="1", dim=vectors.shape[1], normalized=True)
        return Embeddings(vectors, names, space)

    columns = {
        side: pq.read_table(data / "text" / f"cranfield_{side}.parquet") for side in ("docs", "queries", "qrels")
    }
    documents, queries = (columns[side].column(0).cast("string").to_pylist() for side in ("docs", "queries"))
    gains: dict[str, dict[str, float]] = {}
    for query, document, gain in zip(*(columns["qrels"].column(at).to_pylist() for at in range(3)), strict=True):
        gains.setdefault(str(query), {})[str(document)] = gain
    qrels = Qrels(gains)
    sides = {"old_gallery": load(old, "docs", documents), "new_gallery": load(new, "docs", documents)}
    pairs = pair_embeddings(sides["old_gallery"], sides["new_gallery"])
    free = np.flatnonzero([name not in qrels.relevant_items() for name in documents])[:400]
    split = split_pairs(pairs.select(free), test=0.0)
    converted = fit_affine(split.train, split.validation).transform(sides["old_gallery"].vectors)
    return evaluate_retrieval(
        old_queries=load(old, "queries", queries),
        new_queries=load(new, "queries", queries),
        **sides,
        converted=Embeddings(converted, documents, sides["new_gallery"].space),
        qrels=qrels,
        native_ids=pairs.ids[free].tolist(),
        metrics=(),
    )


def test_real_text_gives_the_known_figures(shared_data: Path) -> None:
    report = real_report(shared_data, "para_l3", "minilm")
    assert report.queries == 225
    assert report.lines["status_quo"].value == pytest.approx(0.334, abs=5e-4)
    assert report.lines["full_reindex"].value == pytest.approx(0.402, abs=5e-4)
    assert report.lines["naive_swap"].value < report.lines["converted"].value < report.lines["full_reindex"].value
