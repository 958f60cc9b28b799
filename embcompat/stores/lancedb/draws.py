"""Rows at random places of a Lance table, and rows by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.errors import InputError, StoreError
from embcompat.stores.lancedb.columns import vectors_of
from embcompat.stores.lancedb.rows import LanceKeys
from embcompat.stores.values import Rows

_PAGE_ROWS = 4_096


@dataclass(frozen=True)
class Places:
    """Where rows are, in random order.

    Attributes:
        numbers: Positions in the table, or row ids.
        are_row_ids: Which of the two.
    """

    numbers: NDArray[np.int64]
    are_row_ids: bool

    def take(self, table: Any, start: int, size: int) -> Any:
        """Return a query that reads some of the rows."""
        numbers = sorted(self.numbers[start : start + size].tolist())
        return table.take_row_ids(numbers) if self.are_row_ids else table.take_offsets(numbers)


def random_places(table: Any, keys: LanceKeys, where: str | None, *, seed: int, url: str) -> Places:
    """Return the places of all rows, or of those that meet a condition of Lance's SQL; vectors are not read.

    Raises:
        InputError: If Lance cannot evaluate the condition.
    """
    rng = np.random.default_rng(seed)
    if where is None:
        return Places(rng.permutation(table.count_rows()), are_row_ids=False)
    try:
        matches = table.search().where(where).select(list(keys.names)).with_row_id(True).to_arrow()
    except Exception as error:  # lancedb has no class of its own
        raise InputError(f"{url} cannot evaluate the condition {where!r}: {error}") from error
    return Places(rng.permutation(matches.column("_rowid").to_numpy().astype(np.int64)), are_row_ids=True)


def draw_rows(
    table: Any, keys: LanceKeys, vector: str, places: Places, count: int | None, *, columns: Sequence[str], url: str
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Take rows at random places until there are ``count`` with a vector; only those rows are read."""
    names = _names(table, keys, vector, columns, url)
    most = len(places.numbers) if count is None else count
    pages: list[pa.Table] = []
    rows = start = 0
    while rows < most and start < len(places.numbers):
        size = min(most - rows, _PAGE_ROWS)
        pages.append(_present(places.take(table, start, size), names, vector))
        rows, start = rows + len(pages[-1]), start + size
    return _joined(table, keys, vector, pages, columns)


def look_up_rows(
    table: Any, keys: LanceKeys, vector: str, ids: Sequence[str], *, columns: Sequence[str], url: str
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Read the given rows that have a vector, and nothing else of the table."""
    names = _names(table, keys, vector, columns, url)
    filters = (keys.among(ids[start : start + _PAGE_ROWS]) for start in range(0, len(ids), _PAGE_ROWS))
    pages = [_present(table.search().where(condition), names, vector) for condition in filters]
    return _joined(table, keys, vector, pages, columns)


def _names(table: Any, keys: LanceKeys, vector: str, columns: Sequence[str], url: str) -> list[str]:
    schema = table.schema
    if absent := [name for name in columns if name not in schema.names]:
        raise StoreError(f"{url}: there is no column {absent[0]!r}. The table has {', '.join(schema.names)}.")
    return list(dict.fromkeys([*keys.names, vector, *columns]))


def _present(query: Any, names: list[str], vector: str) -> pa.Table:
    page = query.select(names).to_arrow()
    return page.filter(page.column(vector).is_valid())


def _joined(
    table: Any, keys: LanceKeys, vector: str, pages: list[pa.Table], columns: Sequence[str]
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    schema = table.schema
    names = list(dict.fromkeys([*keys.names, vector, *columns]))
    whole = pa.concat_tables(pages) if pages else schema.empty_table().select(names)
    column = pa.concat_arrays(whole.column(vector).chunks or [pa.array([], schema.field(vector).type)])
    values = {name: whole.column(name).to_pylist() for name in columns}
    return Rows(keys.ids(whole), vectors_of(column), np.zeros(len(whole), np.int64)), values
