"""A small index of the rows that still wait for a new vector, for the time of a cutover."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from embcompat.stores.postgres.names import listed
from embcompat.stores.postgres.session import Session

_LONGEST_WAIT_SECONDS: Final = 30
"""How long the index waits for each transaction that was open before it [ours]."""


def create_waiting_index(session: Session) -> None:
    """Index the rows without a new vector, while applications read and write.

    Next to none are left before a cutover. Without the index, the cutover would have to read the whole table to find
    them, while writers wait.
    """
    target, name = session.target, session.names.identifier(_name(session))
    broken = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
    if session.execute(broken, (session.text(name),)).fetchone() is not None:
        session.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))
    session.execute(sql.SQL("ANALYZE {} ({})").format(target.identifier, target.vectors))  # or the index is not chosen
    session.execute(sql.SQL("SET lock_timeout = {}").format(1_000 * _LONGEST_WAIT_SECONDS))
    try:
        session.execute(
            sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} ({}) WHERE {} IS NOT NULL AND {} IS NULL").format(
                sql.Identifier(_name(session)),
                session.table.identifier,
                listed(session.keys),
                session.table.vectors,
                target.vectors,
            )
        )
    finally:
        if not session.connection.closed:
            session.execute("SET lock_timeout = 0")


def drop_waiting_index(session: Session) -> None:
    """Drop the index, in the transaction that holds the table."""
    session.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(session.names.identifier(_name(session))))


def _name(session: Session) -> str:
    return session.names.trigger("waiting")
