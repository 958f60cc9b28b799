"""Rows of a DuckDB table and of the tables beside it, between SQL and arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.files.vectors import lengths_and_vectors, vectors_to_arrow
from embcompat.stores.digests import vector_digests
from embcompat.stores.duckdb.connection import quoted
from embcompat.stores.duckdb.sides import Sides
from embcompat.stores.keys import KeyCodec
from embcompat.stores.values import Job, Pairs, Phase, Rows, TargetRows


def key_texts(sides: Sides, alias: str) -> str:
    """Return the key columns as texts, as `ids_of` reads them."""
    return ", ".join(f"CAST({alias}.{quoted(key)} AS VARCHAR) AS k{n}" for n, key in enumerate(sides.table.keys))


def ids_of(sides: Sides, batch: pa.RecordBatch | pa.Table) -> list[str]:
    """Return the ids of rows whose first columns are the key columns as texts."""
    kinds = sides.table.key_kinds()
    columns = [batch.column(n).to_pylist() for n in range(len(kinds))]
    if len(kinds) == 1:
        return list(columns[0])
    plain = [list(map(int, values)) if kind == "int" else values for kind, values in zip(kinds, columns, strict=True)]
    return KeyCodec(kinds).ids(plain)


def batch_of(sides: Sides, ids: Sequence[str], **columns: Any) -> pa.Table:
    """Return keys, and columns of the tables beside, as a table that `batch_rows` reads."""
    keys = KeyCodec(sides.table.key_kinds()).columns(ids)
    entries = {f"k{n}": pa.array(list(map(str, values)), pa.string()) for n, values in enumerate(keys)}
    for name, values in columns.items():
        column = vectors_to_arrow(values) if name == "vector" else pa.array(values)
        entries[f"{sides.table.vector}__{name}"] = column
    return pa.table(entries)


def batch_rows(sides: Sides) -> str:
    """Return the rows of a batch with native keys."""
    keys = ", ".join(f"CAST(k{n} AS {kind}) AS {quoted(key)}" for n, (key, kind) in enumerate(sides.table.keys.items()))
    old = ", ".join(f"k{n}" for n in range(len(sides.table.keys)))
    return f"(SELECT {keys}, * EXCLUDE ({old}) FROM {{batch}})"


def vectors_of(column: pa.Array | pa.ChunkedArray, dim: int, where: str) -> NDArray[np.float32]:
    """Return vectors as an array (n, dim), NaN where a number is missing or the length is another one."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # of no chunks
        return np.empty((0, dim), np.float32)
    return lengths_and_vectors([array], dim, where)[1]


def text_column(job: Job, alias: str) -> str:
    """Return the text column of a job as the last column of a query; nothing where it has none."""
    return f", CAST({alias}.{quoted(job.text_column)} AS VARCHAR) AS t" if job.text_column is not None else ""


def scan_rows(
    sides: Sides, job: Job, phase: Phase, size: int, *, dim: int, missing_only: bool, in_transaction: bool = False
) -> Iterator[Rows]:
    """Read the old side, with the digests on record."""
    source = sides.parked if phase == "cut_over" else sides.table.beside()
    vector = sides.column("vector", "s") if phase == "cut_over" else sides.vector("s")
    recorded, joined = "CAST(0 AS BIGINT)", ""
    if phase in ("prepared", "cut_over"):
        target = f"{sides.new_side(phase)} t ON {sides.same('s', 't')}"
        recorded = f"coalesce({sides.column('source', 't')}, 0)" if not missing_only else recorded
        joined = f" ANTI JOIN {target}" if missing_only else f" LEFT JOIN {target}"
    texts, table = text_column(job, "s"), ""
    if texts and phase == "cut_over":
        table, texts = f" JOIN {sides.table.beside()} d ON {sides.same('s', 'd')}", text_column(job, "d")
    statement = (
        f"SELECT {key_texts(sides, 's')}, {vector} AS v, {recorded} AS r{texts} FROM {source} s{table}{joined} "
        f"WHERE {vector} IS NOT NULL"
    )
    for batch in sides.file.stream(statement, size, own_snapshot=not in_transaction):
        yield rows_of(sides, batch, job, dim=dim)


