"""Rows of a PostgreSQL table whose target side is another column: found, filled, emptied and counted."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, sql

from embcompat.stores.postgres.catalog import VectorTable
from embcompat.stores.postgres.column.sides import CHANGED, ColumnTarget, needs_vector
from embcompat.stores.postgres.names import Target
from embcompat.stores.postgres.reader import WHOLE, Part, within
from embcompat.stores.postgres.staging import UNCHANGED, Written, probe_by_key, stage_rows
from embcompat.stores.postgres.table.changes import count_where, unconverted, without_old
from embcompat.stores.values import Coverage


def may_silence(connection: Connection[Any]) -> bool:
    """Return whether this user may keep the application's triggers from firing for every row that is filled."""
    try:
        with connection.transaction(force_rollback=True):
            _silence(connection)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def empty_rows(names: ColumnTarget, table: VectorTable, part: Part) -> sql.Composed:
    """Return FROM and WHERE of rows with a vector and without a new one, in a range of keys."""
    return sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND s.{} IS NULL{}").format(
        names.served, sql.Identifier(table.column), sql.Identifier(names.column), within(table, part)
    )


def write_rows(
    connection: Connection[Any], names: ColumnTarget, table: VectorTable, rows: Written, *, silent: bool
) -> None:
    """Fill the new column, in one transaction.

    Args:
        connection: A connection; its open transaction is used if there is one.
        names: Names of the job.
        table: The table.
        rows: What to write; a row that was changed since it was read is left out.
        silent: Whether to keep the application's triggers from firing.
    """
    with connection.transaction(), connection.cursor() as cursor:
        staging, same = stage_rows(cursor, names, table, rows)
        probe_by_key(cursor)
        if silent:
            _silence(connection)
        values = [
            sql.SQL("g.vector"),
            sql.Literal(names.job.target.id),
            sql.Literal(names.job.artifact_id),
            sql.SQL("g.source"),
            sql.SQL("g.digest"),
        ]
        cursor.execute(
            sql.SQL(
                "UPDATE {served} s SET {filled} FROM {staging} g WHERE {same} AND s.{vector} IS NOT NULL "
                "AND {unchanged} AND NOT (s.{column} IS NOT NULL "
                "AND s.{artifact} IS NULL AND s.{source} IS NOT DISTINCT FROM g.source)"
            ).format(
                served=names.served,
                filled=sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(name, value) for name, value in zip(names.columns(), values, strict=True)
                ),
                staging=staging,
                same=same,
                vector=sql.Identifier(table.column),
                unchanged=UNCHANGED,
                column=sql.Identifier(names.column),
                artifact=names.provenance("artifact"),
                source=names.provenance("source"),
            )
        )


def clear_rows(connection: Connection[Any], names: ColumnTarget, which: sql.Composable, *, silent: bool) -> None:
    """Empty the new column of some rows, in the transaction that is open."""
    if silent:
        _silence(connection)
    cleared = sql.SQL(", ").join(sql.SQL("{} = NULL").format(name) for name in names.columns())
    connection.execute(sql.SQL("UPDATE {} s SET {} WHERE {}").format(names.served, cleared, which))


def settle_rows(connection: Connection[Any], names: ColumnTarget, table: VectorTable) -> None:
    """Find out whether rows that could not be converted may stay without a vector.

    Raises:
        StoreError: If there is one and the vector may not be NULL.
    """
    if not needs_vector(connection, names, table):
        return
    if count := count_where(connection, empty_rows(names, table, WHOLE)):
        raise unconverted(count, table.column)


def return_rows(connection: Connection[Any], names: ColumnTarget, table: VectorTable, *, silent: bool) -> int:
    """Empty the old vector of rows that got a new one since the cutover.

    Returns:
        How many these are.

    Raises:
        StoreError: If there are any and the old vector may not be NULL.
    """
    written = sql.SQL("s.{} IS NOT NULL AND s.{} IS NULL").format(
        sql.Identifier(table.column), sql.Identifier(f"{table.column}__source")
    )
    without = count_where(connection, sql.SQL("FROM {} s WHERE {}").format(names.served, written))
    if without and needs_vector(connection, names, table):
        raise without_old(without, table.column)
    if silent:
        _silence(connection)
    old = sql.Identifier(names.old_column)
    connection.execute(sql.SQL("UPDATE {} s SET {} = NULL WHERE {}").format(names.served, old, written))
    return without


def count_rows(connection: Connection[Any], names: Target, table: VectorTable, target: Target | None) -> Coverage:
    """Count the rows of both sides; of the source alone where there is no target yet."""
    column = sql.Identifier(table.column)
    counts = [sql.SQL("count(*)"), sql.SQL("count({})").format(column)]
    if target is not None:
        filled = sql.SQL("{} IS NOT NULL AND {} = {}").format(
            sql.Identifier(target.column), target.provenance("space"), sql.Literal(names.job.target.id)
        )
        counts.append(sql.SQL("count(*) FILTER (WHERE {} IS NOT NULL AND {})").format(column, filled))
        counts.append(
            sql.SQL("count(*) FILTER (WHERE {} AND {} IS NULL)").format(filled, target.provenance("artifact"))
        )
        waiting = sql.SQL("count(*) FILTER (WHERE {} IS NOT NULL AND {} IS NULL AND {} = {})")
        counts.append(
            waiting.format(column, sql.Identifier(target.column), target.provenance("space"), sql.Literal(CHANGED))
        )
    statement = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(counts), names.served)
    rows, with_vector, *rest = connection.execute(statement).fetchone() or (0, 0)
    converted, native, changed = rest or (0, 0, 0)
    return Coverage(rows, rows - with_vector, converted, 0, native, changed)


def _silence(connection: Connection[Any]) -> None:
    """Keep triggers of the application from firing until the transaction ends; ours fire always."""
    connection.execute("SET LOCAL session_replication_role = replica")
