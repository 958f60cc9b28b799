"""Two PostgreSQL tables that must be defined alike before they change names."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from embcompat.errors import StoreError
from embcompat.stores.postgres.catalog.objects import raw
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.names import matched
from embcompat.stores.postgres.session import Session

_LINES: Final[LiteralString] = """
    SELECT attname, 'column ' || quote_ident(attname) || CASE WHEN attname = %(column)s THEN '' ELSE ' '
        || format_type(atttypid, atttypmod) || coalesce(' default ' || pg_get_expr(adbin, adrelid), '') END
        || CASE WHEN attnotnull THEN ' not null' ELSE '' END || attidentity::text || attgenerated::text
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped AND attname <> ALL (%(provenance)s)
    UNION ALL SELECT NULL, 'constraint ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'c'
"""


def require_alike(session: Session, other: VectorTable) -> None:
    """Check that columns, defaults, NOT NULL and checks of another table are those of the one in service.

    The dimension of the vector may differ.

    Raises:
        StoreError: If they are not: a change that was made to one of them meanwhile would be undone by the swap.
    """
    if text := alterations(session, other):
        raise StoreError(f"{session.where}: {text}")


def alterations(session: Session, other: VectorTable, *, carried: bool = False) -> str | None:
    """Return what the table in service and another table do not have alike, and what to do; None where they are alike.

    Args:
        session: The session.
        other: The table that would take the place of the one in service.
        carried: Whether to leave out added columns that `carry_columns` brings over.
    """
    here, there = (_lines(session, table) for table in (session.table, other))
    added = {name for name, *_ in _added_columns(session, other)} if carried else set()
    parts = [
        f"only {what} has {', '.join(sorted(lines.values()))}"
        for what, lines in (
            ("the table in service", {key: here[key] for key in here.keys() - there.keys() if key[0] not in added}),
            ("the other one", {key: there[key] for key in there.keys() - here.keys()}),
        )
        if lines
    ]
    if not parts:
        return None
    return (
        f"the table was altered meanwhile, and a swap would undo that: {'; '.join(parts)}. Make the same change to "
        f"{session.text(other.identifier)}."
    )


def carry_columns(session: Session, other: VectorTable) -> None:
    """Give another table the plain columns that were added to the one in service meanwhile, with their values.

    Args:
        session: The session, in a transaction.
        other: The table that may lack columns.
    """
    for column, kind, default, needed in _added_columns(session, other):
        name, table = sql.Identifier(column), other.identifier
        session.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(table, name, raw(kind)))
        session.execute(
            sql.SQL("UPDATE {} t SET {name} = s.{name} FROM {} s WHERE {match} AND s.{name} IS NOT NULL").format(
                table, session.table.identifier, name=name, match=matched(session.keys, "s", "t")
            )
        )
        if default is not None:
            session.execute(sql.SQL("ALTER TABLE {} ALTER {} SET DEFAULT {}").format(table, name, raw(default)))
        if needed:
            session.execute(sql.SQL("ALTER TABLE {} ALTER {} SET NOT NULL").format(table, name))


def _added_columns(session: Session, other: VectorTable) -> list[tuple[str, str, str | None, bool]]:
    """Return name, type, default and NOT NULL of plain columns that only the table in service has."""
    return session.execute(
        "SELECT attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid), attnotnull "
        "FROM pg_attribute LEFT JOIN pg_attrdef "
        "ON adrelid = attrelid AND adnum = attnum WHERE attrelid = %(source)s AND attnum > 0 AND NOT attisdropped "
        "AND attidentity = '' AND attgenerated = '' AND attname <> ALL (%(provenance)s) AND attname NOT IN "
        "(SELECT attname FROM pg_attribute WHERE attrelid = %(target)s AND NOT attisdropped)",
        {"source": session.table.oid, "target": other.oid, "provenance": session.table.side[1:]},
    ).fetchall()


def _lines(session: Session, table: VectorTable) -> dict[tuple[str | None, str], str]:
    """Return the definitions of a table's columns and checks, by the column's name and the definition itself."""
    parameters = {"oid": table.oid, "column": table.column, "provenance": table.side[1:]}
    return {(column, text): text for column, text in session.execute(_LINES, parameters)}
