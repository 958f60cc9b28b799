from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from embcompat.aligners import fit_affine, weigh_queries
from embcompat.backfill import BackfillCurve, Backlog, HeldOut, SearchTask, VerificationTask, backfill_curve
from embcompat.backfill.curves.measured import Replicated
from embcompat.backfill.curves.recommend import choose_mixture
from embcompat.backfill.curves.search import mixed_ranks
from embcompat.backfill.curves.verification import _People
from embcompat.embeddings import Embeddings, PairedEmbeddings, split_pairs
from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Qrels, match_qrels
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.evaluation.verification.figures import frr_at_far
from embcompat.evaluation.verification.pairs import VerificationPairs
from embcompat.results import parse_result
from embcompat.testing import make_pairs

Made = tuple[Backlog, Embeddings, set[str], PairedEmbeddings]


@pytest.fixture(scope="module")
def world() -> Made:
    """A gallery of 400, half of it badly converted because its old vectors lost most dimensions; and queries."""
    rng = np.random.default_rng(3)
    pairs = make_pairs(560, source_dim=24, target_dim=24, normalized=True, subjects=80).pairs
    vectors = pairs.source.vectors.copy()
    vectors[::2, 6:] *= 0.2 + 0.1 * rng.random(18).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    old = Embeddings(vectors, pairs.ids, pairs.source.space, pairs.labels)
    split = split_pairs(PairedEmbeddings(old, pairs.target).select(range(160)), validation=0.4, test=0.0)
    aligner = fit_affine(split.train, split.validation)

    def convert(side: Embeddings) -> Embeddings:
        return Embeddings(aligner.transform(side.vectors), side.ids, pairs.target.space, side.labels)

    gallery = range(400)
    held_out = HeldOut(split.validation.source, convert(split.validation.source), split.validation.target)
    backlog = Backlog(old.select(gallery), convert(old.select(gallery)), held_out)
    queries = PairedEmbeddings(old, pairs.target).select(range(400, 560))
    return backlog, pairs.target.select(gallery), set(split.train.ids) | set(split.validation.ids), queries


def search_task(world: Made, **options: object) -> SearchTask:
    _, new, _, queries = world
    return SearchTask(queries.target, Qrels.from_labels(queries.source, new), queries.source, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [1, 5, 80])
def test_mixed_ranks_are_those_of_the_naive_loop(depth: int) -> None:
    rng = np.random.default_rng(depth)
    native, converted = np.round(rng.standard_normal((2, 80)), 1).astype(np.float32)  # rounded, so that scores tie
    turns = rng.integers(0, 4, size=(3, 80)).astype(np.int16)
    relevant = np.array([2, 30, 31, 79])
    result = mixed_ranks(native, converted, relevant, turns, 4, depth)
    for number, query_turns in enumerate(turns):
        for step in range(4):
            mixed = np.where(query_turns <= step, native, converted)
            ranks = np.argsort(np.argsort(-mixed, kind="stable"))[relevant] + 1
            within = ranks <= depth
            assert np.array_equal(result[number, step][within], ranks[within])
            assert (result[number, step][~within] > depth).all()


def test_weighted_queries_search_the_mixed_gallery_and_plain_ones_a_reindex(world: Made) -> None:
    backlog, new, native_ids, queries = world
    plain = replace(backlog, held_out=None)
    weights = np.diag(np.linspace(0.3, 2, new.space.dim))
    weighted = replace(queries.target, vectors=weigh_queries(queries.target.vectors, weights))
    task = search_task(world)
    options = {"native_ids": native_ids, "orders": ["class_mean", "usefulness"], "steps": 3}
    curve = backfill_curve(plain, new, replace(task, weighted_queries=weighted), **options)  # type: ignore[arg-type]
    same = backfill_curve(plain, new, replace(task, new_queries=weighted), **options)  # type: ignore[arg-type]
    unweighted = backfill_curve(plain, new, task, **options)  # type: ignore[arg-type]
    assert curve.weighted_queries
    assert not unweighted.weighted_queries
    assert curve.full_reindex == unweighted.full_reindex
    for name, order in curve.orders.items():
        assert order.metric == same.orders[name].metric
        assert order.metric != unweighted.orders[name].metric
    with pytest.raises(InputError, match="weighted_queries must be the new queries"):
        replace(task, weighted_queries=weighted.select(range(3)))


