"""Rows of a Lance table: their ids, the filters that find them, reading and writing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.stores.digests import vector_digests
from embcompat.stores.keys import KeyCodec
from embcompat.stores.lancedb.columns import literal, native, quoted, stored, texts_of, vectors_of
from embcompat.stores.values import Coverage, Pairs, Rows, TargetRows

_KEYS_ROWS = 65_536


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
        hashes = [np.empty(0, np.int64)]
        for keys in table.search().select(list(self.names)).to_batches(_KEYS_ROWS):
            if any(keys.column(name).null_count for name in self.names):
                raise StoreError(f"{where}: a key must not be NULL. Rows without a key cannot be found again.")
            hashes.append(np.fromiter(map(hash, self.ids(keys)), np.int64, len(keys)))
        ordered = np.concatenate(hashes)
        ordered.sort()  # in place: np.unique would take twice the memory
        repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        candidates: set[str] = set()
        for keys in table.search().select(list(self.names)).to_batches(_KEYS_ROWS) if repeated else ():
            for identifier in self.ids(keys):
                if identifier in candidates:
                    raise StoreError(f"{where}: keys must be unique. {', '.join(self.names)} repeats.")
                if hash(identifier) in repeated:
                    candidates.add(identifier)

    def changed(
        self, rows: pa.RecordBatch, vector: str, space: str, source: str, digest: str, *, space_id: str
    ) -> list[str]:
        """Return the ids of rows that do not say that they are of a space, or whose vector is another one by now."""
        digests = vector_digests(vectors_of(rows.column(vector))).tolist()
        provenance = zip(*(rows.column(name).to_pylist() for name in (space, source, digest)), digests, strict=True)
        flagged = [
            space_said != space_id or (made_from is not None and recorded != now)
            for space_said, made_from, recorded, now in provenance
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


def pages(table: Any, names: list[str], batch_size: int, *, null: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read a table page by page: a query of all its rows reads far ahead of who takes them, whatever memory that needs.

    Args:
        table: A version of a table.
        names: Columns to read.
        batch_size: Rows of a page.
        null: Leave out pages that hold no NULL in this column; reading it alone costs little.
    """
    for start in range(0, table.count_rows(), batch_size):

        def read(columns: list[str], start: int = start) -> pa.Table:
            return table.search().select(columns).offset(start).limit(batch_size).to_arrow()

        if null is None or read([null]).column(null).null_count:
            yield from read(names).combine_chunks().to_batches()


def with_value(page: pa.RecordBatch, column: str) -> pa.RecordBatch:
    """Return the rows that have a value in a column; no row is copied where all have one."""
    values = page.column(column)
    return page.filter(values.is_valid()) if values.null_count else page


def rows_of(batch: pa.RecordBatch, keys: LanceKeys, column: str, recorded: str | None, text: str | None) -> Rows:
    """Return the rows of a batch that all have a vector.

    Args:
        batch: The rows.
        keys: The table's keys.
        column: The vector column.
        recorded: The column of the digests on record; None where there is none yet.
        text: The column of the texts that the aligner reads, or None.
    """
    digests = np.zeros(len(batch), np.int64)
    if recorded is not None:
        digests = batch.column(recorded).fill_null(0).to_numpy(zero_copy_only=False)
    texts = texts_of(batch.column(text)) if text else None
    return Rows(keys.ids(batch), vectors_of(batch.column(column)), digests, texts)


def late(batch: pa.RecordBatch, rows: Rows, column: str, space_id: str) -> NDArray[np.bool_]:
    """Tell which rows in service were not made from the old vectors beside them, nor by the new model since."""
    spaces, artifacts, sources = (batch.column(f"{column}__{name}") for name in ("space", "artifact", "source"))
    native = np.array([space == space_id for space in spaces.to_pylist()], dtype=bool)
    native &= np.asarray(pa.compute.and_(artifacts.is_null(), sources.is_null()).to_numpy(zero_copy_only=False), bool)
    result: NDArray[np.bool_] = (rows.digests() != rows.recorded) & ~native
    return result


def counted(table: Any, column: str, side: str | None, space_id: str) -> Coverage:
    """Count the rows of a vector column and of its target side; None where there is no such side yet."""
    source, count = quoted(column), table.count_rows
    without_vector = count(f"{source} IS NULL")
    converted = orphans = native_rows = 0
    if side is not None:
        of_space = f"{quoted(f'{side}__space')} = {literal(space_id)}"
        native_rows = count(f"{of_space} AND {quoted(f'{side}__artifact')} IS NULL")
        recorded = f"{quoted(f'{side}__source')} IS NOT NULL"
        if side == column:
            converted = count(f"{source} IS NOT NULL AND {of_space}")
        elif without_vector:
            converted = count(f"{source} IS NOT NULL AND {recorded}")
            orphans = count(f"{source} IS NULL AND {recorded}")
        else:  # reading the small column alone is far cheaper
            converted = count(recorded)
    return Coverage(count(), without_vector, converted, orphans, native_rows)


def read_pairs(query: Any, keys: LanceKeys, source: str, target: str, text: str | None) -> Pairs:
    """Read both sides of the rows of a query that have both, with their texts where ``text`` names a column."""
    names = [*keys.names, source, target, f"{target}__artifact", f"{target}__source", *([text] if text else [])]
    rows = query.select(list(dict.fromkeys(names))).to_arrow().combine_chunks()
    complete = pa.compute.and_(rows.column(source).is_valid(), rows.column(target).is_valid())
    rows = rows.filter(complete).combine_chunks()
    sides = [_vectors(rows, name) for name in (source, target)]
    texts = texts_of(rows.column(text)) if text else None
    recorded = np.array(rows.column(f"{target}__source").fill_null(0).to_pylist(), dtype=np.int64)
    return Pairs(keys.ids(rows), sides[0], sides[1], _is_null(rows, f"{target}__artifact"), texts, recorded)


def read_side(query: Any, keys: LanceKeys, side: str, dim: int) -> TargetRows:
    """Read the target side of the rows of a query."""
    return side_of(query.select([*keys.names, side, f"{side}__artifact"]).to_arrow(), keys, side, dim)


def side_of(rows: pa.Table, keys: LanceKeys, side: str, dim: int) -> TargetRows:
    """Return the target side of rows that all have a vector there."""
    rows = rows.combine_chunks()
    vectors = _vectors(rows, side).reshape(-1, dim)
    return TargetRows(keys.ids(rows), vectors, _is_null(rows, f"{side}__artifact"))


def _vectors(rows: pa.Table, column: str) -> NDArray[np.float32]:
    chunks = [vectors_of(chunk) for chunk in rows.column(column).chunks]
    return np.concatenate(chunks) if len(rows) else np.empty((0, 0), np.float32)


def _is_null(rows: pa.Table, column: str) -> NDArray[np.bool_]:
    return np.asarray(rows.column(column).is_null().to_numpy(), dtype=bool)
