"""A uniform sample of a table: keys first, then the vectors of the chosen rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from psycopg import DatabaseError, sql

from embcompat.errors import InputError
from embcompat.stores.keys import KeyCodec
from embcompat.stores.postgres.names import listed
from embcompat.stores.postgres.rows.copy import Column
from embcompat.stores.postgres.rows.reader import key_fields, key_list, listed_keys, read_rows
from embcompat.stores.postgres.session import Session
from embcompat.stores.values import Rows

_OVERSAMPLING = 20
"""Rows on the random pages of a large table for each row that is drawn: so that few come from one page [ours]."""

_READ_ROWS = 2_000


def draw_keys(session: Session, count: int | None, *, seed: int, where: str | None = None) -> list[list[Any]]:
    """Return key columns of up to ``count`` rows with a vector, each with the same chance.

    Args:
        session: The gallery.
        count: Most rows; all when None.
        seed: Seed of the draw.
        where: A condition in SQL on the table's columns; all rows when None. It is one expression: the server is sent
            a single statement, in a transaction that writes nothing.

    Raises:
        InputError: If the server cannot evaluate the condition.
    """
    estimate = session.execute(
        "SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (session.text(session.table.identifier),)
    ).fetchone()
    rows = float(estimate[0]) if estimate is not None else -1.0
    if count is None:
        return _keys(session, sql.SQL(""), None, seed, where)
    percent = 100.0 * _OVERSAMPLING * count / rows if rows > 0 else 100.0
    if percent < 100.0:
        part = sql.SQL(" TABLESAMPLE SYSTEM ({}) REPEATABLE ({})").format(percent, seed)
        keys = _keys(session, part, count, seed, where)
        if len(keys[0]) == count:
            return keys
    return _keys(session, sql.SQL(""), count, seed, where)


def _keys(
    session: Session,
    part: sql.Composable,
    count: int | None,
    seed: int,
    where: str | None,
) -> list[list[Any]]:
    order = sql.SQL(" ORDER BY hashtextextended(ROW({})::text, {}) LIMIT {}").format(
        listed(session.keys), seed, sql.SQL("ALL") if count is None else sql.Literal(count)
    )
    alias = sql.SQL(" s" if session.table.condition else "")  # without one, a user's condition may name the table
    chosen = sql.SQL("SELECT {} FROM {}{}{}").format(listed(session.keys), session.table.identifier, alias, part)
    present = sql.SQL("{} IS NOT NULL{}").format(session.table.vectors, session.table.chosen)
    if where is None:
        rows = session.execute(chosen + sql.SQL(" WHERE ") + present + order).fetchall()
    else:
        head, tail, last = (session.text(part).replace("%", "%%") for part in (chosen, present, order))
        rows = _filtered(session, f"{head} WHERE %s AND {tail} AND ({where.replace('%', '%%')}\n){last}", where)
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in session.keys]


def _filtered(session: Session, statement: str, where: str) -> list[Any]:
    """Run a query with a condition that a user wrote; its one parameter makes the server take a single statement."""
    try:
        with session.connection.transaction():
            session.connection.execute("SET TRANSACTION READ ONLY")
            return session.connection.execute(cast(Any, statement), (True,)).fetchall()
    except DatabaseError as error:
        raise InputError(f"PostgreSQL cannot evaluate the condition {where!r}: {error}") from error


def read_drawn(
    session: Session,
    keys: Sequence[Sequence[Any]],
    columns: Sequence[str],
    codec: KeyCodec,
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Read the rows with the given keys that have a vector, and other columns of them as text."""
    vector = (session.table.vector_of("s"), session.table.vector)
    others = [(sql.SQL("s.{}::text").format(sql.Identifier(name)), Column("text")) for name in columns]
    key_columns: list[list[Any]] = [[] for _ in session.keys]
    vectors = [np.empty((0, session.table.vector.dim), np.float32)]
    values: dict[str, list[Any]] = {name: [] for name in columns}
    for start in range(0, len(keys[0]), _READ_ROWS):
        part = [column[start : start + _READ_ROWS] for column in keys]
        rest = sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND {}").format(
            session.table.identifier, session.table.vectors, key_list(session.table, part)
        )
        result = read_rows(session.connection, [*key_fields(session.table), vector, *others], rest)
        for column, more in zip(key_columns, listed_keys(result[: len(session.keys)]), strict=True):
            column += more
        vectors.append(result[len(session.keys)])
        for name, more in zip(columns, result[len(session.keys) + 1 :], strict=True):
            values[name] += list(more)
    whole = np.concatenate(vectors)
    return Rows(codec.ids(key_columns), whole, np.zeros(len(whole), np.int64)), dict(values)