@pytest.mark.parametrize("metric", ["ndcg@10", "map"])
def test_a_point_is_what_a_search_of_the_mixed_gallery_gives(world: Made, metric: str) -> None:
    backlog, new, native_ids, queries = world
    task = search_task(world, metric=metric)
    plain = replace(backlog, held_out=None)
    curve = backfill_curve(plain, new, task, native_ids=native_ids, orders=["class_mean"], steps=3)
    from embcompat.backfill.curves.recommend import take_turns
    from embcompat.backfill.order import score_rows

    native = np.isin(new.ids.astype(str), sorted(native_ids))
    turns = take_turns(score_rows("class_mean", plain), native, steps=3, seed=0)
    relevance = match_qrels(task.qrels, queries.ids, new.ids, exclude_self=False).without(native)
    for step, point in enumerate(curve.orders["class_mean"].metric):
        mixed = np.where((turns <= step)[:, np.newaxis], new.vectors, backlog.converted.vectors)
        ranks = rank_relevant([ScoreTerm(queries.target.vectors, mixed, "cosine")], relevance)[0]
        assert point.value == pytest.approx(metric_per_query(metric, ranks, relevance).mean(), abs=1e-6)
    assert curve.fractions == (0.4, 0.7, 1.0)
    assert curve.full_reindex.value == pytest.approx(curve.orders["random"].metric[-1].value, abs=1e-6)


def test_areas_intervals_and_the_result_for_the_report(world: Made) -> None:
    backlog, new, native_ids, _ = world
    curve = backfill_curve(backlog, new, search_task(world), native_ids=native_ids)
    assert set(curve.orders) == {"random", "class_mean", "predicted_error", "usefulness", "recommended"}
    for name, order in curve.orders.items():
        assert order.auc.value == pytest.approx(np.mean([point.value for point in order.metric]))
        assert all(point.low <= point.value <= point.high for point in order.metric)
        assert order.retention[-1].value == pytest.approx(1.0, abs=1e-6)
        assert (order.auc_against_random is None) == (name == "random")
    parsed = parse_result(curve.to_dict())
    assert parsed.kind == "backfill_curve"
    assert curve.orders["random"].metric[0].value < curve.full_reindex.value
    assert BackfillCurve.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve
    with pytest.raises(InputError, match="not a BackfillCurve"):
        BackfillCurve.from_dict({"orders": {}})


def test_an_order_that_knows_better_is_recommended_and_wins() -> None:
    """Half of the rows are converted without error and are relevant to nothing that the others are not."""
    rng = np.random.default_rng(0)
    pairs = make_pairs(300, source_dim=8, target_dim=8, normalized=True).pairs
    new = pairs.target
    noise = np.where(np.arange(300) % 2, 1.5, 0.0)[:, np.newaxis] * rng.standard_normal((300, 8))
    vectors = (new.vectors + noise).astype(np.float32)
    converted = Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), new.ids, new.space)
    convertibility = np.linalg.norm(noise, axis=1).astype(np.float32)
    requests = new.vectors + 0.1 * rng.standard_normal(new.vectors.shape).astype(np.float32)
    queries = Embeddings(requests / np.linalg.norm(requests, axis=1, keepdims=True), new.ids, new.space)
    backlog = Backlog(pairs.source, converted, convertibility=convertibility)
    task = SearchTask(queries, Qrels.one_each(new.ids.tolist()))
    curve = backfill_curve(backlog, new, task, orders=["convertibility", "recommended"])
    assert "convertibility" in curve.weights
    for name in ("convertibility", "recommended"):
        against = curve.orders[name].auc_against_random
        assert against is not None
        assert against.low > 0
    assert "beats a random one" in curve.verdict
    blind = replace(backlog, convertibility=rng.random(300).astype(np.float32))
    blind = replace(blind, visits=rng.random(300))
    nothing = backfill_curve(blind, new, task, orders=["convertibility", "recommended"])
    assert "convertibility" not in nothing.weights


def test_the_recommended_order_is_never_worse_than_random_where_it_was_chosen() -> None:
    rng = np.random.default_rng(0)
    random = Replicated(np.full(3, 0.5), 0.5 + 0.01 * rng.standard_normal((500, 3)))
    worse, noisy = (Replicated(random.values + by, random.replicates + by) for by in (-0.1, 0.0))
    unsure = Replicated(random.values + 0.01, 0.51 + 0.1 * rng.standard_normal((500, 3)))
    better = Replicated(random.values + 0.05, random.replicates + 0.05)
    assert choose_mixture({"worse": worse, "noisy": noisy, "unsure": unsure}, random) is None
    assert choose_mixture({"worse": worse, "better": better, "unsure": unsure}, random) == "better"
    assert choose_mixture({}, random) is None


