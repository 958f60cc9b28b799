"""Lazy backfill: what queries bring up is embedded once, ranked natively and kept."""

# ruff: noqa: ARG002, ARG005
from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.aligners import weigh_queries
from embcompat.backfill.embed import embed_items, look_up
from embcompat.backfill.lazy.backfill import LazyBackfill
from embcompat.backfill.lazy.replay import LazyCurve, replay_lazy
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import ExtractionError, InputError, SpaceMismatchError, StoreError
from embcompat.evaluation.retrieval.evaluate import evaluate_retrieval
from embcompat.evaluation.retrieval.lines import Sides
from embcompat.evaluation.retrieval.qrels import Qrels, match_qrels
from embcompat.serving import FusedSearch
from embcompat.spaces import SpaceVersion
from embcompat.stores.values import Job, TargetRows

OLD = SpaceVersion(name="old", version="1", dim=12, normalized=True)
NEW = SpaceVersion(name="new", version="1", dim=12, normalized=True)
JOB = Job("a" * 64, OLD, NEW)
ITEMS, QUERIES = 300, 60


class Rows:
    """A gallery in a dictionary, searched by the naive loop."""

    def __init__(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self.vectors = dict(zip(ids, vectors, strict=True))
        self.native: set[str] = set()
        self.written: list[str] = []
        self.refuses: set[str] = set()
        self.down = self.unreadable = False

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        names = np.array(list(self.vectors), dtype=object)
        scores = queries @ np.stack(list(self.vectors.values())).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), names[order]

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        if self.unreadable:
            raise OSError("the store cannot be read")
        known = [each for each in ids if each in self.vectors]
        vectors = np.stack([self.vectors[each] for each in known]) if known else np.empty((0, 12), np.float32)
        return TargetRows(known, vectors, np.array([each in self.native for each in known], dtype=bool))

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        if self.down or self.refuses & set(ids):
            raise StoreError("the store is closed today")
        self.vectors |= dict(zip(ids, vectors, strict=True))
        self.native |= set(ids)
        self.written += ids
        return len(ids)


class Model:
    """Looks vectors up, counts what it was asked, and fails on request."""

    def __init__(self, new: Embeddings, *, seconds: float = 0.0) -> None:
        self.asked: list[str] = []
        self.error: BaseException | None = None
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Lock()
        self._look_up = look_up(new)

    def __call__(self, ids: Sequence[str]) -> Embeddings:
        assert self.busy.acquire(blocking=False), "the model was called twice at a time"
        try:
            self.asked += ids
            time.sleep(self.seconds)
            assert self.gate.wait(30)
            if self.error is not None:
                raise self.error
            return self._look_up(ids)
        finally:
            self.busy.release()


class World:
    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        meaning = rng.normal(size=(ITEMS, 12))
        self.ids = [f"d{row}" for row in range(ITEMS)]

        def see(rows: NDArray[Any], noise: float, space: SpaceVersion, ids: Sequence[str]) -> Embeddings:
            views = rows + noise * rng.normal(size=rows.shape)
            return Embeddings(normalize_rows(views.astype(np.float32)), ids, space)

        query_ids = self.ids[:QUERIES]
        self.old, self.new = see(meaning, 0.7, OLD, self.ids), see(meaning, 0.1, NEW, self.ids)
        self.converted = see(meaning, 0.6, NEW, self.ids)
        self.old_queries, self.new_queries = (see(meaning[:QUERIES], 0.1, space, query_ids) for space in (OLD, NEW))
        self.rows, self.model = Rows(self.ids, self.converted.vectors), Model(self.new)

    def lazy(self, **options: Any) -> LazyBackfill:
        return LazyBackfill(self.rows.search, self.model, self.rows, JOB, **options)


@pytest.fixture
def world() -> World:
    return World()


def test_as_deep_as_the_gallery_it_ranks_as_a_full_reindex(world: World) -> None:
    nearest = Rows(world.ids, world.new.vectors).search(world.new_queries.vectors, 10)
    with world.lazy(depth=ITEMS) as lazy:
        scores, ids = lazy.search(world.new_queries.vectors, k=10)
    assert np.array_equal(ids, nearest[1])
    assert np.allclose(scores, nearest[0], atol=1e-6)
    assert world.rows.native == set(world.ids)
    assert np.array_equal(np.stack(list(world.rows.vectors.values())), world.new.vectors)


