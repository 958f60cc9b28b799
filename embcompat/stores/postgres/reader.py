"""Reading rows of a PostgreSQL gallery: by key, a page at a time, in binary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from embcompat.stores.postgres.catalog import VectorTable
from embcompat.stores.postgres.copy import SENDERS, Column, decode
from embcompat.stores.postgres.names import PART_ROWS, Target, listed, literals, matched, row_of
from embcompat.stores.values import Coverage, Phase

_SMALL_TABLE_ROWS = 10_000
_PROVENANCE_BYTES = 160  # of a row, besides its vector

Page = tuple[list[Sequence[Any]], list[Any]]
"""Key columns and the other columns of some rows."""

Part = tuple[Any, Any]
"""The first key of a range and that of the next one; None stands for the ends."""

WHOLE: Final[Part] = (None, None)
"""The range of all keys."""


def read_rows(
    connection: Connection[Any], fields: Sequence[tuple[sql.Composable, Column]], rest: sql.Composable
) -> list[Any]:
    """Read columns of rows, in binary and in one piece.

    Args:
        connection: A connection.
        fields: Expression and kind of each column.
        rest: The statement from FROM on.

    Returns:
        The values of each column, in the order of ``fields``: a float32 array (n, dim), or a list.
    """
    fixed = [place for place, (_, column) in enumerate(fields) if column.kind != "text"]
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
    found = dict(zip(texts, [values or [] for values in lists], strict=True))
    found |= dict(zip(fixed, decode(data or b"", [fields[place][1] for place in fixed]), strict=True))
    return [found[place] for place in range(len(fields))]


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
        columns = values[: len(keys)]
        if not columns[0]:
            return
        yield columns, values[len(keys) :]
        if len(columns[0]) < size:
            return
        last = [column[-1] for column in columns]


def key_fields(table: VectorTable) -> list[tuple[sql.Composable, Column]]:
    """Return expression and kind of each key column, of the alias ``s``."""
    names = (sql.SQL("s.{}").format(sql.Identifier(key)) for key in table.keys)
    return list(zip(names, table.key_columns, strict=True))


def is_native(names: Target, alias: LiteralString) -> tuple[sql.Composable, Column]:
    """Return expression and kind of whether a target row is native: 1 or 0."""
    said = sql.SQL("(" + alias + ".{} IS NULL)::int::int2")
    return said.format(names.provenance("artifact")), Column("int2")


def read_both(
    connection: Connection[Any],
    names: Target,
    table: VectorTable,
    keys: Sequence[Sequence[Any]],
    *,
    unchanged: sql.Composable,
) -> tuple[list[Any], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Read key columns, both vectors and whether the target is native, of rows that have both.

    ``unchanged`` is a condition that leaves out rows whose source is another one meanwhile, to be added to others.
    """
    here, there = (
        sql.SQL(alias).format(sql.Identifier(name)) for alias, name in (("s.{}", table.column), ("t.{}", names.column))
    )
    rest = sql.SQL("FROM {} s JOIN {} t ON {} WHERE {} IS NOT NULL AND {} IS NOT NULL AND {}{}").format(
        names.served, names.target, matched(table.keys, "s", "t"), here, there, key_list(table, keys), unchanged
    )
    fields = [
        *key_fields(table),
        (here, table.vector),
        (there, Column(table.vector.kind, names.job.target.dim)),
        is_native(names, "t"),
    ]
    *found, source, target, native = read_rows(connection, fields, rest)
    return found, source, target, np.array(native, dtype=bool)


def read_side(
    connection: Connection[Any],
    names: Target,
    table: VectorTable,
    side: sql.Identifier,
    keys: Sequence[Sequence[Any]],
) -> tuple[list[Any], NDArray[np.float32], NDArray[np.bool_]]:
    """Read key columns, target vector and whether it is native, of rows that say that they are of the new space."""
    column = sql.Identifier(table.column)
    rest = sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND s.{} = {} AND {}").format(
        side, column, names.provenance("space"), sql.Literal(names.job.target.id), key_list(table, keys)
    )
    vector = (sql.SQL("s.{}").format(column), Column(table.vector.kind, names.job.target.dim))
    *found, vectors, native = read_rows(connection, [*key_fields(table), vector, is_native(names, "s")], rest)
    return found, vectors, np.array(native, dtype=bool)


def every_row(names: Target, table: VectorTable) -> sql.Composed:
    """Return FROM and WHERE of all rows with a vector."""
    return sql.SQL("FROM {} s WHERE s.{} IS NOT NULL").format(names.served, sql.Identifier(table.column))