def test_a_useful_calibration_is_taken_and_a_harmful_one_left(world: Made) -> None:
    backlog, new, native_ids, _ = world
    curve = backfill_curve(backlog, new, search_task(world), native_ids=native_ids, orders=["random"])
    # Scores against converted rows on another scale: half as large, which only the calibration can tell.
    dot = new.space.model_copy(update={"similarity": "dot", "normalized": False})
    half = replace_vectors(backlog.converted, 0.5 * backlog.converted.vectors, dot)
    same = replace_vectors(new, new.vectors, dot)
    assert backlog.held_out is not None
    held_out = HeldOut(
        backlog.held_out.old,
        replace_vectors(backlog.held_out.converted, 0.5 * backlog.held_out.converted.vectors, dot),
        replace_vectors(backlog.held_out.new, backlog.held_out.new.vectors, dot),
    )
    task = search_task(world)
    shrunk = backfill_curve(
        replace(backlog, converted=half, held_out=held_out),
        same,
        replace(task, new_queries=replace_vectors(task.new_queries, task.new_queries.vectors, dot)),
        native_ids=native_ids,
        orders=["random"],
    )
    assert shrunk.calibrated == 1.0
    assert shrunk.orders["random"].auc.value == pytest.approx(curve.orders["random"].auc.value, abs=0.03)


def replace_vectors(side: Embeddings, vectors: np.ndarray, space: object) -> Embeddings:
    return Embeddings(vectors, side.ids, space, side.labels)  # type: ignore[arg-type]


def test_fused_scoring_adds_the_old_scores(world: Made) -> None:
    backlog, new, native_ids, _ = world
    plain = backfill_curve(backlog, new, search_task(world), native_ids=native_ids, orders=["random"])
    fused = backfill_curve(backlog, new, search_task(world, fused_weight=0.5), native_ids=native_ids, orders=["random"])
    assert fused.full_reindex == plain.full_reindex
    assert fused.orders["random"].metric[0].value != plain.orders["random"].metric[0].value
    only_new = backfill_curve(
        backlog, new, search_task(world, fused_weight=1.0), native_ids=native_ids, orders=["random"]
    )
    assert only_new.orders["random"].auc.value == pytest.approx(plain.orders["random"].auc.value, abs=1e-6)


def test_more_queries_than_enough_are_thinned(world: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    backlog, new, native_ids, _ = world
    monkeypatch.setattr("embcompat.backfill.curves.search.MOST_QUERIES", 40)
    curve = backfill_curve(backlog, new, search_task(world), native_ids=native_ids, orders=["random"], steps=2)
    assert curve.judged == 40


def test_verification_points_are_those_of_the_mixed_pairs(world: Made) -> None:
    backlog, new, _, _ = world
    turns = (np.arange(400) % 3).astype(np.int16)
    subjects = np.unique(backlog.labels.astype(str), return_inverse=True)[1]
    people = _People.of(VerificationTask(far=0.01), backlog, new, np.arange(0, 400), subjects)
    curve = people.measure((1.0, 0.0), {"x": turns}, 3)["x"]
    for step in range(3):
        mixed = np.where((turns <= step)[:, np.newaxis], new.vectors, backlog.converted.vectors)
        pairs = VerificationPairs(new.vectors, mixed, subjects, subjects, "cosine", same_items=True)
        assert curve.values[step] == pytest.approx(1 - frr_at_far(pairs, 0.01).frr, abs=1e-9)
        low, high = np.quantile(curve.replicates[:, step], [0.005, 0.995])
        assert low < curve.values[step] < high


def test_verification_counts_fitted_people_and_reports_on_the_other_half(world: Made) -> None:
    backlog, new, _, _ = world
    curve = backfill_curve(backlog, new, VerificationTask(far=0.01), fitted_elsewhere=100, steps=3)
    assert curve.metric == "tar@far=0.01"
    assert curve.fractions == (0.2, 0.6, 1.0)
    assert curve.judged == 40
    assert curve.status_quo is not None
    assert curve.orders["class_mean"].metric[-1].value == curve.full_reindex.value
    parse_result(curve.to_dict())


def test_what_cannot_be_measured_is_refused(world: Made) -> None:
    backlog, new, _, _ = world
    task = search_task(world)
    with pytest.raises(UnknownNameError, match="no order called 'alphabetical'"):
        backfill_curve(backlog, new, task, orders=["alphabetical"])
    with pytest.raises(InputError, match="needs OnnxAligner.convertibility"):
        backfill_curve(backlog, new, task, orders=["convertibility"])
    with pytest.raises(InputError, match="row by row"):
        backfill_curve(backlog, new.select(range(5)), task)
    with pytest.raises(InputError, match="steps must be at least 2"):
        backfill_curve(backlog, new, task, steps=1)
    with pytest.raises(InputError, match="converted rows to re-embed"):
        backfill_curve(backlog, new, task, native_ids=new.ids.tolist())
    bare = Embeddings(backlog.old.vectors, backlog.old.ids, backlog.old.space)
    unlabelled = Backlog(bare, Embeddings(backlog.converted.vectors, bare.ids, new.space))
    with pytest.raises(InputError, match="needs labels"):
        backfill_curve(unlabelled, new, VerificationTask())
