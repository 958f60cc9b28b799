"""The condition of ``?where=``: which rows of a PostgreSQL table a migration takes."""

from __future__ import annotations

from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg import sql

from embcompat.errors import InputError
from embcompat.stores.postgres.catalog.tables import find_oid
from embcompat.stores.postgres.names import PROVENANCE

_COLUMNS: Final[LiteralString] = """
    SELECT a.attname, g.attgenerated <> '' FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        JOIN pg_attribute g ON g.attname = a.attname AND g.attrelid = to_regclass(%s)
    WHERE d.classid = 'pg_rewrite'::regclass AND w.ev_class = 'pg_temp.embcompat_chosen'::regclass
        AND a.attrelid = 'pg_temp.embcompat_rows'::regclass ORDER BY a.attnum
"""

_BEFORE: Final = "\n  WHERE "


def read_condition(
    connection: psycopg.Connection[Any], schema: str, name: str, column: str, text: str | None, *, where: str
) -> str:
    """Let the server check a condition that a user wrote, and write it in its own form.

    It must depend on the row alone, since triggers ask it for every row that changes: no subquery, no function that is
    not immutable, no generated column (a trigger does not see its new value) and not the vector, which the migration
    changes. All this happens in transactions that are rolled back.

    Args:
        connection: A connection.
        schema: Name of the schema.
        name: Name of the table.
        column: Name of its vector column.
        text: The condition, on bare names of columns, or None. Times without a zone are in UTC.
        where: What to call the gallery in errors.

    Returns:
        The condition on columns of the alias ``s``, whatever the search path is; nothing where there is none, or no
        such table.

    Raises:
        InputError: If it cannot be used.
    """
    if text is None or find_oid(connection, schema, name) is None:
        return ""
    table = sql.Identifier(schema, name)
    try:
        _check_syntax(connection, table, text)
        condition, columns = _read_form(connection, table, text)
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError):
            raise
        raise InputError(
            f"{where}: where must be one condition in SQL on columns of a row, without a subquery and with immutable "
            f"functions alone: look up first what a subquery would give. Got {text!r}. PostgreSQL says: "
            f"{error.diag.message_primary or error}."
        ) from error
    if not columns:
        raise InputError(f"{where}: where must name a column of the table. Got {text!r}.")
    changing = {column, *(f"{column}__{kind}" for kind in PROVENANCE)}
    for attribute, generated in columns:
        if attribute in changing:
            raise InputError(f"{where}: where must not depend on column {attribute!r}, which the migration changes.")
        if generated:
            raise InputError(f"{where}: where must not depend on generated column {attribute!r}. Name what it is from.")
    return condition


def _check_syntax(connection: psycopg.Connection[Any], table: sql.Identifier, text: str) -> None:
    """Let the server read a condition with parentheses around it and without: only a whole expression passes both.

    A binary cursor sends one statement at a time, so nothing can follow a semicolon.
    """
    place = table.as_string(connection)
    for query in (f"SELECT {text}\n FROM {place} LIMIT 0", f"SELECT 1 FROM {place} WHERE ({text}\n) LIMIT 0"):
        with connection.transaction(), connection.cursor(binary=True) as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(cast(Any, query))


def _read_form(
    connection: psycopg.Connection[Any], table: sql.Identifier, text: str
) -> tuple[str, list[tuple[str, bool]]]:
    """Return a condition as the server writes it, and the columns that it names with whether each is generated."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL TimeZone = 'UTC'")  # the same on every host
        for statement in (
            f"CREATE TEMP TABLE embcompat_rows (LIKE {table.as_string(connection)})",
            f"CREATE INDEX ON embcompat_rows ((1)) WHERE ({text}\n)",
            # The second item lets the server write the alias before every column.
            f"CREATE TEMP VIEW embcompat_chosen AS SELECT FROM embcompat_rows s, (SELECT 1) one WHERE ({text}\n)",
        ):
            connection.execute(cast(Any, statement))
        columns = connection.execute(_COLUMNS, (table.as_string(connection),)).fetchall()
        connection.execute("SET LOCAL search_path = pg_catalog")  # every other schema is written out
        row = connection.execute("SELECT pg_get_viewdef('pg_temp.embcompat_chosen'::regclass)").fetchone()
    definition = str(row[0]) if row is not None else ""
    return f"({definition.partition(_BEFORE)[2].removesuffix(';')})", columns
