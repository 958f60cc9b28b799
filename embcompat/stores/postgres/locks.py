"""Waiting for the locks of a PostgreSQL table without holding up everybody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from embcompat.errors import StoreError

LOCK_MILLISECONDS: Final = 2_000
"""Longest wait for a lock, in which others may queue behind it; then it is let go and tried again [ours]."""

LOCK_TRIES: Final = 15

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
                raise StoreError(f"{where}: no lock after {LOCK_TRIES} tries: {error}") from error
            time.sleep(0.1 * (attempt + 1))


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
