"""Reading rows of a PostgreSQL gallery: by key, a page at a time, in binary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.names import listed, literals, matched, row_of
from embcompat.stores.postgres.rows.copy import SENDERS, Column, decode
from embcompat.stores.postgres.session import Session
from embcompat.stores.values import Job

_SMALL_TABLE_ROWS = 10_000
_PROVENANCE_BYTES = 160  # of a row, besides its vector
_WRITTEN_ROWS = 5_000

Page = tuple[list[Sequence[Any]], list[Any]]
"""Key columns and the other columns of some rows."""


def read_rows(
    connection: Connection[Any], fields: Sequence[tuple[sql.Composable, Column]], rest: sql.Composable
) -> list[Any]:
    """Read columns of rows, in binary and in one piece.

    Args:
        connection: A connection.
        fields: Expression and kind of each column.
        rest: The statement from FROM on.

    Returns:
        The values of each column, in the order of ``fields``: an array of vectors or numbers, or a list.
    """
    plain = [place for place, (_, column) in enumerate(fields) if column.kind != "text"]
    fixed = sorted(plain, key=lambda place: fields[place][1].dim)  # vectors last: each || copies what is before it
    texts = [place for place, (_, column) in enumerate(fields) if column.kind == "text"]
    sent = sql.SQL(" || ").join(
        sql.SQL(SENDERS[fields[place][1].kind]) + sql.SQL("({})").format(fields[place][0]) for place in fixed
    )
    inner = [sql.SQL("{} AS f").format(sent if fixed else sql.SQL("''::bytea"))]
    inner += [sql.SQL("{}::text AS {}").format(fields[place][0], sql.Identifier(f"t{place}")) for place in texts]
    outer: list[sql.Composable] = [sql.SQL("string_agg(f, ''::bytea)")]
    outer += [sql.SQL("array_agg({})").format(sql.Identifier(f"t{place}")) for place in texts]
    statement = sql.SQL("SELECT {} FROM (SELECT {} {}) page").format(
        sql.SQL(", ").join(outer), sql.SQL(", ").join(inner), rest
    )
    with connection.cursor(binary=True) as cursor:
        data, *lists = cursor.execute(statement).fetchone() or (None,)
    columns = dict(zip(texts, [values or [] for values in lists], strict=True))
    columns |= dict(zip(fixed, decode(data or b"", [fields[place][1] for place in fixed]), strict=True))
    return [columns[place] for place in range(len(fields))]


def pages(
    connection: Connection[Any],
    table: VectorTable,
    fields: Sequence[tuple[sql.Composable, Column]],
    source: sql.Composable,
    size: int,
) -> Iterator[Page]:
    """Page through rows in key order.

    Args:
        connection: A connection.
        table: The table; its keys are read from the alias ``s``.
        fields: What to read beside the keys.
        source: FROM and WHERE, with a condition last.
        size: Most rows of a page.
    """
    keys = key_fields(table)
    last: list[Any] | None = None
    while True:
        after: sql.Composable = sql.SQL("")
        if last is not None:
            after = sql.SQL(" AND {} > {}").format(row_of(table.keys, "s."), literals(last))
        rest = sql.SQL("{}{} ORDER BY {} LIMIT {}").format(source, after, listed(table.keys, "s."), size)
        values = read_rows(connection, [*keys, *fields], rest)
        columns = listed_keys(values[: len(keys)])
        if not columns[0]:
            return
        yield columns, values[len(keys) :]
        if len(columns[0]) < size:
            return
        last = [column[-1] for column in columns]


def text_fields(job: Job, alias: LiteralString) -> list[tuple[sql.Composable, Column]]:
    """Return expression and kind of the text of a row, where the job names a column of texts; "" where it is NULL."""
    if job.text_column is None:
        return []
    text = sql.SQL("coalesce(" + alias + ".{}::text, '')").format(sql.Identifier(job.text_column))
    return [(text, Column("text"))]


def key_fields(table: VectorTable) -> list[tuple[sql.Composable, Column]]:
    """Return expression and kind of each key column, of the alias ``s``."""
    names = (sql.SQL("s.{}").format(sql.Identifier(key)) for key in table.keys)
    return list(zip(names, table.key_columns, strict=True))


def listed_keys(columns: Sequence[Any]) -> list[Sequence[Any]]:
    """Return key columns as lists of the types that ids are made of."""
    return [column.tolist() if isinstance(column, np.ndarray) else column for column in columns]


def read_both(
    session: Session, keys: Sequence[Sequence[Any]], *, unchanged: sql.Composable
) -> tuple[list[Any], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[str] | None]:
    """Read key columns, both vectors, whether the target is native, and the text, of rows that have both vectors.

    ``unchanged`` is a condition that leaves out rows whose source is another one meanwhile, to be added to others.
    """
    table, target = session.table, session.target
    here, there = sql.SQL("s.{}").format(table.vectors), sql.SQL("t.{}").format(target.vectors)
    rest = sql.SQL("FROM {} s JOIN {} t ON {} WHERE {} IS NOT NULL AND {} IS NOT NULL AND {}{}{}").format(
        table.identifier,
        target.identifier,
        matched(session.keys, "s", "t"),
        here,
        there,
        key_list(table, keys),
        table.chosen,
        unchanged,
    )
    vectors: list[tuple[sql.Composable, Column]] = [
        (table.vector_of("s"), table.vector),
        (target.vector_of("t"), target.vector),
    ]
    texts = text_fields(session.job, "s")
    fields = [*key_fields(table), *vectors, _is_native(target, "t"), *texts]
    columns = read_rows(session.connection, fields, rest)
    count = len(table.keys)
    source, converted, native, *notes = columns[count:]
    return listed_keys(columns[:count]), source, converted, native.astype(bool), notes[0] if notes else None


def read_side(
    session: Session, side: VectorTable, keys: Sequence[Sequence[Any]]
) -> tuple[list[Any], NDArray[np.float32], NDArray[np.bool_]]:
    """Read key columns, target vector and whether it is native, of rows that are recorded as of the new space.

    Args:
        session: The session.
        side: The table and column that hold the target vectors.
        keys: Key columns of the rows.
    """
    rest = sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND s.{} = {} AND {}{}").format(
        side.identifier,
        side.vectors,
        side.provenance("space"),
        sql.Literal(session.job.target.id),
        key_list(side, keys),
        side.chosen,
    )
    fields = [*key_fields(side), (side.vector_of("s"), side.vector), _is_native(side, "s")]
    *key_columns, vectors, native = read_rows(session.connection, fields, rest)
    return listed_keys(key_columns), vectors, native.astype(bool)


def written_pages(
    connection: Connection[Any], table: VectorTable, space: str
) -> Iterator[tuple[list[Any], NDArray[np.float32]]]:
    """Page through vectors in service that an application declared to be of a space; return keys and vectors."""
    source = sql.SQL("{} AND s.{} = {} AND s.{} IS NULL").format(
        every_row(table), table.provenance("space"), sql.Literal(space), table.provenance("source")
    )
    for keys, (vectors,) in pages(connection, table, [(table.vector_of("s"), table.vector)], source, _WRITTEN_ROWS):
        yield keys, vectors


def unknown_pages(connection: Connection[Any], table: VectorTable, space: str) -> Iterator[list[Any]]:
    """Page through the keys of vectors in service that are not declared to be of a space."""
    unknown = sql.SQL(" AND s.{} IS DISTINCT FROM {}").format(table.provenance("space"), sql.Literal(space))
    for keys, _ in pages(connection, table, [], every_row(table) + unknown, _WRITTEN_ROWS):
        yield keys


def every_row(table: VectorTable) -> sql.Composed:
    """Return FROM and WHERE of all rows with a vector."""
    return sql.SQL("FROM {} s WHERE s.{} IS NOT NULL{}").format(table.identifier, table.vectors, table.chosen)


def _is_native(side: VectorTable, alias: LiteralString) -> tuple[sql.Composable, Column]:
    """Return expression and kind of whether a target row is native: 1 or 0."""
    flag = sql.SQL("(" + alias + ".{} IS NULL)::int::int2")
    return flag.format(side.provenance("artifact")), Column("int2")


def key_list(table: VectorTable, columns: Sequence[Sequence[Any]]) -> sql.Composed:
    """Return the condition that a row's key is one of those given."""
    if len(columns) == 1:
        return sql.SQL("{} = ANY({})").format(row_of(table.keys, "s."), sql.Literal(list(columns[0])))
    rows = sql.SQL(", ").join(literals(key) for key in zip(*columns, strict=True))
    return sql.SQL("{} IN ({})").format(row_of(table.keys, "s."), rows)


def sample_keys(session: Session, count: int, *, seed: int) -> list[list[Any]]:
    """Return key columns of up to ``count`` converted rows from random pages of the table with the target vectors."""
    target = session.target
    row = session.execute("SELECT pg_relation_size(%s)", (session.text(target.identifier),)).fetchone()
    estimate = (row[0] if row is not None else 0) / (4 * target.vector.dim + _PROVENANCE_BYTES)
    percent = 100.0 if estimate < _SMALL_TABLE_ROWS else min(100.0, 100.0 * 20 * count / estimate)
    rows = session.execute(
        sql.SQL(
            "SELECT {keys} FROM {target} s TABLESAMPLE SYSTEM ({percent}) REPEATABLE ({seed}) "
            "WHERE {artifact} IS NOT NULL{chosen} ORDER BY hashtext(ROW({keys})::text || {salt}) LIMIT {count}"
        ).format(
            keys=listed(session.keys),
            target=target.identifier,
            percent=percent,
            seed=seed,
            artifact=target.provenance("artifact"),
            chosen=target.chosen,
            salt=str(seed),
            count=count,
        )
    ).fetchall()
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in session.keys]
