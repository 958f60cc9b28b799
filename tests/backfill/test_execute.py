"""Carrying a backfill out: resumable, complete, and never stopped by a single item."""

# ruff: noqa: ARG002
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.backfill.embed import look_up
from embcompat.backfill.execute import check_belonging, run_backfill
from embcompat.cli.backfill.watch import Watch
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import InputError, SpaceMismatchError, StoreError
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.spaces import SpaceVersion
from embcompat.stores.values import Job, TargetRows

OLD = SpaceVersion(name="old", version="1", dim=8, normalized=True)
NEW = SpaceVersion(name="new", version="1", dim=8, normalized=True)
JOB = Job("a" * 64, OLD, NEW)
IDS = [f"d{row}" for row in range(100)]


class Rows:
    """A gallery in a dictionary."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = dict(zip(IDS, vectors, strict=True))
        self.native: set[str] = set()
        self.refuses: set[str] = set()
        self.vanish: set[str] = set()

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        known = [each for each in ids if each in self.vectors]
        vectors = np.stack([self.vectors[each] for each in known]) if known else np.empty((0, 8), np.float32)
        return TargetRows(known, vectors, np.array([each in self.native for each in known], dtype=bool))

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        if self.refuses & set(ids):
            raise StoreError("no room")
        for lost_id in self.vanish & set(ids):
            del self.vectors[lost_id]
        embedded_rows = {each: vector for each, vector in zip(ids, vectors, strict=True) if each not in self.vanish}
        self.vectors |= embedded_rows
        self.native |= embedded_rows.keys()
        return len(embedded_rows)


RNG = np.random.default_rng(5)
MEANING = RNG.normal(size=(100, 8))
NATIVE = Embeddings(normalize_rows(MEANING.astype(np.float32)), IDS, NEW)
CONVERTED = normalize_rows((MEANING + 0.5 * RNG.normal(size=MEANING.shape)).astype(np.float32))


@pytest.fixture
def rows() -> Rows:
    return Rows(CONVERTED.copy())


def test_the_planned_rows_become_native_and_no_others(rows: Rows) -> None:
    planned = IDS[10:70]
    counts: list[int] = []
    run = run_backfill(planned, rows, JOB, look_up(NATIVE), batch_size=16, progress=counts.append)
    assert (run.planned, run.rows, run.already_native, run.failures) == (60, 60, 0, {})
    assert rows.native == set(planned)
    assert np.array_equal(np.stack([rows.vectors[each] for each in planned]), NATIVE.vectors[10:70])
    assert np.array_equal(np.stack([rows.vectors[each] for each in IDS[70:]]), CONVERTED[70:])
    assert counts == [16, 16, 16, 12]


def test_an_interrupted_run_goes_on_where_it_was(rows: Rows) -> None:
    requests: list[str] = []

    def embed(ids: Sequence[str]) -> Embeddings:
        if len(requests) >= 40:
            raise KeyboardInterrupt
        requests.extend(ids)
        return look_up(NATIVE)(ids)

    with pytest.raises(KeyboardInterrupt):
        run_backfill(IDS, rows, JOB, embed, batch_size=20)
    assert rows.native == set(IDS[:40])
    for batch_size in (7, 64):
        again = run_backfill(IDS, rows, JOB, look_up(NATIVE), batch_size=batch_size)
        assert again.already_native + again.rows == 100
    assert again.rows == 0
    assert rows.native == set(IDS)


def test_what_is_gone_or_refused_is_listed_and_stops_nothing(rows: Rows) -> None:
    del rows.vectors["d3"]
    rows.refuses, rows.vanish = {"d5", "d50"}, {"d7"}

    def embed(ids: Sequence[str]) -> Embeddings:
        if "d9" in ids:
            raise ValueError("d9 is not a text")
        return look_up(NATIVE)([each for each in ids if each != "d11"])

    run = run_backfill(IDS, rows, JOB, embed)
    assert run.failures == {
        "d3": "has no converted row",
        "d5": "no room",
        "d7": "its row is gone",
        "d9": "d9 is not a text",
        "d11": "the model gave no vector",
        "d50": "no room",
    }
    assert run.rows == 94
    assert rows.native == set(IDS) - run.failures.keys()
    assert run.to_dict()["rows"] == 94


def test_a_dead_model_stops_the_run_and_is_named(rows: Rows) -> None:
    def embed(ids: Sequence[str]) -> Embeddings:
        raise RuntimeError("no such device")

    with pytest.raises(StoreError, match="the cause is not in the rows. The last reason: no such device"):
        run_backfill(IDS, rows, JOB, embed)
    assert rows.native == set()


def test_vectors_of_another_space_are_refused(rows: Rows) -> None:
    other = Embeddings(NATIVE.vectors, IDS, OLD)
    with pytest.raises(SpaceMismatchError, match="must be in space 'new@1'"):
        run_backfill(IDS, rows, JOB, look_up(other))
    assert rows.native == set()


def test_vectors_of_other_items_are_refused_before_anything_is_written(rows: Rows) -> None:
    shuffled = Embeddings(NATIVE.vectors[np.random.default_rng(0).permutation(100)], IDS, NEW)
    with pytest.raises(InputError, match="native vectors must lie close .* chance gives 50 %"):
        run_backfill(IDS, rows, JOB, look_up(shuffled))
    assert rows.native == set()


def test_belonging_passes_weak_aligners_and_refuses_chance() -> None:
    rng = np.random.default_rng(0)
    for noise in (0.0, 0.5, 1.0):
        weak = (MEANING + noise * rng.normal(size=MEANING.shape)).astype(np.float32)
        check_belonging(NATIVE.vectors[:64], normalize_rows(weak)[:64], NEW)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(64)
        with pytest.raises(InputError, match="Nothing was written"):
            check_belonging(NATIVE.vectors[:64], CONVERTED[order], NEW)


def test_a_watch_follows_the_run_from_converted_to_native(rows: Rows) -> None:
    qrels = Qrels.one_each(IDS)
    watch = Watch(rows, JOB, [*IDS, "gone"], IDS, queries=NATIVE, qrels=qrels, metric="mrr")
    run_backfill(IDS, rows, JOB, look_up(NATIVE), batch_size=5, progress=watch.advance)
    assert [each["done"] for each in watch.measured] == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    values = [each["value"] for each in watch.measured]
    # the oracle: the rank of each own row among the converted ones
    scores = NATIVE.vectors @ CONVERTED.T
    ranks = 1 + (scores > np.diagonal(scores)[:, np.newaxis]).sum(axis=1)
    assert values[0] == pytest.approx((1 / ranks).mean())
    assert values[0] < values[5] < values[-1] == 1.0
    with pytest.raises(SpaceMismatchError, match="The queries must be in space 'new@1'"):
        Watch(rows, JOB, IDS, IDS, queries=Embeddings(NATIVE.vectors, IDS, OLD), qrels=qrels, metric="mrr")
    with pytest.raises(InputError, match="must have a relevant item in the converted gallery"):
        Watch(rows, JOB, IDS, IDS, queries=NATIVE, qrels=Qrels({"d1": {"x": 1.0}}), metric="mrr")


def test_bad_input(rows: Rows) -> None:
    with pytest.raises(InputError, match="ids must be different. Got 3 with 2 different ones"):
        run_backfill(["d1", "d2", "d1"], rows, JOB, look_up(NATIVE))
    with pytest.raises(InputError, match="batch_size must be at least 1. Got 0"):
        run_backfill(["d1"], rows, JOB, look_up(NATIVE), batch_size=0)
    assert run_backfill([], rows, JOB, look_up(NATIVE)).rows == 0
