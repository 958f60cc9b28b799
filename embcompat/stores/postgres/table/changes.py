"""What an application does to a PostgreSQL table while another one is filled beside it, and after the swap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.names import listed, matched
from embcompat.stores.postgres.session import Session


def settle_rows(session: Session) -> None:
    """Compare the two tables, in the transaction that is open.

    Target rows whose source row or vector is gone are removed; rows without a vector are brought over, and without a
    vector what could not be converted. Vectors of rows that never had an old one stay.

    From then on only rows that the log mentions can differ, so that nobody has to wait for another comparison.

    Raises:
        StoreError: If there is such a row and the vector may not be NULL.
    """
    differences = _differences(session)
    _follow(session, differences)
    logged, among = _among(session, session.names.log, "s"), _among(session, differences, "s")
    _settle(session, sql.SQL("{} AND {} AND NOT {}").format(among, _absent(session), logged))


def settle_changes(session: Session) -> None:
    """As `settle_rows`, for rows that the log mentions; the others are settled.

    Raises:
        StoreError: If there is a row that could not be converted and the vector may not be NULL.
    """
    _follow(session, session.names.log)
    _settle(session, _among(session, session.names.log, "s"))


def _differences(session: Session) -> sql.Identifier:
    """Note the keys of rows that only one of the two tables has, or that have a vector in the target table alone.

    Both tables are read once for that. What the application changes after that is in the log.

    Returns:
        A temporary table, which goes with the transaction that is open.
    """
    name = f"embcompat_{session.names.tag}_differences"
    either = sql.SQL("coalesce(s.{0}, t.{0}) AS {0}")
    keys = sql.SQL(", ").join(either.format(sql.Identifier(key)) for key in session.keys)
    column = session.table.vectors
    session.execute(
        sql.SQL(
            "CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT {keys} "
            "FROM (SELECT {listed}, {column} IS NOT NULL AS has FROM {served}) s FULL JOIN "
            "(SELECT {listed}, {column} IS NOT NULL AND {recorded} IS NOT NULL AS follows FROM {target}) t "
            "ON {match} WHERE s.has IS NULL OR t.follows IS NULL OR (NOT s.has AND t.follows)"
        ).format(
            name=sql.Identifier(name),
            keys=keys,
            listed=listed(session.keys),
            column=column,
            recorded=session.target.provenance("source"),
            served=session.table.identifier,
            target=session.target.identifier,
            match=matched(session.keys, "s", "t"),
        )
    )
    noted = sql.Identifier("pg_temp", name)
    session.execute(sql.SQL("ANALYZE {}").format(noted))  # few are looked up by their keys, many are joined
    return noted


def _follow(session: Session, noted: sql.Identifier) -> None:
    """Remove target rows whose source row or vector is gone, and bring over rows without a vector.

    Args:
        session: The session.
        noted: Keys of the rows to look at: the log, or the `_differences` of the two tables.
    """
    column = session.table.vectors
    no_source = sql.SQL("NOT EXISTS (SELECT 1 FROM {} s WHERE {})").format(
        session.table.identifier, matched(session.keys, "s", "t")
    )
    no_source_vector = sql.SQL(
        "t.{column} IS NOT NULL AND t.{recorded} IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM {served} s WHERE {match} AND s.{column} IS NULL)"
    ).format(
        column=column,
        recorded=session.target.provenance("source"),
        served=session.table.identifier,
        match=matched(session.keys, "s", "t"),
    )
    among = _among(session, noted, "t")
    for which in (no_source, no_source_vector):
        session.execute(sql.SQL("DELETE FROM {} t WHERE {} AND {}").format(session.target.identifier, among, which))
    _bring_over(session, sql.SQL("s.{} IS NULL AND {}").format(column, _among(session, noted, "s")))


def return_rows(session: Session, old: VectorTable) -> int:
    """Bring rows that changed since the cutover back to the old table, without their new vectors.

    Returns:
        Rows with a new vector that have no old one.

    Raises:
        StoreError: If there are any and the old vector may not be NULL.
    """
    log, parked = _among(session, session.names.log, "s"), old.identifier
    column = session.table.vectors
    match = matched(session.keys, "s", "t")
    session.execute(
        sql.SQL("DELETE FROM {parked} s WHERE {log} AND NOT EXISTS (SELECT 1 FROM {served} t WHERE {match})").format(
            parked=parked, log=log, served=session.table.identifier, match=match
        )
    )
    written = sql.SQL("t.{column} IS NOT NULL AND t.{recorded} IS NULL").format(
        column=column, recorded=session.target.provenance("source")
    )
    no_old_vector = sql.SQL(
        "t.{column} IS NOT NULL AND {log} AND NOT EXISTS (SELECT 1 FROM {parked} s WHERE {match} "
        "AND s.{column} IS NOT NULL)"
    ).format(column=column, log=_among(session, session.names.log, "t"), parked=parked, match=match)
    which = sql.SQL("FROM {} t WHERE ({}) OR ({})").format(session.table.identifier, written, no_old_vector)
    without = session.count(which)
    if without and not old.nullable:
        raise session.without_old(without)
    if old.nullable:
        session.execute(
            sql.SQL(
                "UPDATE {parked} s SET {column} = NULL FROM {served} t WHERE {match} AND {written} AND {log}"
            ).format(
                parked=parked, column=column, served=session.table.identifier, match=match, written=written, log=log
            )
        )
    plain = old.plain_columns
    session.execute(
        sql.SQL(
            "INSERT INTO {parked} ({written}) OVERRIDING SYSTEM VALUE SELECT {written} FROM {served} s WHERE {log} "
            "ON CONFLICT ({keys}) DO {update}"
        ).format(
            parked=parked,
            written=listed([*session.keys, *plain]),
            served=session.table.identifier,
            log=log,
            keys=listed(session.keys),
            update=sql.SQL("UPDATE SET {}").format(_updates(plain)) if plain else sql.SQL("NOTHING"),
        )
    )
    return without


def _settle(session: Session, which: sql.Composable) -> None:
    """Bring over rows with a source vector, without a vector."""
    column = session.table.vectors
    left = sql.SQL("s.{} IS NOT NULL AND {}").format(column, which)
    count = session.count(sql.SQL("FROM {} s WHERE {}").format(session.table.identifier, left))
    if not count:
        return
    if not session.table.nullable:
        raise session.unconverted(count)
    clear = sql.SQL(", ").join(sql.SQL("{} = NULL").format(name) for name in map(sql.Identifier, session.target.side))
    session.execute(
        sql.SQL("UPDATE {target} t SET {clear} FROM {served} s WHERE {match} AND {left}").format(
            target=session.target.identifier,
            clear=clear,
            served=session.table.identifier,
            match=matched(session.keys, "s", "t"),
            left=left,
        )
    )
    _bring_over(session, left)


def _bring_over(session: Session, which: sql.Composable) -> None:
    plain = session.table.plain_columns
    session.execute(
        sql.SQL(
            "INSERT INTO {target} ({written}) OVERRIDING SYSTEM VALUE SELECT {chosen} FROM {served} s WHERE {which} "
            "ON CONFLICT ({keys}) DO {update}"
        ).format(
            target=session.target.identifier,
            written=listed([*session.keys, *plain]),
            chosen=listed([*session.keys, *plain], "s."),
            served=session.table.identifier,
            which=which,
            keys=listed(session.keys),
            update=sql.SQL("UPDATE SET {}").format(_updates(plain)) if plain else sql.SQL("NOTHING"),
        )
    )


def _among(session: Session, noted: sql.Identifier, alias: LiteralString) -> sql.Composed:
    """Return the condition that a table of keys mentions a row."""
    return sql.SQL("EXISTS (SELECT 1 FROM {} l WHERE {})").format(noted, matched(session.keys, "l", alias))


def _absent(session: Session) -> sql.Composed:
    return sql.SQL("NOT EXISTS (SELECT 1 FROM {} a WHERE {})").format(
        session.target.identifier, matched(session.keys, "a", "s")
    )


def _updates(columns: Sequence[str]) -> sql.Composed:
    """Return what a conflict sets: the columns as they come in."""
    return sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns)
