"""Key ranges of a PostgreSQL table, of which each worker takes one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, LiteralString

from psycopg import sql

from embcompat.stores.postgres.catalog.objects import close_to_others
from embcompat.stores.postgres.names import listed, literals, row_of
from embcompat.stores.postgres.session import Session

PART_ROWS: Final = 16_000
"""Rows of the key range that a worker takes at a time [ours]."""

Part = tuple[Any, Any]
"""The first key of a range and that of the next one; None stands for the ends."""

WHOLE: Final[Part] = (None, None)
"""The range of all keys."""


def within(keys: Sequence[str], part: Part, prefix: LiteralString = "s.") -> sql.Composed:
    """Return the condition that a row is in a range of keys, to be added to others."""
    return sql.SQL("").join(
        sql.SQL(" AND {} {} {}").format(row_of(keys, prefix), sql.SQL(sign), literals(bound))
        for sign, bound in zip((">=", "<"), part, strict=True)
        if bound is not None
    )


def create_parts(session: Session) -> None:
    """Make the table of the key ranges that workers take."""
    key_fields = sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed(session.keys), session.table.identifier)
    session.execute(sql.SQL("CREATE TABLE {} AS {}").format(session.names.parts, key_fields))
    add = sql.SQL("ALTER TABLE {} ADD n integer PRIMARY KEY, ADD pid integer, ADD started timestamptz")
    session.execute(add.format(session.names.parts))
    close_to_others(session.connection, session.names.parts)


def _make_parts(session: Session) -> None:
    with session.connection.transaction():
        session.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(session.names.parts))
        session.execute(
            sql.SQL(
                "INSERT INTO {parts} ({keys}, n) SELECT {keys}, row_number() OVER (ORDER BY {keys}) FROM "
                "(SELECT {keys}, row_number() OVER (ORDER BY {keys}) AS r FROM {served}) numbered "
                "WHERE r % {rows} = 1 AND NOT EXISTS (SELECT 1 FROM {parts})"
            ).format(
                parts=session.names.parts, keys=listed(session.keys), served=session.table.identifier, rows=PART_ROWS
            )
        )


def take_parts(session: Session, *, claim: bool) -> Iterator[Part]:
    """Go through the key ranges; with ``claim``, leave out those that a living worker has taken.

    A worker's ranges are free again when it ends or its connection does.
    """
    _make_parts(session)
    keys = listed(session.keys)
    bounds = session.execute(sql.SQL("SELECT n, {} FROM {} ORDER BY n").format(keys, session.names.parts)).fetchall()
    places = {number: place for place, (number, *_) in enumerate(bounds)}
    firsts = [None if place == 0 else tuple(key) for place, (_, *key) in enumerate(bounds)]
    if not claim or len(bounds) < 2:
        yield from zip(firsts or [None], [*firsts[1:], None], strict=True)
        return
    last = 0
    try:
        while (row := session.execute(_claim(session), (last,)).fetchone()) is not None:
            last = row[0]
            place = places[last]
            yield firsts[place], [*firsts, None][place + 1]
    finally:
        session.execute(sql.SQL("UPDATE {} SET pid = NULL WHERE pid = pg_backend_pid()").format(session.names.parts))


def _claim(session: Session) -> sql.Composed:
    return sql.SQL(
        "UPDATE {parts} SET pid = pg_backend_pid(), started = "
        "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) WHERE n = ("
        "SELECT p.n FROM {parts} p WHERE p.n > %s AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.pid = p.pid "
        "AND a.backend_start = p.started AND a.pid <> pg_backend_pid()) ORDER BY p.n LIMIT 1 FOR UPDATE SKIP LOCKED) "
        "RETURNING n"
    ).format(parts=session.names.parts)
