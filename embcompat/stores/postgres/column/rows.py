"""Rows of a PostgreSQL table whose target side is another column: found, filled, emptied and counted."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, sql

from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.column.following import CHANGED
from embcompat.stores.postgres.column.side import needs_vector
from embcompat.stores.postgres.names import listed, matched
from embcompat.stores.postgres.rows.parts import WHOLE, Part, within
from embcompat.stores.postgres.rows.staging import UNCHANGED, Written, probe_by_key, stage_rows, staged_values
from embcompat.stores.postgres.session import Session
from embcompat.stores.values import Coverage


def may_silence(connection: Connection[Any]) -> bool:
    """Return whether this user may keep the application's triggers from firing for every row that is filled."""
    try:
        with connection.transaction(force_rollback=True):
            _silence(connection)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def empty_rows(session: Session, part: Part) -> sql.Composed:
    """Return FROM and WHERE of rows with a vector and without a new one, in a range of keys."""
    table = session.table
    return sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND s.{} IS NULL{}{}").format(
        table.identifier, table.vectors, session.target.vectors, table.chosen, within(session.keys, part)
    )


def write_rows(session: Session, rows: Written, *, silent: bool) -> None:
    """Fill the new column, in one transaction.

    Args:
        session: The session; its open transaction is used if there is one.
        rows: What to write; a row that was changed since it was read is left out.
        silent: Whether to keep the application's triggers from firing.
    """
    with session.connection.transaction():
        staging, same = stage_rows(session, rows)
        probe_by_key(session)
        if silent:
            _silence(session.connection)
        session.execute(
            sql.SQL(
                "UPDATE {served} s SET {filled} FROM {staging} g WHERE {same} AND s.{vector} IS NOT NULL "
                "AND {unchanged} AND NOT (s.{column} IS NOT NULL "
                "AND s.{artifact} IS NULL AND s.{source} IS NOT DISTINCT FROM g.source){chosen}"
            ).format(
                served=session.table.identifier,
                filled=sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), value)
                    for name, value in zip(session.target.side, staged_values(session), strict=True)
                ),
                staging=staging,
                same=same,
                vector=session.table.vectors,
                unchanged=UNCHANGED,
                column=session.target.vectors,
                artifact=session.target.provenance("artifact"),
                source=session.target.provenance("source"),
                chosen=session.table.chosen,
            )
        )


def clear_rows(session: Session, which: sql.Composable, *, silent: bool) -> None:
    """Empty the new column of some rows that are migrated, in the transaction that is open."""
    if silent:
        _silence(session.connection)
    cleared = sql.SQL(", ").join(sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in session.target.side)
    clear = sql.SQL("UPDATE {} s SET {} WHERE {}{}")
    session.execute(clear.format(session.table.identifier, cleared, which, session.table.chosen))


def settle_rows(session: Session) -> None:
    """Find out whether rows that could not be converted may stay without a vector.

    Raises:
        StoreError: If there is one and the vector may not be NULL.
    """
    if not needs_vector(session):
        return
    if count := session.count(empty_rows(session, WHOLE)):
        raise session.unconverted(count)


def return_rows(session: Session, *, silent: bool) -> int:
    """Empty the old vector of rows that got a new one since the cutover.

    Returns:
        How many these are.

    Raises:
        StoreError: If there are any and the old vector may not be NULL.
    """
    written = sql.SQL("s.{} IS NOT NULL AND s.{} IS NULL{}").format(
        session.table.vectors, session.table.provenance("source"), session.table.chosen
    )
    without = session.count(sql.SQL("FROM {} s WHERE {}").format(session.table.identifier, written))
    if without and needs_vector(session):
        raise session.without_old(without)
    if silent:
        _silence(session.connection)
    old = sql.Identifier(session.names.old_column)
    session.execute(sql.SQL("UPDATE {} s SET {} = NULL WHERE {}").format(session.table.identifier, old, written))
    return without


def count_rows(session: Session, side: VectorTable | None) -> Coverage:
    """Count the rows of both sides; of the source alone where there is no target yet."""
    column = session.table.vectors
    counts = [sql.SQL("count(*)"), sql.SQL("count({})").format(column)]
    if side is not None:
        filled = sql.SQL("{} IS NOT NULL AND {} = {}").format(
            side.vectors, side.provenance("space"), sql.Literal(session.job.target.id)
        )
        counts.append(sql.SQL("count(*) FILTER (WHERE {} IS NOT NULL AND {})").format(column, filled))
        counts.append(sql.SQL("count(*) FILTER (WHERE {} AND {} IS NULL)").format(filled, side.provenance("artifact")))
        waiting = sql.SQL("count(*) FILTER (WHERE {} IS NOT NULL AND {} IS NULL AND {} = {})")
        counts.append(waiting.format(column, side.vectors, side.provenance("space"), sql.Literal(CHANGED)))
    statement = sql.SQL("SELECT {} FROM {} s WHERE true{}").format(
        sql.SQL(", ").join(counts), session.table.identifier, session.table.chosen
    )
    rows, with_vector, *rest = session.execute(statement).fetchone() or (0, 0)
    converted, native, changed = rest or (0, 0, 0)
    return Coverage(rows, rows - with_vector, converted, 0, native, changed)


def left_out_rows(session: Session) -> sql.Composed:
    """Return FROM and WHERE of the rows with a vector that are not migrated."""
    table = session.table
    return sql.SQL("FROM {} s WHERE s.{} IS NOT NULL{}").format(table.identifier, table.vectors, table.left_out)


def copy_left_out(session: Session, part: Part, *, silent: bool) -> None:
    """Give the rows of a range that are not migrated their vector in the new column too, in one transaction.

    Rows that somebody else has locked are left for later.
    """
    table, target = session.table, session.target
    columns = {table.column, *table.others}
    copied = [(new, old) for new, old in zip(target.side, table.side, strict=True) if old in columns]
    with session.connection.transaction():
        probe_by_key(session)
        if silent:
            _silence(session.connection)
        session.execute(
            sql.SQL(
                "WITH chosen AS (SELECT {keys} FROM {served} s WHERE s.{vector} IS NOT NULL AND s.{column} IS NULL"
                "{left_out}{within} ORDER BY {keys} FOR NO KEY UPDATE SKIP LOCKED) "
                "UPDATE {served} s SET {copied} FROM chosen c WHERE {same}"
            ).format(
                keys=listed(session.keys, "s."),
                served=table.identifier,
                vector=table.vectors,
                column=target.vectors,
                left_out=table.left_out,
                within=within(session.keys, part),
                copied=sql.SQL(", ").join(
                    sql.SQL("{} = s.{}").format(sql.Identifier(new), sql.Identifier(old)) for new, old in copied
                ),
                same=matched(session.keys, "s", "c"),
            )
        )


def _silence(connection: Connection[Any]) -> None:
    """Keep triggers of the application from firing until the transaction ends; ours fire always."""
    connection.execute("SET LOCAL session_replication_role = replica")
