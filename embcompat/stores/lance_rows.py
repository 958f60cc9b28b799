"""Rows of a Lance table: their ids, the filters that find them, and reading them in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import pyarrow as pa

from embcompat.stores.keys import KeyCodec
from embcompat.stores.lance_columns import literal, native, quoted, stored


@final
@dataclass(frozen=True)
class LanceKeys:
    """The key columns of a Lance table.

    Attributes:
        names: Their names.
        codec: Writes keys as ids and reads them back.
    """

    names: tuple[str, ...]
    codec: KeyCodec

    def ids(self, rows: pa.RecordBatch | pa.Table) -> list[str]:
        """Return the ids of rows."""
        columns = [rows.column(name).to_pylist() for name in self.names]
        return self.codec.ids([native(values, kind) for values, kind in zip(columns, self.codec.kinds, strict=True)])

    def columns(self, ids: Sequence[str], schema: pa.Schema) -> dict[str, pa.Array]:
        """Return the key columns of ids."""
        each = zip(self.names, self.codec.columns(ids), self.codec.kinds, strict=True)
        return {name: pa.array(stored(values, kind), schema.field(name).type) for name, values, kind in each}

    def among(self, ids: Sequence[str]) -> str:
        """Return the filter of rows with one of the given ids."""
        keys = list(zip(*self.codec.columns(ids), strict=True))
        if len(self.names) == 1:
            return f"{quoted(self.names[0])} IN ({', '.join(literal(key) for (key,) in keys)})" if keys else "false"
        equal = (zip(self.names, key, strict=True) for key in keys)
        rows = (" AND ".join(f"{quoted(name)} = {literal(value)}" for name, value in key) for key in equal)
        return " OR ".join(f"({row})" for row in rows) or "false"


def batches(query: Any, batch_size: int) -> Iterator[pa.RecordBatch]:
    """Read the rows of a query in batches of about ``batch_size``, however small the fragments are."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in query.to_batches(batch_size):
        held.append(batch)
        rows += len(batch)
        if rows >= batch_size:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held, rows = [], 0
    if rows:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()
