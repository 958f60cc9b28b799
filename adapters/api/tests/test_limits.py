from __future__ import annotations

import pytest
from embcompat_api.limits import Budget, MinuteLimits, cut_batches
from hypothesis import given
from hypothesis import strategies as st

from embcompat.errors import InputError, ServiceError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@given(
    requests=st.integers(1, 5) | st.none(),
    tokens=st.integers(1, 50) | st.none(),
    sizes=st.lists(st.integers(1, 60), max_size=30),
)
def test_no_minute_holds_more_than_the_limits(requests: int | None, tokens: int | None, sizes: list[int]) -> None:
    clock, times = Clock(), []
    limits = MinuteLimits(requests, tokens, clock=clock, sleep=clock.sleep)
    for size in sizes:
        limits.wait(size)
        times.append((clock.now, size))
    for start, _ in times:
        minute = [size for time, size in times if start <= time < start + 59.999]
        assert requests is None or len(minute) <= requests
        assert tokens is None or sum(minute) <= tokens or len(minute) == 1


def test_nothing_waits_without_limits_or_below_them() -> None:
    clock = Clock()
    limits = MinuteLimits(3, 100, clock=clock, sleep=clock.sleep)
    for _ in range(3):
        limits.wait(30)
    assert clock.now == 0
    limits.wait(1)
    assert clock.now == 60


@given(st.lists(st.text(max_size=20), max_size=40), st.integers(1, 9), st.integers(1, 30))
def test_batches_keep_order_and_limits(texts: list[str], items: int, tokens: int) -> None:
    sizes = [len(text) + 1 for text in texts]
    batches = list(cut_batches(texts, sizes, items=items, tokens=tokens))
    assert [text for batch in batches for text in batch] == texts
    for batch in batches:
        assert len(batch) <= items
        assert len(batch) == 1 or sum(len(text) + 1 for text in batch) <= tokens


def test_the_estimate_follows_what_the_service_counted() -> None:
    budget = Budget(price=2.0, max_cost=None)
    assert budget.tokens_of(["a" * 300]) == 101
    budget.count(["a" * 10_000], 1_000)
    assert budget.tokens_of(["a" * 300]) == 31
    assert budget.cost_of(500_000) == 1.0


def test_the_cap_is_checked_before_it_is_reached() -> None:
    budget = Budget(price=10.0, max_cost=0.01)  # 1,000 tokens
    budget.check(1_000)
    budget.count(["a"], 900)
    budget.check(100)
    with pytest.raises(ServiceError, match="101 tokens would cost 0.00101; 0.009 is spent, and max_cost is 0.01"):
        budget.check(101)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, 5.0), "max_cost needs price"),
        ((-1.0, None), "price must not be negative"),
        ((1.0, float("nan")), "max_cost must not be negative. Got nan"),
    ],
)
def test_budgets_that_make_no_sense(options: tuple[float | None, float | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Budget(*options)


def test_limits_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="requests_per_minute must be at least 1. Got 0"):
        MinuteLimits(0, None)
