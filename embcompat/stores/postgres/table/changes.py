"""What an application does to a PostgreSQL table while another one is filled beside it, and after the swap."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import Connection, sql

from embcompat.errors import StoreError
from embcompat.stores.postgres.catalog import VectorTable
from embcompat.stores.postgres.names import PROVENANCE, Target, listed, matched
from embcompat.stores.postgres.writer import plain_columns, updates


def follow_rows(connection: Connection[Any], names: Target, table: VectorTable, *, logged_only: bool = False) -> int:
    """Remove target rows whose source row or vector is gone, and bring over rows without a vector.

    Args:
        connection: A connection.
        names: Names of the job.
        table: The table in service.
        logged_only: Look only at rows that the log mentions, instead of comparing the two tables.

    Returns:
        Rows removed. Vectors of rows that never had an old one stay.
    """
    column = sql.Identifier(table.column)
    among = _logged(names, table, "t") if logged_only else sql.SQL("true")
    gone = sql.SQL("NOT EXISTS (SELECT 1 FROM {} s WHERE {})").format(names.served, matched(table.keys, "s", "t"))
    lost = sql.SQL(
        "t.{column} IS NOT NULL AND t.{recorded} IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM {served} s WHERE {match} AND s.{column} IS NULL)"
    ).format(
        column=column,
        recorded=names.provenance("source"),
        served=names.served,
        match=matched(table.keys, "s", "t"),
    )
    removed = sum(
        connection.execute(sql.SQL("DELETE FROM {} t WHERE {} AND {}").format(names.target, among, which)).rowcount
        for which in (gone, lost)
    )
    new = _logged(names, table, "s")
    if not logged_only:
        new = sql.SQL("({} OR {})").format(new, _absent(names, table))
    _bring_over(connection, names, table, sql.SQL("s.{} IS NULL AND {}").format(column, new))
    return removed


def settle_rows(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    """Compare the two tables, and bring over without a vector what could not be converted.

    From then on only rows that the log mentions can differ, so that nobody has to wait for another comparison.

    Raises:
        StoreError: If there is such a row and the vector may not be NULL.
    """
    follow_rows(connection, names, table)
    _settle(
        connection, names, table, sql.SQL("{} AND NOT {}").format(_absent(names, table), _logged(names, table, "s"))
    )


def settle_changes(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    """As `settle_rows`, for rows that the log mentions; the others are settled.

    Raises:
        StoreError: If there is a row that could not be converted and the vector may not be NULL.
    """
    follow_rows(connection, names, table, logged_only=True)
    _settle(connection, names, table, _logged(names, table, "s"))


def return_rows(connection: Connection[Any], names: Target, table: VectorTable, old: VectorTable) -> int:
    """Bring rows that changed since the cutover back to the old table, without their new vectors.

    Returns:
        Rows with a new vector that have no old one.

    Raises:
        StoreError: If there are any and the old vector may not be NULL.
    """
    log, parked = _logged(names, table, "s"), names.identifier(names.old_name)
    column = sql.Identifier(table.column)
    match = matched(table.keys, "s", "t")
    connection.execute(
        sql.SQL("DELETE FROM {parked} s WHERE {log} AND NOT EXISTS (SELECT 1 FROM {served} t WHERE {match})").format(
            parked=parked, log=log, served=names.served, match=match
        )
    )
    written = sql.SQL("t.{column} IS NOT NULL AND t.{recorded} IS NULL").format(
        column=column, recorded=names.provenance("source")
    )
    lost = sql.SQL(
        "t.{column} IS NOT NULL AND {log} AND NOT EXISTS (SELECT 1 FROM {parked} s WHERE {match} "
        "AND s.{column} IS NOT NULL)"
    ).format(column=column, log=_logged(names, table, "t"), parked=parked, match=match)
    which = sql.SQL("FROM {} t WHERE ({}) OR ({})").format(names.served, written, lost)
    without = count_where(connection, which)
    if without and not old.nullable:
        raise without_old(without, table.column)
    if old.nullable:
        connection.execute(
            sql.SQL(
                "UPDATE {parked} s SET {column} = NULL FROM {served} t WHERE {match} AND {written} AND {log}"
            ).format(parked=parked, column=column, served=names.served, match=match, written=written, log=log)
        )
    plain = plain_columns(old)
    connection.execute(
        sql.SQL(
            "INSERT INTO {parked} ({written}) OVERRIDING SYSTEM VALUE SELECT {written} FROM {served} s WHERE {log} "
            "ON CONFLICT ({keys}) DO {update}"
        ).format(
            parked=parked,
            written=listed([*table.keys, *plain]),
            served=names.served,
            log=log,
            keys=listed(table.keys),
            update=sql.SQL("UPDATE SET {}").format(updates(plain)) if plain else sql.SQL("NOTHING"),
        )
    )
    return without


def _settle(connection: Connection[Any], names: Target, table: VectorTable, which: sql.Composable) -> None:
    """Bring over rows with a source vector, without a vector."""
    column = sql.Identifier(table.column)
    left = sql.SQL("s.{} IS NOT NULL AND {}").format(column, which)
    count = count_where(connection, sql.SQL("FROM {} s WHERE {}").format(names.served, left))
    if not count:
        return
    if not table.nullable:
        raise unconverted(count, table.column)
    clear = sql.SQL(", ").join(
        sql.SQL("{} = NULL").format(name) for name in (column, *(names.provenance(kind) for kind in PROVENANCE))
    )
    connection.execute(
        sql.SQL("UPDATE {target} t SET {clear} FROM {served} s WHERE {match} AND {left}").format(
            target=names.target, clear=clear, served=names.served, match=matched(table.keys, "s", "t"), left=left
        )
    )
    _bring_over(connection, names, table, left)


def unconverted(count: int, column: str) -> StoreError:
    """Return the error of a cutover that would leave vectors empty that may not be."""
    return StoreError(
        f"{count} rows could not be converted, and column {column!r} may not be NULL. "
        "Repair or delete these rows, or allow NULL."
    )


def without_old(count: int, column: str) -> StoreError:
    """Return the error of a rollback that would leave vectors empty that may not be."""
    return StoreError(
        f"{count} rows came in after the cutover and have no old vector, and the old column {column!r} "
        "may not be NULL. Allow NULL there, or embed these rows with the old model."
    )


def count_where(connection: Connection[Any], source: sql.Composable) -> int:
    """Count rows; ``source`` is FROM and WHERE."""
    row = connection.execute(sql.SQL("SELECT count(*) {}").format(source)).fetchone()
    return int(row[0]) if row is not None else 0


def _bring_over(connection: Connection[Any], names: Target, table: VectorTable, which: sql.Composable) -> None:
    plain = plain_columns(table)
    connection.execute(
        sql.SQL(
            "INSERT INTO {target} ({written}) OVERRIDING SYSTEM VALUE SELECT {chosen} FROM {served} s WHERE {which} "
            "ON CONFLICT ({keys}) DO {update}"
        ).format(
            target=names.target,
            written=listed([*table.keys, *plain]),
            chosen=listed([*table.keys, *plain], "s."),
            served=names.served,
            which=which,
            keys=listed(table.keys),
            update=sql.SQL("UPDATE SET {}").format(updates(plain)) if plain else sql.SQL("NOTHING"),
        )
    )


def _logged(names: Target, table: VectorTable, alias: LiteralString) -> sql.Composed:
    return sql.SQL("EXISTS (SELECT 1 FROM {} l WHERE {})").format(names.log, matched(table.keys, "l", alias))


def _absent(names: Target, table: VectorTable) -> sql.Composed:
    return sql.SQL("NOT EXISTS (SELECT 1 FROM {} a WHERE {})").format(names.target, matched(table.keys, "a", "s"))