def missing_rows(connection: Connection[Any], names: Target, table: VectorTable, part: Part) -> sql.Composed:
    """Return FROM and WHERE of rows with a vector that have no target row, in a range of keys."""
    among = within(table, part)
    any_target = sql.SQL("SELECT 1 FROM {} s WHERE true{} LIMIT 1").format(names.target, among)
    absent: sql.Composable = sql.SQL("")
    if connection.execute(any_target).fetchone() is not None:
        absent = sql.SQL(" AND NOT EXISTS (SELECT 1 FROM {} t WHERE {} AND t.{} IS NOT NULL)").format(
            names.target, matched(table.keys, "t", "s"), sql.Identifier(table.column)
        )
    column = sql.Identifier(table.column)
    return sql.SQL("FROM {} s WHERE s.{} IS NOT NULL{}{}").format(names.served, column, absent, among)


def within(table: VectorTable, part: Part) -> sql.Composed:
    """Return the condition that a row is in a range of keys, to be added to others."""
    return sql.SQL("").join(
        sql.SQL(" AND {} {} {}").format(row_of(table.keys, "s."), sql.SQL(sign), literals(bound))
        for sign, bound in zip((">=", "<"), part, strict=True)
        if bound is not None
    )


def compared_rows(names: Target, table: VectorTable) -> sql.Composed:
    """Return FROM and WHERE of all rows with a vector, their target row ``t``, and ``m.n``, the last change seen."""
    return sql.SQL(
        "FROM {served} s LEFT JOIN {target} t ON {on_target} "
        "LEFT JOIN (SELECT {keys}, max(n) AS n FROM {log} GROUP BY {keys}) m ON {on_log} WHERE s.{column} IS NOT NULL"
    ).format(
        served=names.served,
        target=names.target,
        on_target=matched(table.keys, "t", "s"),
        keys=listed(table.keys),
        log=names.log,
        on_log=matched(table.keys, "m", "s"),
        column=sql.Identifier(table.column),
    )


def logged_rows(names: Target, table: VectorTable) -> sql.Composed:
    """Return FROM and WHERE of rows with a vector that the application changed; ``m.n`` is the last change seen."""
    return sql.SQL(
        "FROM (SELECT {keys}, max(n) AS n FROM {log} GROUP BY {keys}) m JOIN {served} s ON {match} "
        "WHERE s.{column} IS NOT NULL"
    ).format(
        keys=listed(table.keys),
        log=names.log,
        served=names.served,
        match=matched(table.keys, "m", "s"),
        column=sql.Identifier(table.column),
    )


def _make_parts(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(names.parts))
        connection.execute(
            sql.SQL(
                "INSERT INTO {parts} ({keys}, n) SELECT {keys}, row_number() OVER (ORDER BY {keys}) FROM "
                "(SELECT {keys}, row_number() OVER (ORDER BY {keys}) AS r FROM {served}) numbered "
                "WHERE r %% {rows} = 1 AND NOT EXISTS (SELECT 1 FROM {parts})".replace("%%", "%")
            ).format(parts=names.parts, keys=listed(table.keys), served=names.served, rows=PART_ROWS)
        )


def take_parts(connection: Connection[Any], names: Target, table: VectorTable, *, claim: bool) -> Iterator[Part]:
    """Go through the key ranges; with ``claim``, leave out those that a living worker has taken.

    A worker's ranges are free again when it ends or its connection does.
    """
    _make_parts(connection, names, table)
    keys = listed(table.keys)
    bounds = connection.execute(sql.SQL("SELECT n, {} FROM {} ORDER BY n").format(keys, names.parts)).fetchall()
    numbers = [number for number, *_ in bounds]
    firsts = [None if place == 0 else tuple(key) for place, (_, *key) in enumerate(bounds)]
    if not claim or len(bounds) < 2:
        yield from zip(firsts or [None], [*firsts[1:], None], strict=True)
        return
    done = 0
    try:
        while (row := connection.execute(_claim(names), (done,)).fetchone()) is not None:
            done = row[0]
            place = numbers.index(done)
            yield firsts[place], [*firsts, None][place + 1]
    finally:
        connection.execute(sql.SQL("UPDATE {} SET pid = NULL WHERE pid = pg_backend_pid()").format(names.parts))


def _claim(names: Target) -> sql.Composed:
    return sql.SQL(
        "UPDATE {parts} SET pid = pg_backend_pid(), started = "
        "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) WHERE n = ("
        "SELECT p.n FROM {parts} p WHERE p.n > %s AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.pid = p.pid "
        "AND a.backend_start = p.started AND a.pid <> pg_backend_pid()) ORDER BY p.n LIMIT 1 FOR UPDATE SKIP LOCKED) "
        "RETURNING n"
    ).format(parts=names.parts)


