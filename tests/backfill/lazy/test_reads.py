"""Reads for many threads: as few as possible, and each as good as one of its own."""

# ruff: noqa: ARG002
from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.backfill.lazy.reads import SharedReads
from embcompat.spaces import SpaceVersion
from embcompat.stores.values import Job, TargetRows

JOB = Job("a" * 64, SpaceVersion(name="old", version="1", dim=2), SpaceVersion(name="new", version="1", dim=2))


class Numbers:
    """A store whose rows are numbers; odd ones are native. It is used by one thread at a time."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.errors: dict[str, BaseException] = {}
        self.opened, self.entered = threading.Event(), threading.Event()
        self.opened.set()
        self._busy = threading.Lock()

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        assert self._busy.acquire(blocking=False), "the store was used twice at a time"
        try:
            self.entered.set()
            assert self.opened.wait(30)
            self.reads.append(list(ids))
            for each in ids:
                if each in self.errors:
                    raise self.errors[each]
            numbers = [int(each) for each in ids if each != "gone"]
            vectors = np.array([[number, -number] for number in numbers], dtype=np.float32).reshape(-1, 2)
            return TargetRows([str(number) for number in numbers], vectors, np.array(numbers, dtype=int) % 2 == 1)
        finally:
            self._busy.release()

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        raise NotImplementedError


class Announced(list[str]):
    """Ids that tell when they join a read."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(ids)
        self.joined = threading.Event()

    def __iter__(self) -> Iterator[str]:
        self.joined.set()
        return super().__iter__()


def read_while_busy(store: Numbers, requests: Sequence[Sequence[str]]) -> list[object]:
    """Read the first ids, and all others while that read is under way; return each result or error."""
    reads = SharedReads(store, JOB, threading.Lock())
    store.opened.clear()

    def read(ids: Sequence[str]) -> object:
        try:
            return reads.read(ids)
        except BaseException as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [pool.submit(read, requests[0])]
        assert store.entered.wait(30)
        for ids in requests[1:]:
            announced = Announced(ids)
            futures.append(pool.submit(read, announced))
            assert announced.joined.wait(30)
        store.opened.set()
        return [future.result(30) for future in futures]


def numbers_of(result: object, ids: Sequence[str]) -> list[tuple[float, bool]]:
    assert isinstance(result, dict)
    return [(float(result[each][0][0]), result[each][1]) for each in ids]


def test_one_read_serves_all_that_wait_for_the_store() -> None:
    store = Numbers()
    requests = [[str(number), str(number + 1)] for number in range(9)]
    results = read_while_busy(store, requests)
    assert store.reads == [["0", "1"], [str(number) for number in range(1, 10)]]
    for ids, result in zip(requests, results, strict=True):
        assert numbers_of(result, ids) == [(int(each), int(each) % 2 == 1) for each in ids]


def test_a_read_after_the_other_sees_what_changed_between() -> None:
    store = Numbers()
    reads = SharedReads(store, JOB, threading.Lock())
    assert reads.read(["1", "gone"]).keys() == {"1"}
    assert reads.read(["1"]).keys() == {"1"}
    assert store.reads == [["1", "gone"], ["1"]]


def test_an_id_that_cannot_be_read_fails_no_other_request() -> None:
    store = Numbers()
    store.errors["7"] = OSError("7 cannot be read")
    results = read_while_busy(store, [["1"], ["2", "3"], ["7"], ["4"]])
    assert results[2] is store.errors["7"]
    for ids, result in zip((["1"], ["2", "3"], ["4"]), (results[0], results[1], results[3]), strict=True):
        assert numbers_of(result, ids) == [(int(each), int(each) % 2 == 1) for each in ids]


def test_an_interrupt_stops_one_request_and_none_of_those_that_wait_for_it() -> None:
    store = Numbers()
    store.errors["2"] = KeyboardInterrupt()
    results = read_while_busy(store, [["1"], ["2"], ["3"]])
    assert results[1] is store.errors["2"]
    assert numbers_of(results[2], ["3"]) == [(3, True)]


def test_a_failed_read_leaves_the_next_one_as_it_was() -> None:
    store = Numbers()
    reads = SharedReads(store, JOB, threading.Lock())
    store.errors["2"] = OSError("the store is closed")
    with pytest.raises(OSError, match="the store is closed"):
        reads.read(["2"])
    store.errors.clear()
    assert numbers_of(reads.read(["2"]), ["2"]) == [(2, False)]
    assert store.reads == [["2"], ["2"]]


def test_ids_that_cannot_be_looked_up_leave_the_next_read_as_it_was() -> None:
    store = Numbers()
    reads = SharedReads(store, JOB, threading.Lock())
    with pytest.raises(TypeError, match="unhashable"):
        reads.read([["1"]])  # type: ignore[list-item]
    with ThreadPoolExecutor(1) as pool:
        assert numbers_of(pool.submit(reads.read, ["2"]).result(30), ["2"]) == [(2, False)]


class InterruptedLock:
    """A lock that is interrupted as it is released."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        raise KeyboardInterrupt


def test_an_interrupt_before_the_read_begins_leaves_the_next_one_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = SharedReads(Numbers(), JOB, threading.Lock())
    lock = reads._lock
    begin = reads._begin

    def begin_uninterrupted(shared: object) -> None:
        reads._lock = lock
        begin(shared)  # type: ignore[arg-type]

    monkeypatch.setattr(reads, "_begin", begin_uninterrupted)
    reads._lock = InterruptedLock(lock)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        reads.read(["1"])
    with ThreadPoolExecutor(1) as pool:
        assert numbers_of(pool.submit(reads.read, ["2"]).result(30), ["2"]) == [(2, False)]
