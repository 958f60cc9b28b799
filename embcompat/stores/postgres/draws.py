"""A uniform sample of a table: keys first, then the vectors of the chosen rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from embcompat.stores.postgres.catalog import VectorTable
from embcompat.stores.postgres.copy import Column
from embcompat.stores.postgres.names import Target, listed
from embcompat.stores.postgres.reader import key_fields, key_list, read_rows

_OVERSAMPLING = 20
"""Rows on the random pages of a large table for each row that is drawn: so that few come from one page [ours]."""

_READ_ROWS = 2_000


def draw_keys(
    connection: Connection[Any], names: Target, table: VectorTable, count: int | None, *, seed: int
) -> list[list[Any]]:
    """Return key columns of up to ``count`` rows with a vector, each with the same chance."""
    estimate = connection.execute(
        "SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (names.served.as_string(connection),)
    ).fetchone()
    rows = float(estimate[0]) if estimate is not None else -1.0
    if count is None:
        return _keys(connection, names, table, sql.SQL(""), None, seed)
    percent = 100.0 * _OVERSAMPLING * count / rows if rows > 0 else 100.0
    if percent < 100.0:
        part = sql.SQL(" TABLESAMPLE SYSTEM ({}) REPEATABLE ({})").format(percent, seed)
        keys = _keys(connection, names, table, part, count, seed)
        if len(keys[0]) == count:
            return keys
    return _keys(connection, names, table, sql.SQL(""), count, seed)


def _keys(
    connection: Connection[Any],
    names: Target,
    table: VectorTable,
    part: sql.Composable,
    count: int | None,
    seed: int,
) -> list[list[Any]]:
    order = sql.SQL(" ORDER BY hashtextextended(ROW({})::text, {}) LIMIT {}").format(
        listed(table.keys), seed, sql.SQL("ALL") if count is None else sql.Literal(count)
    )
    rows = connection.execute(
        sql.SQL("SELECT {} FROM {}{} WHERE {} IS NOT NULL").format(
            listed(table.keys), names.served, part, sql.Identifier(table.column)
        )
        + order
    ).fetchall()
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in table.keys]


def read_drawn(
    connection: Connection[Any],
    names: Target,
    table: VectorTable,
    keys: Sequence[Sequence[Any]],
    columns: Sequence[str],
) -> tuple[list[list[Any]], NDArray[np.float32], dict[str, Sequence[Any]]]:
    """Read key columns, vectors and other columns (as text) of the rows with the given keys."""
    vector = (sql.SQL("s.{}").format(sql.Identifier(table.column)), table.vector)
    others = [(sql.SQL("s.{}::text").format(sql.Identifier(name)), Column("text")) for name in columns]
    found: list[list[Any]] = [[] for _ in table.keys]
    vectors = [np.empty((0, table.vector.dim), np.float32)]
    values: dict[str, list[Any]] = {name: [] for name in columns}
    for start in range(0, len(keys[0]), _READ_ROWS):
        part = [column[start : start + _READ_ROWS] for column in keys]
        rest = sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND {}").format(
            names.served, sql.Identifier(table.column), key_list(table, part)
        )
        result = read_rows(connection, [*key_fields(table), vector, *others], rest)
        for column, more in zip(found, result, strict=False):
            column += list(more)
        vectors.append(result[len(table.keys)])
        for name, more in zip(columns, result[len(table.keys) + 1 :], strict=True):
            values[name] += list(more)
    return found, np.concatenate(vectors), dict(values)
