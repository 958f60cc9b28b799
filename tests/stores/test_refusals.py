from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embcompat.errors import SpaceMismatchError, StoreError
from embcompat.stores.refusals import isolate


@given(st.integers(0, 70), st.sets(st.integers(0, 69), max_size=20))
def test_bisection_finds_exactly_the_bad_rows_and_writes_the_others_once(count: int, bad: set[int]) -> None:
    bad = {row for row in bad if row < count}
    rows_written: list[int] = []

    def attempt(rows: slice) -> None:
        batch = list(range(count))[rows]
        if bad.intersection(batch):
            raise StoreError("refused")
        rows_written.extend(batch)

    assert isolate(count, attempt, limit=21) == dict.fromkeys(sorted(bad), "refused")
    assert sorted(rows_written) == [row for row in range(count) if row not in bad]


def test_a_store_that_refuses_everything_is_told_apart_from_bad_rows() -> None:
    attempts = []

    def refuse(rows: slice) -> None:
        attempts.append(rows)
        raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="the cause is not in the rows. The last reason: the disk is full"):
        isolate(1000, refuse, limit=8)
    assert sum(rows.stop - rows.start == 1 for rows in attempts) == 8


def test_only_the_named_errors_are_refusals() -> None:
    def fail(error: Exception) -> None:
        raise error

    assert isolate(1, lambda _rows: fail(ValueError("odd")), limit=2, blame=Exception) == {0: "odd"}
    assert isolate(1, lambda _rows: fail(KeyError()), limit=2, blame=Exception) == {0: "KeyError"}
    with pytest.raises(ValueError, match="odd"):
        isolate(1, lambda _rows: fail(ValueError("odd")), limit=2)
    with pytest.raises(SpaceMismatchError, match="another space"):
        isolate(2, lambda _rows: fail(SpaceMismatchError("another space")), limit=2, blame=Exception)