def test_the_candidates_alone_are_embedded_ranked_natively_and_kept(world: World) -> None:
    query = world.new_queries.vectors[:1]
    candidates = world.rows.search(query, 20)[1][0].tolist()
    with world.lazy(depth=20) as lazy:
        _, first = lazy.search(query, k=20)
        lazy.flush()
        assert sorted(world.model.asked) == sorted(candidates) == sorted(world.rows.written)
        again = LazyBackfill(
            lambda queries, k: (np.zeros((1, k)), np.array([candidates], dtype=object)),
            world.model,
            world.rows,
            JOB,
            depth=20,
        )
        assert again.search(query, k=20)[1].tolist() == first.tolist()
        assert again.counters.hit_rate == 1.0
        again.close()
        counters = lazy.counters
    native = {each: float(query[0] @ world.rows.vectors[each]) for each in candidates}
    assert first[0].tolist() == sorted(candidates, key=lambda each: -native[each])
    assert (counters.queries, counters.candidates, counters.hits, counters.degraded) == (1, 20, 0, 0)
    assert (counters.rows_embedded, counters.rows_written, counters.rows_waiting) == (20, 20, 0)
    assert counters.milliseconds_per_query > 0
    assert len(world.model.asked) == 20


def test_a_batch_of_queries_embeds_together_what_one_after_the_other_would(world: World) -> None:
    fixed = Rows(world.ids, world.converted.vectors)
    lazy = LazyBackfill(fixed.search, world.model, world.rows, JOB, depth=10, batch_size=1_000)
    with lazy:
        _, together = lazy.search(world.new_queries.vectors, k=5)
    assert len(world.model.asked) == len(set(world.model.asked))
    other = World()
    with LazyBackfill(fixed.search, other.model, other.rows, JOB, depth=10) as lazy:
        single = [lazy.search(query[np.newaxis], k=5)[1][0].tolist() for query in world.new_queries.vectors]
    assert together.tolist() == single


def test_a_fused_search_brings_the_candidates(world: World) -> None:
    old_rows = Rows(world.ids, world.old.vectors)
    fused = FusedSearch(world.rows.search, old_rows.search)
    nearest = fused.search(world.new_queries.vectors[:3], world.old_queries.vectors[:3], 15)[1]
    with LazyBackfill(fused.search, world.model, world.rows, JOB, depth=15) as lazy:
        lazy.search(world.new_queries.vectors[:3], world.old_queries.vectors[:3], k=5)
    assert set(world.model.asked) == set(nearest.ravel().tolist())


