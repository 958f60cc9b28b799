"""Two PostgreSQL tables that must be defined alike before they change names."""

from __future__ import annotations

from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from embcompat.errors import StoreError
from embcompat.stores.postgres.names import PROVENANCE, Target, matched
from embcompat.stores.postgres.table.swap import raw

_LINES: Final[LiteralString] = """
    SELECT 'column ' || quote_ident(attname) || CASE WHEN attname = %(column)s THEN '' ELSE ' '
        || format_type(atttypid, atttypmod) || coalesce(' default ' || pg_get_expr(adbin, adrelid), '') END
        || CASE WHEN attnotnull THEN ' not null' ELSE '' END || attidentity::text || attgenerated::text
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped AND attname <> ALL (%(provenance)s)
    UNION ALL SELECT 'constraint ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'c'
"""


def require_alike(connection: Connection[Any], names: Target, served: int, other: int, *, where: str) -> None:
    """Check that columns, defaults, NOT NULL and checks of two tables are the same, beside the vector's dimension.

    Raises:
        StoreError: If they are not: a change that was made to one of them meanwhile would be undone by the swap.
    """
    here, there = (_lines(connection, names, oid) for oid in (served, other))
    if here == there:
        return
    parts = [
        f"only {what} has {', '.join(sorted(lines))}"
        for what, lines in (("the table in service", here - there), ("the other one", there - here))
        if lines
    ]
    row = connection.execute("SELECT %s::oid::regclass::text", (other,)).fetchone()
    name = "" if row is None else row[0]
    raise StoreError(
        f"{where}: the table was altered meanwhile, and a swap would undo that: {'; '.join(parts)}. Make the same "
        f"change to {name}."
    )


def carry_columns(connection: Connection[Any], names: Target, source: int, target: int, keys: tuple[str, ...]) -> None:
    """Give a table the plain columns that were added to another one meanwhile, with their values.

    Args:
        connection: A connection with an open transaction.
        names: Names of the job.
        source: The table that has the columns.
        target: The table that may lack them.
        keys: Names of the key columns.
    """
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid), attnotnull, "
        "attrelid::regclass::text, %(target)s::regclass::text FROM pg_attribute LEFT JOIN pg_attrdef "
        "ON adrelid = attrelid AND adnum = attnum WHERE attrelid = %(source)s AND attnum > 0 AND NOT attisdropped "
        "AND attidentity = '' AND attgenerated = '' AND attname <> ALL (%(provenance)s) AND attname NOT IN "
        "(SELECT attname FROM pg_attribute WHERE attrelid = %(target)s AND NOT attisdropped)",
        {"source": source, "target": target, "provenance": _provenance(names)},
    ).fetchall()
    for column, kind, default, needed, source_name, target_name in rows:
        name, table = sql.Identifier(column), raw(target_name)
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(table, name, raw(kind)))
        connection.execute(
            sql.SQL("UPDATE {} t SET {name} = s.{name} FROM {} s WHERE {match} AND s.{name} IS NOT NULL").format(
                table, raw(source_name), name=name, match=matched(keys, "s", "t")
            )
        )
        if default is not None:
            connection.execute(sql.SQL("ALTER TABLE {} ALTER {} SET DEFAULT {}").format(table, name, raw(default)))
        if needed:
            connection.execute(sql.SQL("ALTER TABLE {} ALTER {} SET NOT NULL").format(table, name))


def _lines(connection: Connection[Any], names: Target, oid: int) -> set[str]:
    parameters = {"oid": oid, "column": names.column, "provenance": _provenance(names)}
    return {text for (text,) in connection.execute(_LINES, parameters)}


def _provenance(names: Target) -> list[str]:
    return [f"{names.column}__{kind}" for kind in PROVENANCE]
