"""Wait for the locks of a PostgreSQL table without blocking other sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from embcompat.errors import StoreError
from embcompat.stores.values import LockWait

_LONGEST_PAUSE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.5

CATCH_UP_PASSES: Final = 3
"""How often a cutover converts the rows that changed while it compared, before it lets writers wait [ours]."""


def with_locks(
    connection: psycopg.Connection[Any],
    action: Callable[[], None],
    *,
    table: sql.Identifier,
    readers: bool,
    wait: LockWait,
    where: str,
) -> None:
    """Do something in one transaction that waits for locks only shortly, and again when they are not given.

    While another transaction has held the table for a second or more, the lock is not asked for: everybody else
    would queue behind the request.

    Args:
        connection: A connection.
        action: What to do.
        table: The table that is locked.
        readers: Whether transactions that only read it are in the way as well.
        wait: Longest wait for a lock, and number of tries.
        where: What to call the gallery in errors.

    Raises:
        StoreError: If a lock is never given; the message names the sessions in the way.
    """
    holders: list[str] = []
    for attempt in range(wait.tries):
        holders = _long_holders(connection, table, readers=readers)
        if not holders:
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(max(1, round(1e3 * wait.seconds))))
                    action()
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                holders = [str(error)]
        if attempt < wait.tries - 1:
            time.sleep(min(_LONGEST_PAUSE_SECONDS, 0.1 * (attempt + 1)))
    names = "; ".join(dict.fromkeys([*holders, *_long_holders(connection, table, readers=readers)]))
    raise StoreError(
        f"{where}: no lock after {wait.tries} tries: {names}. Nothing has changed. End these transactions, or raise "
        "--tries or --lock-timeout."
    )


def _long_holders(connection: psycopg.Connection[Any], table: sql.Identifier, *, readers: bool) -> list[str]:
    """Name the sessions whose transaction has been open for a second or more and holds a lock on the table."""
    rows = connection.execute(
        "SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), a.usename::text, ''), a.state, "
        "extract(epoch FROM clock_timestamp() - a.xact_start)::int FROM pg_locks l JOIN pg_stat_activity a "
        "ON a.pid = l.pid WHERE l.relation = to_regclass(%s) AND l.granted AND a.pid <> pg_backend_pid() "
        "AND (%s OR l.mode NOT IN ('AccessShareLock', 'RowShareLock')) "
        "AND a.xact_start < clock_timestamp() - interval '1 second' ORDER BY 4 DESC LIMIT 3",
        (table.as_string(connection), readers),
    ).fetchall()
    return [
        f"process {pid} of {name} ({state}) has held the table for {seconds} s" for pid, name, state, seconds in rows
    ]


@contextmanager
def one_at_a_time(connection: psycopg.Connection[Any], name: str) -> Iterator[None]:
    """Let one worker after the other do something; a worker that is killed gives way.

    The waiting worker asks again and again: a session that sleeps in the server would hold up the building of an index.
    """
    key = sql.SQL("(hashtextextended({}, 0))").format(name)
    while not _is_true(connection, sql.SQL("SELECT pg_try_advisory_lock{}").format(key)):
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _is_true(connection, sql.SQL("SELECT pg_advisory_unlock{}").format(key))


def _is_true(connection: psycopg.Connection[Any], query: sql.Composed) -> bool:
    row = connection.execute(query).fetchone()
    return row is not None and bool(row[0])