def rows_of(sides: Sides, batch: pa.RecordBatch, job: Job, *, dim: int) -> Rows:
    """Return rows of keys, vector ``v``, digest ``r`` and perhaps text ``t``."""
    texts = None if job.text_column is None else [text or "" for text in batch.column("t").to_pylist()]
    recorded = batch.column("r").to_numpy(zero_copy_only=False).astype(np.int64)
    return Rows(ids_of(sides, batch), vectors_of(batch.column("v"), dim, sides.table.name), recorded, texts)


def write_rows(
    sides: Sides, job: Job, phase: Phase, ids: Sequence[str], vectors: NDArray[np.float32], sources: NDArray[np.int64]
) -> None:
    """Write converted rows; native ones whose source row is the same stay."""
    batch = batch_of(sides, ids, vector=vectors, source=sources, digest=vector_digests(vectors))
    rows, values = batch_rows(sides), [job.target.id]
    of_target = sides.provenance if phase != "prepared" else sides.target
    native = (
        f"{sides.column('artifact', 't')} IS NULL AND {sides.column('space', 't')} IS NOT DISTINCT FROM ? AND "
        f"coalesce({sides.column('source', 't')} = {sides.column('source', 'b')}, true)"
    )
    with sides.file.transaction():
        fresh = f"(FROM {rows} b ANTI JOIN {of_target} t ON {sides.same('b', 't')} AND {native})"
        if phase == "prepared":
            old = f"DELETE FROM {sides.target} t USING {fresh} b WHERE {sides.same('t', 'b')}"
            sides.file.table(old, batch, values)
            columns = f"{sides.keys('b')}, {sides.column('vector', 'b')}"
            rest = f"{rows} b ANTI JOIN {sides.target} t ON {sides.same('b', 't')}"
            insert = f"INSERT INTO {sides.target} SELECT {columns}, {_origin(sides)} FROM {rest}"
            sides.file.table(insert, batch, [job.target.id, job.artifact_id])
            return
        sides.create_provenance()
        _serve(sides, fresh, batch, values)
        there = f"{fresh} b SEMI JOIN {sides.table.beside()} s ON {sides.same('b', 's')}"
        insert = f"INSERT OR REPLACE INTO {sides.provenance} SELECT {sides.keys('b')}, {_origin(sides)} FROM {there}"
        sides.file.table(insert, batch, [job.target.id, job.artifact_id, *values])


