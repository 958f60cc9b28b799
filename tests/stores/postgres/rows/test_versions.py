"""Versions of rows between reading and writing."""

from __future__ import annotations

import numpy as np

from embcompat.stores.postgres.rows.versions import Versions


def test_a_page_is_kept_until_a_later_one_is_written() -> None:
    versions = Versions()
    versions.add(["a", "b"], np.array([5, 6]), np.array([0, 2]))
    versions.add(["a", "c"], np.array([7, 8]), np.array([0, 0]))
    assert [values.tolist() for values in versions.of(["a", "b"])] == [[5, 6], [0, 2]]
    assert [values.tolist() for values in versions.of(["b", "a", "x"])] == [[6, 5, 0], [2, 0, 0]]
    versions.discard(["a"])
    assert [values.tolist() for values in versions.of(["b", "a"])] == [[6, 0], [2, 0]]
    assert versions.of(["a"])[0].tolist() == [7], "the next page has the row again"
    assert versions.of(["b"])[0].tolist() == [0], "and the one before it is gone"
    versions.clear()
    assert versions.of(["c"])[0].tolist() == [0]
