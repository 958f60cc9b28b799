"""Choosing records of a collection, and reading them by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embcompat.stores.collections.backend import Collections
from embcompat.stores.collections.records import rows_of
from embcompat.stores.values import Rows


def drawn_ids(collections: Collections, name: str, count: int | None, *, seed: int, where: str | None) -> list[str]:
    """Return ids of records in random order: at most ``count``, and those that meet a condition."""
    ids = [key for page in collections.ids(name, where=where) for key in page]
    return [ids[place] for place in np.random.default_rng(seed).permutation(len(ids))[:count]]


def look_up(
    collections: Collections, name: str, ids: Sequence[str], *, columns: Sequence[str]
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Read the records with the given ids, and other columns of them."""
    size = collections.page_rows
    records = [
        record for start in range(0, len(ids), size) for record in collections.read(name, ids[start : start + size])
    ]
    values: dict[str, Sequence[Any]] = {
        column: [collections.value(record, column) for record in records] for column in columns
    }
    return rows_of(records, [0] * len(records), None, collections.dim(name)), values