def test_queries_at_the_same_time_never_embed_an_item_twice(world: World) -> None:
    world.model.seconds = 0.01
    result: dict[int, list[str]] = {}
    with world.lazy(depth=25, batch_size=7) as lazy:

        def serve(number: int) -> None:
            query = world.new_queries.vectors[number % 4][np.newaxis]
            result[number] = lazy.search(query, k=5)[1][0].tolist()

        threads = [threading.Thread(target=serve, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lazy.counters.degraded == 0
    assert len(result) == 12
    assert len(world.model.asked) == len(set(world.model.asked)) == len(world.rows.native)


def test_a_budget_of_rows_takes_the_best_candidates_first(world: World) -> None:
    query = world.new_queries.vectors[:1]
    best = world.rows.search(query, 20)[1][0].tolist()
    with world.lazy(depth=20, rows_per_query=6) as lazy:
        lazy.search(query, k=20)
        assert world.model.asked == best[:6]
        assert lazy.counters.degraded == 14
    other = World()
    with other.lazy(depth=20, rows_per_query=0, scale=2.0, offset=-1.0) as lazy:
        scores, ids = lazy.search(query, k=20)
    assert other.model.asked == []
    assert ids[0].tolist() == best
    assert np.allclose(
        scores[0], 2 * world.converted.vectors[[int(each[1:]) for each in best]] @ query[0] - 1, atol=1e-6
    )


def test_a_budget_of_time_degrades_and_late_vectors_serve_the_next_query(world: World) -> None:
    world.model.gate.clear()
    query = world.new_queries.vectors[:1]
    best = world.rows.search(query, 10)[1][0].tolist()
    with world.lazy(depth=10, seconds_per_query=0.05) as lazy:
        assert lazy.search(query, k=10)[1][0].tolist() == best
        assert lazy.counters.degraded == 10
        assert lazy.counters.rows_embedded == 0
        world.model.gate.set()
        assert lazy.flush() == 0
    assert world.rows.native == set(best)
    assert lazy.counters.rows_embedded == 10


def test_what_is_too_late_to_begin_is_given_up(world: World) -> None:
    world.model.gate.clear()
    with world.lazy(depth=30, seconds_per_query=1.0, batch_size=5) as lazy:
        lazy.search(world.new_queries.vectors[:1], k=5)
        world.model.gate.set()
        lazy.flush()
    assert sorted(world.model.asked) == sorted(world.rows.written)
    assert len(world.model.asked) == 5


def test_a_failing_embedder_degrades_and_is_counted(world: World) -> None:
    world.model.error = RuntimeError("out of memory")
    query = world.new_queries.vectors[:1]
    with world.lazy(depth=10) as lazy:
        assert lazy.search(query, k=10)[1].tolist() == world.rows.search(query, 10)[1].tolist()
        assert (lazy.counters.embedder_failures, lazy.counters.degraded) == (1, 10)
        assert lazy.counters.last_error == "the embedder: out of memory"
        world.model.error = None
        lazy.search(query, k=10)
        assert (lazy.counters.embedder_failures, lazy.counters.degraded) == (1, 10)
        assert len(world.rows.native) == 10 or lazy.flush() == 0
    assert len(world.rows.native) == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_inside_the_embedder_is_not_swallowed(world: World, error: BaseException) -> None:
    world.model.error = error
    with world.lazy(depth=10) as lazy:
        with pytest.raises(type(error)):
            lazy.search(world.new_queries.vectors[:1], k=10)
        world.model.error = None
        lazy.search(world.new_queries.vectors[:1], k=10)
        assert lazy.counters.embedder_failures == 0
    assert len(world.rows.native) == 10


def test_vectors_of_another_space_are_an_error_and_never_written(world: World) -> None:
    lazy = LazyBackfill(world.rows.search, look_up(world.old), world.rows, JOB, depth=5)
    with lazy, pytest.raises(SpaceMismatchError, match="The native vectors must be in space 'new@1'. Got 'old@1'"):
        lazy.search(world.new_queries.vectors[:1], k=5)
    assert world.rows.native == set()


def test_items_that_are_gone_stay_converted_and_are_asked_for_once(world: World) -> None:
    query = world.new_queries.vectors[:1]
    best = world.rows.search(query, 10)[1][0].tolist()
    items = world.new.select([int(each[1:]) for each in best if each != best[3]])
    model = Model(items)
    with LazyBackfill(world.rows.search, model, world.rows, JOB, depth=10) as lazy:
        lazy.search(query, k=5)
        lazy.flush()
        count = len(model.asked)
        _, nearest = LazyBackfill.search(lazy, query, k=10)
        assert best[3] in nearest[0].tolist()
        assert model.asked.count(best[3]) == 1
        assert lazy.counters.items_refused >= 1
        assert count == 10
    assert best[3] not in world.rows.native


def test_a_store_that_is_down_fails_no_query_and_gets_its_rows_later(world: World) -> None:
    world.rows.down = True
    query = world.new_queries.vectors[:1]
    with world.lazy(depth=30) as lazy:
        _, first = lazy.search(query, k=10)
        assert lazy.flush() == 30
        assert lazy.counters.write_failures >= 1
        assert lazy.counters.last_error is not None
        assert "the store is closed today" in lazy.counters.last_error
        assert lazy.search(query, k=10)[1].tolist() == first.tolist()
        assert len(world.model.asked) == 30
        world.rows.down = False
        assert lazy.flush() == 0
    assert len(world.rows.native) == 30


def test_rows_that_the_store_refuses_hold_up_no_others(world: World) -> None:
    world.rows.refuses = set(world.ids[::20])
    lazy = world.lazy(depth=ITEMS)
    lazy.search(world.new_queries.vectors[:1], k=10)
    assert lazy.flush() == 15
    with pytest.raises(StoreError, match="refused 15 vectors"):
        lazy.close()
    assert world.rows.native == set(world.ids) - world.rows.refuses


def test_closing_writes_what_waits_also_after_an_interrupt(world: World) -> None:
    world.rows.down = True
    lazy = world.lazy(depth=10)

    def serve_and_be_stopped() -> None:
        with lazy:
            lazy.search(world.new_queries.vectors[:1], k=10)
            lazy.flush()
            world.rows.down = False
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve_and_be_stopped()
    assert len(world.rows.native) == 10
    with pytest.raises(InputError, match="this LazyBackfill was closed"):
        lazy.search(world.new_queries.vectors[1:9], k=10)


def test_a_store_that_cannot_be_read_fails_no_query_and_costs_nothing(world: World) -> None:
    with world.lazy(depth=20) as lazy:
        world.rows.unreadable = True
        scores, ids = lazy.search(world.new_queries.vectors, k=5)
        expected_scores, expected_ids = world.rows.search(world.new_queries.vectors, 20)
        assert ids.tolist() == expected_ids[:, :5].tolist()
        np.testing.assert_allclose(scores, expected_scores[:, :5])
        assert lazy.warm_up(["d1", "d2"]) == 0
        counters = lazy.counters
        assert (counters.read_failures, counters.rows_embedded) == (2, 0)
        assert counters.degraded == counters.candidates
        assert "cannot be read" in str(counters.last_error)
        world.rows.unreadable = False
        lazy.search(world.new_queries.vectors[:1], k=5)
        assert lazy.counters.rows_embedded == 20


def test_vectors_that_the_search_brings_along_are_taken_and_old_ones_are_not_paid_for_again(world: World) -> None:
    stale = TargetRows(world.ids, world.converted.vectors, np.zeros(ITEMS, dtype=bool))
    fixed = Rows(world.ids, world.converted.vectors)
    query = world.new_queries.vectors[:1]
    with LazyBackfill(
        lambda queries, k: (*fixed.search(queries, k), stale), world.model, world.rows, JOB, depth=20
    ) as lazy:
        first = lazy.search(query, k=20)
        lazy.flush()
        again = lazy.search(query, k=20)
        assert (lazy.counters.hits, lazy.counters.degraded, lazy.counters.rows_embedded) == (0, 0, 20)
    assert again[1].tolist() == first[1].tolist()
    assert len(world.model.asked) == 20
    with LazyBackfill(
        lambda queries, k: (*fixed.search(queries, k), stale), world.model, world.rows, JOB, depth=20, rows_per_query=0
    ) as lazy:
        world.rows.unreadable = True
        converted = lazy.search(query, k=20)
        assert lazy.counters.read_failures == 0
    assert converted[1].tolist() == fixed.search(query, 20)[1].tolist()


@pytest.mark.parametrize("shape", [(ITEMS, 11), (ITEMS - 1, 12)])
def test_vectors_that_the_search_brings_along_must_fit_the_ids_and_the_space(
    world: World, shape: tuple[int, int]
) -> None:
    rows = TargetRows(world.ids, np.zeros(shape, np.float32), np.zeros(ITEMS, dtype=bool))
    with (
        LazyBackfill(lambda queries, k: (*world.rows.search(queries, k), rows), world.model, world.rows, JOB) as lazy,
        pytest.raises(InputError, match=r"one target vector for each id along, \(300, 12\). Got"),
    ):
        lazy.search(world.new_queries.vectors[:1], k=5)


def test_paid_vectors_survive_a_store_that_refuses_them_to_the_end(world: World, tmp_path: Path) -> None:
    spill = tmp_path / "spill.parquet"
    lazy = world.lazy(depth=20, spill=spill)
    world.rows.down = True
    lazy.search(world.new_queries.vectors[:1], k=5)
    with pytest.raises(StoreError, match=r"refused 20 vectors that were embedded: .*They are in .*spill.parquet"):
        lazy.close()
    world.rows.down = False
    embedded = len(world.model.asked)
    with world.lazy(depth=20, spill=spill) as again:
        assert again.counters.rows_waiting == 20
        again.search(world.new_queries.vectors[:1], k=5)
    assert len(world.model.asked) == embedded, "nothing was embedded twice"
    assert len(world.rows.native) == 20
    assert not spill.exists()


def test_without_a_spill_file_closing_can_be_repeated(world: World) -> None:
    lazy = world.lazy(depth=20)
    world.rows.down = True
    lazy.search(world.new_queries.vectors[:1], k=5)
    with pytest.raises(StoreError, match=r"still in memory: repair the store and call close\(\) again"):
        lazy.close()
    world.rows.down = False
    lazy.close()
    assert len(world.rows.native) == 20


def test_warming_up_embeds_what_was_asked_for_most_often(world: World) -> None:
    log = ["d9", "d7", "d9", "d8", "d7", "d9", "gone"]
    with world.lazy(batch_size=2) as lazy:
        assert lazy.warm_up(log, rows=2) == 2
        assert world.model.asked == ["d9", "d7"]
        counts: list[int] = []
        assert lazy.warm_up(log, progress=counts.append) == 1
        assert sum(counts) == 4
        assert lazy.warm_up(log) == 0
    assert world.rows.native == {"d7", "d8", "d9"}


def test_a_candidate_without_any_vector_comes_last(world: World) -> None:
    del world.rows.vectors["d1"]
    result = np.array([["d1", "d2", "d3"]], dtype=object)
    model = Model(world.new.select([2, 3]))
    with LazyBackfill(lambda queries, k: (np.zeros((1, k)), result), model, world.rows, JOB, depth=3) as lazy:
        scores, ids = lazy.search(world.new_queries.vectors[:1], k=3)
    assert ids[0, 2] == "d1"
    assert scores[0, 2] == -np.inf


def test_bad_input(world: World) -> None:
    with pytest.raises(InputError, match="depth must be positive. Got 0"):
        world.lazy(depth=0)
    with pytest.raises(InputError, match="seconds_per_query must be 0 or more, or None. Got -1"):
        world.lazy(seconds_per_query=-1)
    with pytest.raises(InputError, match=r"query_weights must have shape \(12, 12\). Got \(3, 3\)"):
        world.lazy(query_weights=np.eye(3, dtype=np.float32))
    with world.lazy(depth=5) as lazy, pytest.raises(InputError, match="k must lie between 1 and the depth, 5. Got 6"):
        lazy.search(world.new_queries.vectors, k=6)


def test_items_are_embedded_by_id_and_failures_named() -> None:
    class Lengths:
        space = SpaceVersion(name="lengths", version="1", dim=1, similarity="euclidean")
        chunk_size = 4

        def extract(self, items: Sequence[str]) -> NDArray[np.float32]:
            if "bad" in items:
                raise ExtractionError("bad is not a text")
            return np.array([[len(item)] for item in items], dtype=np.float32)

    skipped: list[Any] = []
    embed = embed_items(Lengths(), {"a": "one", "b": "bad", "c": "three"}, on_skip=skipped.append)
    result = embed(["c", "x", "b", "a"])
    assert dict(zip(result.ids.tolist(), result.vectors[:, 0].tolist(), strict=True)) == {"c": 5.0, "a": 3.0}
    assert {item.id: item.reason for item in skipped} == {"x": "there is no such item", "b": "bad is not a text"}


def replay(world: World, *, weighted_queries: Embeddings | None = None, **options: Any) -> LazyCurve:
    queries = world.old_queries, world.new_queries
    sides = Sides(*queries, world.old, world.new, world.converted, weighted_queries=weighted_queries)
    relevance = match_qrels(
        Qrels.one_each(world.ids[:QUERIES]), world.old_queries.ids, world.old.ids, exclude_self=False
    )
    return replay_lazy(sides, relevance, np.arange(ITEMS) >= 250, **options)


def test_replayed_as_deep_as_the_gallery_every_query_gets_the_reindex(world: World) -> None:
    report = evaluate_retrieval(
        old_queries=world.old_queries,
        new_queries=world.new_queries,
        old_gallery=world.old,
        new_gallery=world.new,
        converted=world.converted,
        qrels=Qrels.one_each(world.ids[:QUERIES]),
    )
    for weight in (None, 0.5):
        curve = replay(world, depth=ITEMS, weight=weight)
        assert np.array_equal(curve.values, report.per_query["full_reindex"])
        assert np.array_equal(curve.reindex, report.per_query["full_reindex"])
        assert curve.embedded.tolist() == [250] * QUERIES
        assert curve.native_fraction()[-1] == 1.0


@pytest.mark.parametrize("weight", [None, 0.5])
def test_weighted_queries_are_served_as_they_were_measured(world: World, weight: float | None) -> None:
    weights = np.diag(np.linspace(0.2, 1.5, 12)).astype(np.float32)
    vectors = weigh_queries(world.new_queries.vectors, weights)
    weighted = Embeddings(vectors, world.new_queries.ids, NEW)
    curve = replay(world, depth=10, weight=weight, weighted_queries=weighted)
    assert curve.values.tolist() != replay(world, depth=10, weight=weight).values.tolist()
    old = Rows(world.ids, world.old.vectors)
    world.rows.write_native(JOB, world.ids[-50:], world.new.vectors[-50:])
    first = FusedSearch(world.rows.search, old.search, weight=weight or 0.5, depth=ITEMS).search
    with LazyBackfill(
        world.rows.search if weight is None else first, world.model, world.rows, JOB, depth=10, query_weights=weights
    ) as lazy:
        for number in curve.order.tolist():
            sides = [world.new_queries, world.old_queries][: 1 if weight is None else 2]
            _, ids = lazy.search(*(side.vectors[number][np.newaxis] for side in sides), k=10)
            lazy.flush()
            rank = ids[0].tolist().index(world.ids[number]) + 1 if world.ids[number] in ids[0] else np.inf
            assert curve.values[number] == pytest.approx(1 / np.log2(1 + rank) if rank < np.inf else 0)


def test_the_curve_costs_more_and_more_and_repeats_itself(world: World) -> None:
    curve = replay(world, depth=10)
    assert (np.diff(curve.embedded) >= 0).all()
    assert 0 < curve.embedded[0] <= 10
    assert curve.values.mean() > report_of(world).lines["converted"].value
    result = curve.to_dict()
    assert result == replay(world, depth=10).to_dict() | {"counters": result["counters"]}
    assert result["queries_served"][-1] == QUERIES  # type: ignore[index, call-overload]
    assert result["rows_embedded"][-1] == curve.counters.rows_embedded  # type: ignore[index, call-overload]
    assert np.isclose(np.mean(result["values"]), curve.values.mean())  # type: ignore[arg-type]
    assert replay(world, depth=10, seed=1).order.tolist() != curve.order.tolist()


def test_a_warm_gallery_costs_nothing_more(world: World) -> None:
    curve = replay(world, depth=10, warm_up=world.ids)
    assert curve.embedded.tolist() == [250] * QUERIES
    assert curve.counters.hit_rate == 1.0


def test_a_query_never_finds_itself(world: World) -> None:
    queries = world.old.select(range(QUERIES)), world.new.select(range(QUERIES))
    sides = Sides(*queries, world.old, world.new, world.converted)
    qrels = Qrels({f"d{row}": {f"d{row}": 1.0, f"d{row + 1}": 1.0} for row in range(QUERIES)})
    relevance = match_qrels(qrels, queries[0].ids, world.old.ids, exclude_self=True)
    curve = replay_lazy(sides, relevance, np.zeros(ITEMS, dtype=bool), depth=ITEMS, metric="mrr")
    assert np.array_equal(curve.values, curve.reindex)


def report_of(world: World) -> Any:
    return evaluate_retrieval(
        old_queries=world.old_queries,
        new_queries=world.new_queries,
        old_gallery=world.old,
        new_gallery=world.new,
        converted=world.converted,
        qrels=Qrels.one_each(world.ids[:QUERIES]),
    )
