"""Rows of a Lance table: their ids, the filters that find them, reading and writing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from embcompat.embeddings.files import vectors_to_arrow
from embcompat.errors import StoreError
from embcompat.stores.base import Pairs, TargetRows
from embcompat.stores.digests import vector_digests
from embcompat.stores.keys import KeyCodec
from embcompat.stores.lance_columns import literal, native, quoted, stored, vectors_of


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

    def require_unique(self, table: Any, *, where: str) -> None:
        """Raise StoreError if a key repeats or is NULL."""
        keys = table.search().select(list(self.names)).to_arrow()
        if any(keys.column(name).null_count for name in self.names):
            raise StoreError(f"{where}: a key must not be NULL. Rows without a key cannot be found again.")
        if keys.group_by(list(self.names)).aggregate([]).num_rows != len(keys):
            raise StoreError(f"{where}: keys must be unique. {', '.join(self.names)} repeats.")

    def changed(
        self, rows: pa.RecordBatch, vector: str, space: str, source: str, digest: str, *, space_id: str
    ) -> list[str]:
        """Return the ids of rows that do not say that they are of a space, or whose vector is another one by now."""
        digests = vector_digests(vectors_of(rows.column(vector))).tolist()
        said = zip(*(rows.column(name).to_pylist() for name in (space, source, digest)), digests, strict=True)
        flagged = [
            space_said != space_id or (made_from is not None and recorded != now)
            for space_said, made_from, recorded, now in said
        ]
        return [identifier for identifier, flag in zip(self.ids(rows), flagged, strict=True) if flag]

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


def read_pairs(query: Any, keys: LanceKeys, source: str, target: str) -> Pairs:
    """Read both sides of the rows of a query that have both."""
    rows = query.select([*keys.names, source, target, f"{target}__artifact"]).to_arrow().combine_chunks()
    both = pa.compute.and_(rows.column(source).is_valid(), rows.column(target).is_valid())
    rows = rows.filter(both).combine_chunks()
    sides = [_vectors(rows, name) for name in (source, target)]
    return Pairs(keys.ids(rows), sides[0], sides[1], _is_null(rows, f"{target}__artifact"))


def read_side(query: Any, keys: LanceKeys, side: str, dim: int) -> TargetRows:
    """Read the target side of the rows of a query."""
    rows = query.select([*keys.names, side, f"{side}__artifact"]).to_arrow().combine_chunks()
    vectors = _vectors(rows, side).reshape(-1, dim)
    return TargetRows(keys.ids(rows), vectors, _is_null(rows, f"{side}__artifact"))


def merge_rows(
    table: Any,
    keys: LanceKeys,
    side: str,
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    provenance: dict[str, pa.Array],
    *,
    where: str,
) -> int:
    """Write one side of existing rows that meet a condition, in one commit; return how many."""
    columns = keys.columns(ids, table.schema)
    columns[side] = vectors_to_arrow(np.ascontiguousarray(vectors, dtype=np.float32))
    columns[f"{side}__digest"] = pa.array(vector_digests(vectors))
    columns |= {f"{side}__{name}": column for name, column in provenance.items()}
    merge = table.merge_insert(list(keys.names)).when_matched_update_all(where=where)
    return int(merge.execute(pa.table(columns)).num_updated_rows)


def _vectors(rows: pa.Table, column: str) -> NDArray[np.float32]:
    return vectors_of(pa.concat_arrays(rows.column(column).chunks)) if len(rows) else np.empty((0, 0), np.float32)


def _is_null(rows: pa.Table, column: str) -> NDArray[np.bool_]:
    return np.asarray(rows.column(column).is_null().to_numpy(), dtype=bool)
