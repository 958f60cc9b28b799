"""Writing one side of rows of a Lance table: whole rows are written again, with what an application changed kept.

Lance finds whole rows by their key alone. Given only the columns that change, it reads all others of the whole table
for every commit and holds them in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from embcompat.stores.digests import vector_digests
from embcompat.stores.lancedb.columns import storage_type, to_column, vectors_of
from embcompat.stores.lancedb.rows import LanceKeys

ADDRESS: Final = "_rowaddr"
"""Column of every Lance table: fragment and place of a row. A row that is changed moves to a new, higher fragment."""

_ATTEMPTS = 5
"""Times that rows are read again because an application changed some of them in that moment [ours]."""


@final
class RowsAhead:
    """Whole rows that a scan has read and a write is to complete, so that they need not be looked for again."""

    def __init__(self) -> None:
        self._held: deque[tuple[dict[str, int], pa.RecordBatch]] = deque()

    def add(self, ids: Sequence[str], rows: pa.RecordBatch) -> None:
        """Keep rows, with `ADDRESS`, until rows that were added later are taken."""
        self._held.append(({identifier: row for row, identifier in enumerate(ids)}, rows))

    def clear(self) -> None:
        """Forget all rows."""
        self._held.clear()

    def take(self, ids: Sequence[str]) -> pa.RecordBatch | None:
        """Return rows that were added together, in the order of their ids; None if they were not."""
        while self._held:
            places, rows = self._held[0]
            if ids[0] in places:
                order = [places.get(identifier, -1) for identifier in ids]
                if -1 not in order:
                    return _ordered(rows, order)
            self._held.popleft()
        return None


def write_side(
    open_table: Callable[[], Any],
    keys: LanceKeys,
    side: str,
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    provenance: dict[str, pa.Array],
    *,
    where: str,
    ahead: pa.RecordBatch | None = None,
) -> int:
    """Write one side of existing rows that meet a condition, in one commit; return how many.

    Args:
        open_table: Opens the newest version of the table.
        keys: Its keys.
        side: The vector column.
        ids: n ids.
        vectors: Array (n, dim).
        provenance: Columns to write beside the vectors, by the end of their name.
        where: Condition on ``target`` and ``source``.
        ahead: The rows, where they were read before.
    """
    places = {identifier: row for row, identifier in enumerate(ids)}
    for _ in range(_ATTEMPTS):
        table = open_table()
        column = to_column(vectors, storage_type(table.schema.field(side).type))
        digests = pa.array(vector_digests(vectors_of(column)))
        named = {f"{side}__{name}": values for name, values in {"digest": digests, **provenance}.items()}
        written = pa.record_batch({side: column, **named})
        rows = _read(table, keys, ids) if ahead is None else ahead
        if not len(rows):
            return 0
        result = _complete(
            table, keys, rows, _ordered(written, [places[identifier] for identifier in keys.ids(rows)]), where=where
        )
        if result.num_updated_rows == len(rows) or (ahead is None and result.num_attempts == 1):
            break
        ahead = None
    return int(result.num_updated_rows)


def carried(table: Any) -> list[str]:
    """Return the columns that are written again with a row: all of them, or none where some hold blobs.

    A query gives where a blob is, not the blob, so Lance must carry it over itself, slow as that is.
    """
    return [] if table.blob_columns() else list(table.schema.names)


def _read(table: Any, keys: LanceKeys, ids: Sequence[str]) -> pa.RecordBatch:
    names = dict.fromkeys([*keys.names, *carried(table), ADDRESS])
    rows = table.search().where(keys.among(ids)).select(list(names)).to_arrow().combine_chunks()
    return rows.to_batches()[0] if len(rows) else pa.RecordBatch.from_pylist([], rows.schema)


def _complete(table: Any, keys: LanceKeys, rows: pa.RecordBatch, written: pa.RecordBatch, *, where: str) -> Any:
    """Write rows again with some columns replaced, except those that were changed since they were read."""
    unchanged = f"target.{ADDRESS} <= {pa.compute.max(rows.column(ADDRESS)).as_py()}"
    columns = {name: rows.column(name) for name in (*keys.names, *carried(table)) if name in rows.schema.names}
    columns |= {name: written.column(name) for name in written.schema.names}
    # An index on the key would be used to look rows up, and then their addresses are not known.
    merge = table.merge_insert(list(keys.names)).use_index(False)
    merge = merge.when_matched_update_all(where=f"{unchanged} AND ({where})")
    return merge.execute(pa.table(columns))


def _ordered(rows: pa.RecordBatch, order: list[int]) -> pa.RecordBatch:
    return rows if order == list(range(len(rows))) else rows.take(pa.array(order, pa.int64()))
