"""Waiting for the locks of a PostgreSQL table without holding up everybody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from embcompat.errors import StoreError

LOCK_MILLISECONDS: Final = 150
"""Longest wait for a lock, in which others may queue behind it; then it is let go and tried again [ours]."""

LOCK_TRIES: Final = 30

_LONGEST_PAUSE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.5


def with_locks(connection: psycopg.Connection[Any], action: Callable[[], None], *, where: str) -> None:
    """Do something in one transaction that waits for locks only shortly, and again when they are not given.

    Raises:
        StoreError: If a lock is never given, or the server refuses what is done.
    """
    for attempt in range(LOCK_TRIES):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_MILLISECONDS))
                action()
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if attempt == LOCK_TRIES - 1:
                raise StoreError(
                    f"{where}: no lock after {LOCK_TRIES} tries: {error}.{_open_transactions(connection)}"
                ) from error
            time.sleep(min(_LONGEST_PAUSE_SECONDS, 0.1 * (attempt + 1)))


def _open_transactions(connection: psycopg.Connection[Any]) -> str:
    """Name the sessions with the oldest open transactions, which hold what others wait for."""
    rows = connection.execute(
        "SELECT pid, state, extract(epoch FROM now() - xact_start)::int FROM pg_stat_activity "
        "WHERE datname = current_database() AND xact_start < now() - interval '1 second' AND pid <> pg_backend_pid() "
        "ORDER BY xact_start LIMIT 3"
    ).fetchall()
    shown = ", ".join(f"process {pid} ({state}, open for {seconds} s)" for pid, state, seconds in rows)
    return f" Oldest open transactions: {shown}." if shown else ""


@contextmanager
def one_at_a_time(connection: psycopg.Connection[Any], name: str) -> Iterator[None]:
    """Let one worker after the other do something; a worker that is killed gives way.

    Who waits asks again and again: a session that sleeps in the server would hold up the building of an index.
    """
    key = sql.SQL("(hashtextextended({}, 0))").format(name)
    while not _said(connection, sql.SQL("SELECT pg_try_advisory_lock{}").format(key)):
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _said(connection, sql.SQL("SELECT pg_advisory_unlock{}").format(key))


def _said(connection: psycopg.Connection[Any], query: sql.Composed) -> bool:
    row = connection.execute(query).fetchone()
    return row is not None and bool(row[0])