def write_native_rows(sides: Sides, job: Job, phase: Phase, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
    """Replace vectors of the new side by native ones; return how many there were."""
    digests = vector_digests(vectors)
    batch, rows = batch_of(sides, ids, vector=vectors, digest=digests), batch_rows(sides)
    origin = (
        f"{sides.column('space')} = ?, {sides.column('artifact')} = NULL, "
        f"{sides.column('digest')} = {sides.column('digest', 'b')}"
    )
    with sides.file.transaction():
        if phase == "prepared":
            change = f"{sides.column('vector')} = {sides.column('vector', 'b')}, {origin}"
            update = f"UPDATE {sides.target} t SET {change} FROM {rows} b WHERE {sides.same('t', 'b')}"
            return int(sides.file.table(update, batch, [job.target.id]).column(0)[0].as_py())
        sides.create_provenance()
        count = _serve(sides, rows, batch, [])
        there = f"{rows} b SEMI JOIN {sides.served()} s ON {sides.same('b', 's')}"
        insert = (
            f"INSERT OR IGNORE INTO {sides.provenance} "
            f"SELECT {sides.keys('b')}, ?, NULL, NULL, {sides.column('digest', 'b')} FROM {there}"
        )
        sides.file.table(insert, batch, [job.target.id])
        update = f"UPDATE {sides.provenance} p SET {origin} FROM (FROM {there}) b WHERE {sides.same('p', 'b')}"
        sides.file.table(update, batch, [job.target.id])
        return count


def discard_rows(sides: Sides, phase: Phase, ids: Sequence[str]) -> None:
    """Remove vectors of the new side."""
    batch, rows = batch_of(sides, ids), f"{batch_rows(sides)} b"
    with sides.file.transaction():
        if phase == "prepared":
            sides.file.table(f"DELETE FROM {sides.target} t USING {rows} WHERE {sides.same('t', 'b')}", batch)
            return
        vector = quoted(sides.table.vector)
        update = f"UPDATE {sides.table.beside()} s SET {vector} = NULL FROM {rows} WHERE {sides.same('s', 'b')}"
        sides.file.table(update, batch)
        sides.file.table(f"DELETE FROM {sides.provenance} t USING {rows} WHERE {sides.same('t', 'b')}", batch)


def read_pairs(sides: Sides, job: Job, phase: Phase, ids: Sequence[str], *, dim: int) -> Pairs:
    """Read both sides of rows that have both."""
    statement = (
        f"SELECT {key_texts(sides, 'b')}, {sides.column('vector', 'o')} AS v, {sides.column('vector', 't')} AS w, "
        f"{sides.column('artifact', 't')} IS NULL AS native, coalesce({sides.column('source', 't')}, 0) AS r"
        f"{text_column(job, 's')} FROM {batch_rows(sides)} b "
        f"JOIN {sides.old_side(phase)} o ON {sides.same('b', 'o')} "
        f"JOIN {sides.new_side(phase)} t ON {sides.same('b', 't')} "
        f"JOIN {sides.table.beside()} s ON {sides.same('b', 's')}"
    )
    rows = sides.file.table(statement, batch_of(sides, ids))
    texts = None if job.text_column is None else [text or "" for text in rows.column("t").to_pylist()]
    return Pairs(
        ids_of(sides, rows),
        vectors_of(rows.column("v"), dim, sides.table.name),
        vectors_of(rows.column("w"), job.target.dim, sides.table.name),
        rows.column("native").to_numpy().astype(bool),
        texts,
        rows.column("r").to_numpy().astype(np.int64),
    )


def read_target_rows(sides: Sides, job: Job, phase: Phase, ids: Sequence[str]) -> TargetRows:
    """Read rows of the new side that are of the new space."""
    statement = (
        f"SELECT {key_texts(sides, 'b')}, {sides.column('vector', 't')} AS w, {sides.column('artifact', 't')} IS NULL "
        f"AS native FROM {batch_rows(sides)} b JOIN {sides.new_side(phase)} t ON {sides.same('b', 't')} "
        f"WHERE {sides.column('space', 't')} = ?"
    )
    rows = sides.file.table(statement, batch_of(sides, ids), [job.target.id])
    vectors = vectors_of(rows.column("w"), job.target.dim, sides.table.name)
    return TargetRows(ids_of(sides, rows), vectors, rows.column("native").to_numpy().astype(bool))


def _origin(sides: Sides) -> str:
    """Return the provenance of the rows of a batch, with marks for space and artifact."""
    return f"?, ?, {sides.column('source', 'b')}, {sides.column('digest', 'b')}"


def _serve(sides: Sides, rows: str, batch: pa.Table, values: list[Any]) -> int:
    """Replace vectors in service by those of a batch; return how many."""
    update = (
        f"UPDATE {sides.table.beside()} s SET {quoted(sides.table.vector)} = {sides.column('vector', 'b')} "
        f"FROM {rows} b WHERE {sides.same('s', 'b')} AND {sides.vector('s')} IS NOT NULL"
    )
    return int(sides.file.table(update, batch, values).column(0)[0].as_py())
