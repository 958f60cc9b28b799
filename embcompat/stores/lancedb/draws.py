"""Rows at random places of a Lance table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from embcompat.errors import StoreError
from embcompat.stores.lancedb.columns import vectors_of
from embcompat.stores.lancedb.rows import LanceKeys
from embcompat.stores.values import Rows

_PAGE_ROWS = 4_096


def draw_rows(
    table: Any, keys: LanceKeys, vector: str, count: int | None, *, seed: int, columns: Sequence[str], url: str
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Take rows at random places until there are ``count`` with a vector; only those rows are read."""
    schema = table.schema
    if absent := [name for name in columns if name not in schema.names]:
        raise StoreError(f"{url}: there is no column {absent[0]!r}. The table has {', '.join(schema.names)}.")
    names = list(dict.fromkeys([*keys.names, vector, *columns]))
    places = np.random.default_rng(seed).permutation(table.count_rows())
    wanted = len(places) if count is None else count
    pages: list[pa.Table] = []
    rows = start = 0
    while rows < wanted and start < len(places):
        size = min(wanted - rows, _PAGE_ROWS)
        page = table.take_offsets(sorted(places[start : start + size].tolist())).select(names).to_arrow()
        page = page.filter(page.column(vector).is_valid())
        pages.append(page)
        rows, start = rows + len(page), start + size
    whole = pa.concat_tables(pages) if pages else schema.empty_table().select(names)
    found = pa.concat_arrays(whole.column(vector).chunks or [pa.array([], schema.field(vector).type)])
    values = {name: whole.column(name).to_pylist() for name in columns}
    return Rows(keys.ids(whole), vectors_of(found), np.zeros(len(whole), np.int64)), values
