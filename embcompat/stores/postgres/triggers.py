"""Triggers that a migration adds to PostgreSQL tables: what changes is noted, and old vectors are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from embcompat.stores.postgres.connection import extension_schema
from embcompat.stores.postgres.names import Target, listed, matched, row_of

_LOGGED: Final[dict[str, LiteralString]] = {
    "log": "INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW",
    "log_all": "TRUNCATE ON {} FOR EACH STATEMENT",
}


def create_log_function(connection: Connection[Any], names: Target, keys: Sequence[str], *, parked: bool) -> None:
    """Make the trigger function that notes the key of every changed row; of all rows when the table is emptied.

    Args:
        connection: A connection.
        names: Names of the job.
        keys: Names of the key columns.
        parked: Whether the old table is parked. Then deleted rows, erased vectors and changed keys follow there at
            once, so that a rollback neither loses nor brings back anything.
    """
    other = names.identifier(names.old_name) if parked else names.target
    body = sql.SQL(
        "BEGIN IF TG_OP = 'TRUNCATE' THEN INSERT INTO {log} ({keys}) SELECT {keys} FROM {other}; RETURN NULL; END IF; "
        "IF TG_OP <> 'INSERT' THEN INSERT INTO {log} ({keys}) VALUES ({old}); END IF; "
        "IF TG_OP <> 'DELETE' THEN INSERT INTO {log} ({keys}) VALUES ({new}); END IF; {follow} RETURN NULL; END"
    ).format(
        log=names.log,
        keys=listed(keys),
        other=other,
        old=listed(keys, "OLD."),
        new=listed(keys, "NEW."),
        follow=_follow(names, keys, other) if parked else sql.SQL(""),
    )
    create_function(connection, names, "log", body)


def _follow(names: Target, keys: Sequence[str], parked: sql.Identifier) -> sql.Composed:
    return sql.SQL(
        "IF TG_OP = 'DELETE' THEN DELETE FROM {parked} p WHERE {is_old}; RETURN NULL; END IF; "
        "IF TG_OP = 'UPDATE' THEN IF {old} IS DISTINCT FROM {new} THEN DELETE FROM {parked} p WHERE {is_new}; "
        "UPDATE {parked} p SET {set} WHERE {is_old}; END IF; "
        "IF NEW.{column} IS NULL AND OLD.{column} IS NOT NULL THEN "
        "UPDATE {parked} p SET {column} = NULL WHERE {is_new}; END IF; END IF; "
    ).format(
        parked=parked,
        is_old=matched(keys, "p", "OLD"),
        is_new=matched(keys, "p", "NEW"),
        old=row_of(keys, "OLD."),
        new=row_of(keys, "NEW."),
        set=sql.SQL(", ").join(sql.SQL("{0} = NEW.{0}").format(sql.Identifier(key)) for key in keys),
        column=sql.Identifier(names.column),
    )


def add_log_triggers(connection: Connection[Any], names: Target, table: sql.Identifier) -> None:
    """Note the keys of rows that change in a table from now on."""
    for kind, when in _LOGGED.items():
        trigger = sql.Identifier(names.trigger(kind))
        connection.execute(
            sql.SQL("CREATE TRIGGER {} AFTER {} EXECUTE FUNCTION {}()").format(
                trigger, sql.SQL(when).format(table), names.function("log")
            )
        )
        connection.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(table, trigger))


def drop_log_triggers(connection: Connection[Any], names: Target, table: sql.Identifier) -> None:
    """Note no more keys of a table."""
    for kind in _LOGGED:
        drop_trigger(connection, names, kind, table)


def add_guard(
    connection: Connection[Any], names: Target, table: sql.Identifier, *, old_column: str | None = None
) -> None:
    """Refuse vectors from sessions that have not said that they write the new space.

    Args:
        connection: A connection.
        names: Names of the job.
        table: The table in service.
        old_column: The column of the same row that holds the old vector, which is erased with the new one.
    """
    space = names.job.target.id
    message = (
        f"vectors must be in space {space}: SET embcompat.space = '{space}' in a session of the new model; "
        "an application of an old model must not write here any more"
    ).replace("%", "%%")
    body = sql.SQL(
        "BEGIN {erase} IF NEW.{c} IS NULL OR (TG_OP = 'UPDATE' "
        "AND OLD.{c} IS NOT NULL AND NEW.{c} OPERATOR({e}.=) OLD.{c}) "
        "THEN RETURN NEW; END IF; "
        "IF current_setting('embcompat.space', true) IS DISTINCT FROM {space} "
        "THEN RAISE EXCEPTION {message} USING ERRCODE = 'check_violation'; END IF; "
        "IF current_setting('embcompat.backfill', true) = 'on' THEN RETURN NEW; END IF; "
        "NEW.{s} := {space}; NEW.{a} := NULL; NEW.{o} := NULL; NEW.{d} := NULL; RETURN NEW; END"
    ).format(
        erase=sql.SQL("")
        if old_column is None
        else sql.SQL(
            "IF TG_OP = 'UPDATE' AND NEW.{c} IS NULL AND OLD.{c} IS NOT NULL THEN NEW.{old} := NULL; END IF;"
        ).format(c=sql.Identifier(names.column), old=sql.Identifier(old_column)),
        c=sql.Identifier(names.column),
        e=extension_schema(connection),
        space=sql.Literal(space),
        message=sql.Literal(message),
        s=names.provenance("space"),
        a=names.provenance("artifact"),
        o=names.provenance("source"),
        d=names.provenance("digest"),
    )
    create_function(connection, names, "guard", body)
    drop_trigger(connection, names, "guard", table)
    trigger = sql.Identifier(names.trigger("guard"))
    connection.execute(
        sql.SQL("CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            trigger, table, names.function("guard")
        )
    )


def drop_trigger(connection: Connection[Any], names: Target, kind: str, table: sql.Identifier) -> None:
    """Drop one of our triggers from a table."""
    connection.execute(sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(names.trigger(kind)), table))


def create_function(connection: Connection[Any], names: Target, kind: str, body: sql.Composed) -> None:
    """Make a trigger function that runs with the rights of who migrates, not of the application."""
    connection.execute(
        sql.SQL(
            "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            "SET search_path = pg_catalog, pg_temp AS {}"
        ).format(names.function(kind), sql.Literal(body.as_string(connection)))
    )
