from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from embcompat.migration.pipeline import run_pipeline


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_results_are_written_in_order(threads: int, count: int) -> None:
    written: list[tuple[int, int]] = []

    def compute(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item * item

    run_pipeline(iter(range(count)), compute, lambda item, result: written.append((item, result)), threads=threads)
    assert written == [(item, item * item) for item in range(count)]


def test_only_a_few_items_are_held() -> None:
    read, written, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal read, most
        for item in range(50):
            read += 1
            most = max(most, read - written)
            yield item

    def write(_item: int, _result: int) -> None:
        nonlocal written
        time.sleep(0.001)
        written += 1

    run_pipeline(items(), lambda item: item, write, threads=2)
    assert most <= 5


def test_the_three_stages_run_on_different_threads_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def items() -> Iterator[int]:
        yield 0
        yield 1
        meeting.wait()
        yield 2

    def compute(item: int) -> int:
        if item == 1:
            meeting.wait()
        return item

    def write(item: int, _result: int) -> None:
        if item == 0:
            meeting.wait()

    run_pipeline(items(), compute, write, threads=1)


@pytest.mark.parametrize("stage", ["read", "compute", "write"])
def test_the_first_error_is_raised_and_what_came_before_is_written(stage: str) -> None:
    written: list[int] = []

    def fail(item: int, where: str) -> None:
        if stage == where and item == 5:
            raise ValueError(f"{stage} broke")

    def items() -> Iterator[int]:
        for item in range(100):
            fail(item, "read")
            yield item

    def compute(item: int) -> int:
        fail(item, "compute")
        return item

    def write(item: int, _result: int) -> None:
        fail(item, "write")
        written.append(item)

    with pytest.raises(ValueError, match=f"{stage} broke"):
        run_pipeline(items(), compute, write, threads=2)
    assert written == list(range(len(written)))
    assert len(written) <= 5
    assert stage == "read" or len(written) == 5