def key_list(table: VectorTable, columns: Sequence[Sequence[Any]]) -> sql.Composed:
    """Return the condition that a row's key is one of those given."""
    rows = sql.SQL(", ").join(literals(key) for key in zip(*columns, strict=True))
    return sql.SQL("{} IN ({})").format(row_of(table.keys, "s."), rows)


def sample_keys(
    connection: Connection[Any], names: Target, table: VectorTable, count: int, *, seed: int
) -> list[list[Any]]:
    """Return key columns of up to ``count`` converted rows from random pages of the target table."""
    row = connection.execute("SELECT pg_relation_size(%s)", (names.target.as_string(connection),)).fetchone()
    estimate = (row[0] if row is not None else 0) / (4 * names.job.target.dim + _PROVENANCE_BYTES)
    percent = 100.0 if estimate < _SMALL_TABLE_ROWS else min(100.0, 100.0 * 20 * count / estimate)
    rows = connection.execute(
        sql.SQL(
            "SELECT {keys} FROM {target} TABLESAMPLE SYSTEM ({percent}) REPEATABLE ({seed}) "
            "WHERE {artifact} IS NOT NULL ORDER BY hashtext(ROW({keys})::text || {salt}) LIMIT {count}"
        ).format(
            keys=listed(table.keys),
            target=names.target,
            percent=percent,
            seed=seed,
            artifact=names.provenance("artifact"),
            salt=str(seed),
            count=count,
        )
    ).fetchall()
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in table.keys]


def count_rows(connection: Connection[Any], names: Target, table: VectorTable, *, phase: Phase) -> Coverage:
    """Count the rows of both sides in one snapshot; of the table in service where the other one is not there."""
    column = sql.Identifier(table.column)
    counted = sql.SQL("SELECT count(*), count({}) FROM {}").format(column, names.served)
    if phase == "untouched":
        rows, with_vector = connection.execute(counted).fetchone() or (0, 0)
        return Coverage(rows, rows - with_vector, 0, 0, 0)
    of_target = sql.SQL("{} IS NOT NULL AND {} = {}").format(
        column, names.provenance("space"), sql.Literal(names.job.target.id)
    )
    logged: sql.Composable = sql.SQL("false")
    changed: sql.Composable = sql.SQL("0")
    if phase == "prepared":
        logged = sql.SQL("EXISTS (SELECT 1 FROM {} l WHERE {})").format(names.log, matched(table.keys, "l", "t"))
        changed = sql.SQL(
            "(SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {log}) l JOIN {served} s ON {on_source} "
            "WHERE s.{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {target} t WHERE {on_target} AND {has}))"
        ).format(
            keys=listed(table.keys),
            log=names.log,
            served=names.served,
            on_source=matched(table.keys, "l", "s"),
            column=column,
            target=names.target,
            on_target=matched(table.keys, "t", "l"),
            has=sql.SQL("t.{} IS NOT NULL AND t.{} = {}").format(
                column, names.provenance("space"), sql.Literal(names.job.target.id)
            ),
        )
    statement = sql.SQL(
        "SELECT c.*, j.*, {changed} FROM ({counted}) c(all_rows, with_vector), (SELECT "
        "count(*) FILTER (WHERE s.has AND t.has), "
        "count(*) FILTER (WHERE (s.has IS NULL OR (NOT s.has AND t.follows)) AND NOT t.logged), "
        "count(*) FILTER (WHERE t.has AND t.native) FROM (SELECT {keys}, {of_target} AS has, {logged} AS logged, "
        "{column} IS NOT NULL AND {recorded} IS NOT NULL AS follows, {artifact} IS NULL AS native "
        "FROM {target} t OFFSET 0) t LEFT JOIN (SELECT {keys}, {column} IS NOT NULL AS has FROM {served} OFFSET 0) s "
        "ON {match}) j"  # OFFSET keeps the vectors out of the join
    ).format(
        changed=changed,
        counted=counted,
        keys=listed(table.keys),
        column=column,
        of_target=of_target,
        logged=logged,
        recorded=names.provenance("source"),
        artifact=names.provenance("artifact"),
        target=names.target if phase == "prepared" else names.served,
        served=names.served,
        match=matched(table.keys, "s", "t"),
    )
    rows, with_vector, converted, orphans, native, waiting = connection.execute(statement).fetchone() or (0,) * 6
    return Coverage(rows, rows - with_vector, converted, orphans, native, waiting)
