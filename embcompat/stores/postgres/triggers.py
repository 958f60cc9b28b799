"""Triggers that a migration adds to PostgreSQL tables: what changes is noted, and old vectors are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from embcompat.stores.postgres.names import Target, listed

_LOGGED: Final[dict[str, LiteralString]] = {
    "log": "INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW",
    "log_all": "TRUNCATE ON {} FOR EACH STATEMENT",
}


def create_log_function(connection: Connection[Any], names: Target, keys: Sequence[str]) -> None:
    """Make the trigger function that notes the key of every changed row; of all rows when the table is emptied."""
    body = sql.SQL(
        "BEGIN IF TG_OP = 'TRUNCATE' THEN IF to_regclass({parked_name}) IS NOT NULL "
        "THEN INSERT INTO {log} ({keys}) SELECT {keys} FROM {parked}; "
        "ELSE INSERT INTO {log} ({keys}) SELECT {keys} FROM {target}; END IF; RETURN NULL; END IF; "
        "IF TG_OP <> 'INSERT' THEN INSERT INTO {log} ({keys}) VALUES ({old}); END IF; "
        "IF TG_OP <> 'DELETE' THEN INSERT INTO {log} ({keys}) VALUES ({new}); END IF; RETURN NULL; END"
    ).format(
        log=names.log,
        keys=listed(keys),
        parked=names.identifier(names.old_name),
        parked_name=names.identifier(names.old_name).as_string(connection),
        target=names.target,
        old=listed(keys, "OLD."),
        new=listed(keys, "NEW."),
    )
    create_function(connection, names, "log", body)


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


def add_guard(connection: Connection[Any], names: Target, table: sql.Identifier) -> None:
    """Refuse vectors from sessions that have not said that they write the new space."""
    space = names.job.target.id
    message = (
        f"vectors must be in space {space}: SET embcompat.space = '{space}' in a session of the new model; "
        "an application of an old model must not write here any more"
    ).replace("%", "%%")
    body = sql.SQL(
        "BEGIN IF NEW.{c} IS NULL OR (TG_OP = 'UPDATE' AND OLD.{c} IS NOT NULL AND NEW.{c} OPERATOR({e}.=) OLD.{c}) "
        "THEN RETURN NEW; END IF; "
        "IF current_setting('embcompat.space', true) IS DISTINCT FROM {space} "
        "THEN RAISE EXCEPTION {message} USING ERRCODE = 'check_violation'; END IF; "
        "IF current_setting('embcompat.backfill', true) = 'on' THEN RETURN NEW; END IF; "
        "NEW.{s} := {space}; NEW.{a} := NULL; NEW.{o} := NULL; NEW.{d} := NULL; RETURN NEW; END"
    ).format(
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
    connection.execute(
        sql.SQL("CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            sql.Identifier(names.trigger("guard")), table, names.function("guard")
        )
    )


def extension_schema(connection: Connection[Any]) -> sql.Identifier:
    """Return the schema in which pgvector's operators are."""
    row = connection.execute(
        "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector'"
    ).fetchone()
    return sql.Identifier(row[0] if row is not None else "public")


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
