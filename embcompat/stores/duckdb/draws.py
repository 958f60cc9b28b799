"""A sample of a DuckDB table in service, given rows of it, and its counted rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from embcompat.errors import StoreError
from embcompat.stores.duckdb.connection import quoted
from embcompat.stores.duckdb.rows import batch_of, batch_rows, ids_of, key_texts, vectors_of
from embcompat.stores.duckdb.sides import Sides
from embcompat.stores.values import Coverage, Job, Phase, Rows


def draw_rows(
    sides: Sides, count: int | None, *, dim: int, seed: int, columns: Sequence[str], where: str | None
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Return the rows with the smallest hashes of seed and key, among those that meet a condition."""
    source = sides.table.beside() if where is None else f"(FROM {sides.table.beside()} WHERE ({where}\n))"
    order = "" if count is None else f" ORDER BY hash({sides.keys('s')}, CAST(? AS BIGINT)) LIMIT {count}"
    statement = f"{_selection(sides, columns)} FROM {source} s WHERE {sides.vector('s')} IS NOT NULL{order}"
    values = [] if count is None else [seed]
    if where is None:
        return _drawn(sides, sides.file.table(statement, None, values), columns, dim)
    return _drawn(sides, sides.file.condition_rows(statement, where, values), columns, dim)


def rows_by_id(
    sides: Sides, ids: Sequence[str], *, dim: int, columns: Sequence[str]
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Return the rows in service with the given keys that have a vector."""
    joined = f"{sides.table.beside()} s SEMI JOIN {batch_rows(sides)} b ON {sides.same('s', 'b')}"
    statement = f"{_selection(sides, columns)} FROM {joined} WHERE {sides.vector('s')} IS NOT NULL"
    return _drawn(sides, sides.file.table(statement, batch_of(sides, ids)), columns, dim)


def converted_ids(sides: Sides, phase: Phase, artifact_id: str, count: int, *, seed: int) -> list[str]:
    """Return the converted rows with the smallest hashes of seed and key."""
    statement = (
        f"SELECT {key_texts(sides, 't')} FROM {sides.new_side(phase)} t WHERE {sides.column('artifact', 't')} = ? "
        f"ORDER BY hash({sides.keys('t')}, CAST(? AS BIGINT)) LIMIT {count}"
    )
    return ids_of(sides, sides.file.table(statement, None, [artifact_id, seed]))


def counted_rows(sides: Sides, job: Job, phase: Phase) -> Coverage:
    """Count the rows of both sides."""
    count, table = sides.file.query, sides.table.beside()
    rows, filled = count(f"SELECT count(*), count({sides.vector('s')}) FROM {table} s")[0]
    if phase == "untouched":
        return Coverage(rows, rows - filled, 0, 0, 0)
    of_space = f"FROM {sides.new_side(phase)} t WHERE {sides.column('space', 't')} = ?"
    natives = count(f"SELECT count(*) {of_space} AND {sides.column('artifact', 't')} IS NULL", [job.target.id])[0][0]
    if phase != "prepared":
        return Coverage(rows, rows - filled, count(f"SELECT count(*) {of_space}", [job.target.id])[0][0], 0, natives)
    there = f"{table} s ON {sides.same('t', 's')} AND {sides.vector('s')} IS NOT NULL"
    converted = count(f"SELECT count(*) FROM {sides.target} t SEMI JOIN {there}")[0][0]
    orphans = count(f"SELECT count(*) FROM {sides.target} t WHERE {orphaned(sides)}")[0][0]
    return Coverage(rows, rows - filled, converted, orphans, natives)


def orphaned(sides: Sides) -> str:
    """Return the condition that a row ``t`` was made from a vector that is gone."""
    there = f"{sides.same('t', 's')} AND {sides.vector('s')} IS NOT NULL"
    has_target = f"{sides.column('source', 't')} IS NOT NULL"
    return f"{has_target} AND NOT EXISTS (SELECT 1 FROM {sides.table.beside()} s WHERE {there})"


def _selection(sides: Sides, columns: Sequence[str]) -> str:
    known = {name.lower() for name in sides.table.columns}
    for column in columns:
        if column.lower() not in known:
            listed = ", ".join(sides.table.columns)
            raise StoreError(f"{sides.table.name}: there is no column {column!r}. Columns: {listed}.")
    others = "".join(f", s.{quoted(column)} AS c{n}" for n, column in enumerate(columns))
    return f"SELECT {key_texts(sides, 's')}, {sides.vector('s')} AS v{others}"


def _drawn(sides: Sides, table: pa.Table, columns: Sequence[str], dim: int) -> tuple[Rows, dict[str, Sequence[Any]]]:
    vectors = vectors_of(table.column("v"), dim, sides.table.name)
    rows = Rows(ids_of(sides, table), vectors, np.zeros(len(vectors), np.int64))
    return rows, {name: table.column(f"c{n}").to_pylist() for n, name in enumerate(columns)}
