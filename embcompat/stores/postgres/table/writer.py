"""Writing rows of a PostgreSQL table whose target side is another table, in bulk."""

from __future__ import annotations

import psycopg
from psycopg import sql

from embcompat.stores.postgres.names import listed, matched
from embcompat.stores.postgres.rows.copy import Column
from embcompat.stores.postgres.rows.staging import (
    UNCHANGED,
    Written,
    copy_in,
    probe_by_key,
    stage_rows,
    staged,
    staged_values,
)
from embcompat.stores.postgres.session import Session


def write_rows(session: Session, rows: Written) -> None:
    """Write target rows, with all other columns as the source has them now, in one transaction.

    Rows that no log mentions are held to be new, which is twice as fast; where one is not, all are written again as
    rows that may be there.

    Args:
        session: The session; its open transaction is used if there is one.
        rows: What to write. A target row is never replaced by one that was made from an older source row: what was
            changed since it was read stays in the log.
    """
    if not rows.marks.any():
        try:
            with session.connection.transaction():
                _insert_new(session, rows)
            return
        except psycopg.errors.UniqueViolation:
            pass
    try:
        with session.connection.transaction():
            _write_staged(session, rows)
    except psycopg.errors.UniqueViolation:  # of another column: a row that was changed may still hold the value here
        with session.connection.transaction():
            forget_changed(session)
            _write_staged(session, rows)


def forget_changed(session: Session) -> None:
    """Delete converted target rows that the log mentions: their columns are out of date, and they are written again."""
    session.execute(
        sql.SQL(
            "DELETE FROM {target} t WHERE t.{artifact} IS NOT NULL AND EXISTS (SELECT 1 FROM {log} l WHERE {match})"
        ).format(
            target=session.target.identifier,
            artifact=session.target.provenance("artifact"),
            log=session.names.log,
            match=matched(session.keys, "l", "t"),
        )
    )


def _write_staged(session: Session, rows: Written) -> None:
    staging, same = stage_rows(session, rows)
    _lock_targets(session, staging)
    _update_staged(session, staging, same)
    nothing = sql.SQL(" AND {} ON CONFLICT ({}) DO NOTHING").format(UNCHANGED, listed(session.keys))
    _insert_staged(session, staging, same, nothing)
    if rows.marks.any():
        _clear_log(session, staging)


def _lock_targets(session: Session, staging: sql.Identifier) -> None:
    """Hold the target rows that are there, in key order, so that what is compared next cannot change meanwhile.

    Another worker may have read the same rows later and written them earlier: the statements after this one see it.
    """
    probe_by_key(session)
    session.execute(
        sql.SQL("SELECT 1 FROM {} t JOIN {} g ON {} ORDER BY {} FOR UPDATE OF t").format(
            session.target.identifier, staging, staged(session, "t"), listed(session.keys, "t.")
        )
    )


def _update_staged(session: Session, staging: sql.Identifier, same: sql.Composed) -> None:
    """Write staged rows over target rows that are there, where the source row is still the one that was read."""
    copied = sql.SQL("").join(
        sql.SQL("{0} = s.{0}, ").format(sql.Identifier(name)) for name in session.table.plain_columns
    )
    values = staged_values(session)
    native = sql.SQL("t.{a} IS NULL AND t.{c} IS NOT NULL AND t.{s} = g.source").format(
        a=session.target.provenance("artifact"), c=session.target.vectors, s=session.target.provenance("source")
    )
    converted = sql.SQL(", ").join(
        sql.SQL("{0} = CASE WHEN {1} THEN t.{0} ELSE {2} END").format(sql.Identifier(name), native, value)
        for name, value in zip(session.target.side, values, strict=True)
    )
    session.execute(
        sql.SQL(
            "UPDATE {target} t SET {copied}{converted} FROM {staging} g JOIN {served} s ON {same} "
            "WHERE {match} AND {unchanged}"
        ).format(
            target=session.target.identifier,
            copied=copied,
            converted=converted,
            staging=staging,
            served=session.table.identifier,
            same=same,
            match=staged(session, "t"),
            unchanged=UNCHANGED,
        )
    )


def _clear_log(session: Session, staging: sql.Identifier) -> None:
    """Forget the changes that were read, of rows whose target row is now made from what was read."""
    session.execute(
        sql.SQL(
            "DELETE FROM {log} l USING {staging} g JOIN {target} t ON {match} "
            "WHERE {same} AND l.n <= g.mark AND t.{source} = g.source"
        ).format(
            log=session.names.log,
            staging=staging,
            target=session.target.identifier,
            match=staged(session, "t"),
            same=staged(session, "l"),
            source=session.target.provenance("source"),
        )
    )


def _insert_new(session: Session, rows: Written) -> None:
    """Insert rows that are not there yet; without other columns they need not meet their source rows on the way."""
    if session.table.plain_columns or session.target.storage == "array":
        staging, same = stage_rows(session, rows)
        _insert_staged(session, staging, same, sql.SQL(""))
        return
    job = session.job
    columns = [
        session.target.vector,
        Column("text", constant=job.target.id),
        Column("text", constant=job.artifact_id),
        Column("int8"),
        Column("int4"),
        *session.table.key_columns,
    ]
    fields = [*session.target.side, *session.keys]
    values = [rows.vectors, None, None, rows.digests, rows.versions, *rows.keys]
    copy_in(session, session.target.identifier, fields, columns, values)


def _insert_staged(
    session: Session,
    staging: sql.Identifier,
    same: sql.Composed,
    on_conflict: sql.Composable,
) -> None:
    """Insert staged rows, joined with the other columns of their source rows."""
    probe_by_key(session)
    plain = session.table.plain_columns
    written = [*session.keys, *plain, *session.target.side]
    session.execute(
        sql.SQL(
            "INSERT INTO {target} AS t ({written}) OVERRIDING SYSTEM VALUE "
            "SELECT {keys}{plain}, {values} "
            "FROM {staging} g JOIN {served} s ON {same} WHERE true{on_conflict}"
        ).format(
            target=session.target.identifier,
            written=listed(written),
            keys=listed(session.keys, "s."),
            plain=sql.SQL("").join(sql.SQL(", s.") + sql.Identifier(name) for name in plain),
            values=sql.SQL(", ").join(staged_values(session)),
            staging=staging,
            served=session.table.identifier,
            same=same,
            on_conflict=on_conflict,
        )
    )
