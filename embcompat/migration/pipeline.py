"""Reading, computing and writing at the same time, in order and in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

_END = object()


def run_pipeline(
    read: Iterator[T], compute: Callable[[T], U], write: Callable[[T, U], None], *, threads: int = 1
) -> None:
    """Read items, compute on ``threads`` threads, and write the results in the order of the items.

    One thread reads ahead; writing happens in the calling thread. At most ``threads`` + 3 items are held. The first
    error of any stage ends the run and is raised here; everything written before it stays written. A generator is
    closed at the end.

    Args:
        read: The items.
        compute: Computes the result of one item; called from several threads when ``threads`` > 1.
        write: What to do with an item and its result.
        threads: Number of threads that compute.

    Example:
        >>> results = []
        >>> run_pipeline(iter([3, 4]), lambda x: x * x, lambda x, y: results.append((x, y)), threads=2)
        >>> results
        [(3, 9), (4, 16)]
    """
    try:
        _run(read, compute, write, threads)
    finally:
        if isinstance(read, Generator):
            read.close()


def _run(read: Iterator[T], compute: Callable[[T], U], write: Callable[[T, U], None], threads: int) -> None:
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(threads, "compute") as computers:
        started: deque[tuple[T, Future[U]]] = deque()
        try:
            ahead = reader.submit(next, read, _END)
            while (item := ahead.result()) is not _END:
                ahead = reader.submit(next, read, _END)
                started.append((item, computers.submit(compute, item)))  # type: ignore[arg-type]
                if len(started) > threads:
                    _write_first(started, write)
            while started:
                _write_first(started, write)
        finally:
            for _, future in started:
                future.cancel()


def _write_first(started: deque[tuple[T, Future[U]]], write: Callable[[T, U], None]) -> None:
    item, future = started.popleft()
    write(item, future.result())
