"""Rows of a PostgreSQL table whose target side is another table: found and counted."""

from __future__ import annotations

from psycopg import sql

from embcompat.stores.postgres.names import listed, matched
from embcompat.stores.postgres.rows.parts import Part, within
from embcompat.stores.postgres.session import Session
from embcompat.stores.values import Coverage, Phase


def missing_rows(session: Session, part: Part) -> sql.Composed:
    """Return FROM and WHERE of rows with a vector that have no target row, in a range of keys."""
    among = within(session.keys, part)
    any_target = sql.SQL("SELECT 1 FROM {} s WHERE true{} LIMIT 1").format(session.target.identifier, among)
    absent: sql.Composable = sql.SQL("")
    if session.execute(any_target).fetchone() is not None:
        absent = sql.SQL(" AND NOT EXISTS (SELECT 1 FROM {} t WHERE {} AND t.{} IS NOT NULL{})").format(
            session.target.identifier,
            matched(session.keys, "t", "s"),
            session.table.vectors,
            within(session.keys, part, "t."),
        )
    column = session.table.vectors
    return sql.SQL("FROM {} s WHERE s.{} IS NOT NULL{}{}").format(session.table.identifier, column, absent, among)


def compared_rows(session: Session, part: Part) -> sql.Composed:
    """Return FROM and WHERE of rows with a vector in a range of keys, their target row ``t`` and last change ``m.n``.

    The range is given for each table: the server does not conclude it from the joins, and would read from the start.
    """
    return sql.SQL(
        "FROM {served} s LEFT JOIN {target} t ON {on_target}{of_target} LEFT JOIN (SELECT {keys}, max(n) AS n "
        "FROM {log} l WHERE true{of_log} GROUP BY {keys}) m ON {on_log} WHERE s.{column} IS NOT NULL{of_source}"
    ).format(
        served=session.table.identifier,
        target=session.target.identifier,
        on_target=matched(session.keys, "t", "s"),
        of_target=within(session.keys, part, "t."),
        keys=listed(session.keys),
        log=session.names.log,
        of_log=within(session.keys, part, "l."),
        on_log=matched(session.keys, "m", "s"),
        column=session.table.vectors,
        of_source=within(session.keys, part),
    )


def logged_rows(session: Session) -> sql.Composed:
    """Return FROM and WHERE of rows with a vector that the application changed; ``m.n`` is the last change seen."""
    return sql.SQL(
        "FROM (SELECT {keys}, max(n) AS n FROM {log} GROUP BY {keys}) m JOIN {served} s ON {match} "
        "WHERE s.{column} IS NOT NULL"
    ).format(
        keys=listed(session.keys),
        log=session.names.log,
        served=session.table.identifier,
        match=matched(session.keys, "m", "s"),
        column=session.table.vectors,
    )


def count_rows(session: Session, *, phase: Phase) -> Coverage:
    """Count the rows of both sides in one snapshot; of the table in service where the other one is not there."""
    column = session.table.vectors
    counted = sql.SQL("SELECT count(*), count({}) FROM {}").format(column, session.table.identifier)
    if phase == "untouched":
        rows, with_vector = session.execute(counted).fetchone() or (0, 0)
        return Coverage(rows, rows - with_vector, 0, 0, 0)
    of_target = sql.SQL("{} IS NOT NULL AND {} = {}").format(
        column, session.target.provenance("space"), sql.Literal(session.job.target.id)
    )
    logged: sql.Composable = sql.SQL("false")
    changed: sql.Composable = sql.SQL("0")
    if phase == "prepared":
        logged = sql.SQL("EXISTS (SELECT 1 FROM {} l WHERE {})").format(
            session.names.log, matched(session.keys, "l", "t")
        )
        changed = sql.SQL(
            "(SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {log}) l JOIN {served} s ON {on_source} "
            "WHERE s.{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {target} t WHERE {on_target} AND {has}))"
        ).format(
            keys=listed(session.keys),
            log=session.names.log,
            served=session.table.identifier,
            on_source=matched(session.keys, "l", "s"),
            column=column,
            target=session.target.identifier,
            on_target=matched(session.keys, "t", "l"),
            has=sql.SQL("t.{} IS NOT NULL AND t.{} = {}").format(
                column, session.target.provenance("space"), sql.Literal(session.job.target.id)
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
        keys=listed(session.keys),
        column=column,
        of_target=of_target,
        logged=logged,
        recorded=session.target.provenance("source"),
        artifact=session.target.provenance("artifact"),
        target=session.target.identifier if phase == "prepared" else session.table.identifier,
        served=session.table.identifier,
        match=matched(session.keys, "s", "t"),
    )
    rows, with_vector, converted, orphans, native, waiting = session.execute(statement).fetchone() or (0,) * 6
    return Coverage(rows, rows - with_vector, converted, orphans, native, waiting)
