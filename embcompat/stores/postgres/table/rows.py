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
    """Return FROM and WHERE of rows with a vector in a range of keys, what is known of their target row and changes.

    Rows whose target row was made from the version that stands there now are left out: PostgreSQL gives a row that is
    changed in any way another ``xmin``. The digests of all others are to be compared; those of every row where the job
    reads texts, because it may name another column than before.

    The range is given for each table: the server does not conclude it from the joins, and would read from the start.

    Returns:
        The source row ``s``, the digest ``t.source`` that its target row was made from, if that has a vector, and the
        number ``m.n`` of its last change in the log.
    """
    same: sql.Composable = sql.SQL("")
    if session.job.text_column is None:
        same = sql.SQL(" AND (s.xmin IS DISTINCT FROM t.version OR t.source IS NULL OR m.n IS NOT NULL)")
    return sql.SQL(
        "FROM {served} s LEFT JOIN (SELECT {keys}, {version} AS version, CASE WHEN {column} IS NOT NULL THEN {source} "
        "END AS source FROM {target} t WHERE true{of_target}) t ON {on_target} LEFT JOIN (SELECT {keys}, max(n) AS n "
        "FROM {log} l WHERE true{of_log} GROUP BY {keys}) m ON {on_log} WHERE s.{column} IS NOT NULL{same}{of_source}"
    ).format(
        same=same,
        served=session.table.identifier,
        target=session.target.identifier,
        version=session.target.provenance("version"),
        source=session.target.provenance("source"),
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
    if phase == "untouched":
        counted = sql.SQL("SELECT count(*), count({}) FROM {}").format(column, session.table.identifier)
        rows, with_vector = session.execute(counted).fetchone() or (0, 0)
        return Coverage(rows, rows - with_vector, 0, 0, 0)
    source = sql.SQL("(SELECT {keys}, {column} IS NOT NULL AS has FROM {served}) s").format(
        keys=listed(session.keys), column=column, served=session.table.identifier
    )
    target = sql.SQL(
        "(SELECT {keys}, {column} IS NOT NULL AND {space} IS NOT DISTINCT FROM {id} AS has, "
        "{column} IS NOT NULL AND {recorded} IS NOT NULL AS follows, {artifact} IS NULL AS native FROM {target}) t"
    ).format(
        keys=listed(session.keys),
        column=column,
        space=session.target.provenance("space"),
        id=sql.Literal(session.job.target.id),
        recorded=session.target.provenance("source"),
        artifact=session.target.provenance("artifact"),
        target=session.target.identifier if phase == "prepared" else session.table.identifier,
    )
    orphan = sql.SQL("t.has IS NOT NULL AND (s.has IS NULL OR (NOT s.has AND t.follows))")
    logged: sql.Composable = sql.SQL("SELECT 0 AS orphans, 0 AS changed")
    if phase == "prepared":
        logged = sql.SQL(
            "SELECT count(*) FILTER (WHERE {orphan}) AS orphans, "
            "count(*) FILTER (WHERE s.has AND t.has IS NOT TRUE) AS changed FROM (SELECT DISTINCT {keys} FROM {log}) l "
            "LEFT JOIN {source} ON {on_source} LEFT JOIN {target} ON {on_target}"
        ).format(
            orphan=orphan,
            keys=listed(session.keys),
            log=session.names.log,
            source=source,
            on_source=matched(session.keys, "l", "s"),
            target=target,
            on_target=matched(session.keys, "l", "t"),
        )
    statement = sql.SQL(
        "SELECT b.rows, b.with_vector, b.converted, b.orphans - l.orphans, b.native, l.changed FROM ("
        "SELECT count(s.has) AS rows, count(*) FILTER (WHERE s.has) AS with_vector, "
        "count(*) FILTER (WHERE s.has AND t.has) AS converted, count(*) FILTER (WHERE {orphan}) AS orphans, "
        "count(*) FILTER (WHERE t.has AND t.native) AS native FROM {source} FULL JOIN {target} ON {match}) b, "
        "({logged}) l"
    ).format(orphan=orphan, source=source, target=target, match=matched(session.keys, "s", "t"), logged=logged)
    rows, with_vector, converted, orphans, native, changed = session.execute(statement).fetchone() or (0,) * 6
    return Coverage(rows, rows - with_vector, converted, orphans, native, changed)
