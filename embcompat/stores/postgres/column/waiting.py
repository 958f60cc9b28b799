"""A small index of the rows that still wait for a new vector, for the time of a cutover."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from embcompat.stores.postgres.catalog.partitions import family, is_partitioned
from embcompat.stores.postgres.names import listed
from embcompat.stores.postgres.session import Session

_LONGEST_WAIT_SECONDS: Final = 30
"""How long the index waits for each transaction that was open before it [ours]."""


def create_waiting_index(session: Session) -> None:
    """Index the rows without a new vector, in each partition, while applications read and write.

    Next to none are left before a cutover. Without the index, the cutover would have to read the whole table to find
    them, while writers wait.
    """
    for member in family(session):
        if not is_partitioned(member.connection, member.table):
            _create_index(member)


def drop_waiting_index(session: Session) -> None:
    """Drop the index, in the transaction that holds the table."""
    for member in family(session):
        session.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(_identifier(member)))


def waiting_name(session: Session) -> str:
    """Return the name of the index of one table."""
    return f"{session.names.trigger('waiting')}_{session.table.oid}"


def _create_index(session: Session) -> None:
    target, name = session.target, _identifier(session)
    broken = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
    if session.execute(broken, (session.text(name),)).fetchone() is not None:
        session.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
    session.execute(sql.SQL("ANALYZE {} ({})").format(target.identifier, target.vectors))  # or the index is not chosen
    session.execute(sql.SQL("SET lock_timeout = {}").format(1_000 * _LONGEST_WAIT_SECONDS))
    try:
        session.execute(
            sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} ({}) WHERE {} IS NOT NULL AND {} IS NULL").format(
                sql.Identifier(waiting_name(session)),
                session.table.identifier,
                listed(session.keys),
                session.table.vectors,
                target.vectors,
            )
        )
    finally:
        if not session.connection.closed:
            session.execute("SET lock_timeout = 0")


def _identifier(session: Session) -> sql.Identifier:
    return sql.Identifier(session.table.schema, waiting_name(session))
