"""Triggers that a migration adds to PostgreSQL tables: what changes is noted, and old vectors are refused."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from embcompat.stores.postgres.catalog.partitions import is_partitioned
from embcompat.stores.postgres.connection import extension_schema
from embcompat.stores.postgres.names import SPACE_FUNCTION, listed, matched, row_of
from embcompat.stores.postgres.session import Session

_LOGGED: Final[dict[str, LiteralString]] = {
    "log": "INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW",
    "log_all": "TRUNCATE ON {} FOR EACH STATEMENT",
}

_STAMP: Final = sql.SQL("extract(epoch FROM now())::text")
"""What tells a transaction from the others of its connection: when it began, to the microsecond."""

READ_DECLARATION: Final = sql.SQL(
    "declared := string_to_array(current_setting('embcompat.transaction', true), ','); "
    "IF declared[1] IS DISTINCT FROM {stamp} THEN SET LOCAL embcompat.space TO DEFAULT; "
    "declared := {stamp} || string_to_array(current_setting('embcompat.space', true), ','); "
    "PERFORM set_config('embcompat.transaction', array_to_string(declared, ','), true); END IF; "
).format(stamp=_STAMP)
"""Takes what this transaction has declared, or else what the session was given at its start: DEFAULT is that value."""


def create_log_function(session: Session, *, parked: bool) -> None:
    """Make the trigger function that notes the key of every changed row; of all rows when the table is emptied.

    Args:
        session: The session.
        parked: Whether the old table is parked. Then deleted rows, erased vectors and changed keys follow there at
            once, so that a rollback neither loses nor brings back anything.
    """
    keys = session.keys
    other = session.names.identifier(session.names.old_table) if parked else session.target.identifier
    body = sql.SQL(
        "BEGIN IF TG_OP = 'TRUNCATE' THEN INSERT INTO {log} ({keys}) SELECT {keys} FROM {other}; RETURN NULL; END IF; "
        "IF TG_OP <> 'INSERT' THEN INSERT INTO {log} ({keys}) VALUES ({old}); END IF; "
        "IF TG_OP <> 'DELETE' THEN INSERT INTO {log} ({keys}) VALUES ({new}); END IF; {follow} RETURN NULL; END"
    ).format(
        log=session.names.log,
        keys=listed(keys),
        other=other,
        old=listed(keys, "OLD."),
        new=listed(keys, "NEW."),
        follow=_follow(session, other) if parked else sql.SQL(""),
    )
    create_function(session, "log", body)


def _follow(session: Session, parked: sql.Identifier) -> sql.Composed:
    keys = session.keys
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
        column=session.table.vectors,
    )


def add_log_triggers(session: Session) -> None:
    """Note the keys of rows that change in the table in service from now on."""
    for kind, when in _LOGGED.items():
        trigger = sql.Identifier(session.names.trigger(kind))
        session.execute(
            sql.SQL("CREATE TRIGGER {} AFTER {} EXECUTE FUNCTION {}()").format(
                trigger, sql.SQL(when).format(session.table.identifier), session.names.function("log")
            )
        )
        session.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(session.table.identifier, trigger))


def drop_log_triggers(session: Session) -> None:
    """Note no more keys of the table in service."""
    for kind in _LOGGED:
        drop_trigger(session, kind)


def add_guard(session: Session, *, old_column: str | None = None) -> None:
    """Refuse vectors from transactions that have not declared that they write the new space.

    What a session was given at its start counts: in its address, or by its role or database. A plain SET does not: it
    stays on the connection, and a transaction pooler passes that on to the next client. `create_declaration` makes the
    function by which a transaction declares its space; the guard accepts it in that transaction alone.

    Args:
        session: The session.
        old_column: The column of the same row that holds the old vector, which is erased with the new one.
    """
    space = session.job.target.id
    function = session.text(session.names.identifier(SPACE_FUNCTION))
    message = (
        f"vectors must be in space {space}, and this transaction has not declared that it writes them: "
        f"run SELECT {function}('{space}') in it, or connect with options=-c embcompat.space={space}. A plain SET does "
        "not count. An application of an old model must not write here any more"
    ).replace("%", "%%")
    body = sql.SQL(
        "DECLARE declared text[]; BEGIN {parked} {left_out} IF NEW.{c} IS NULL OR (TG_OP = 'UPDATE' "
        "AND OLD.{c} IS NOT NULL AND NEW.{c} OPERATOR({e}.=) OLD.{c}) "
        "THEN RETURN NEW; END IF; {moved} {read} IF NOT {space} = ANY (declared) "
        "THEN RAISE EXCEPTION {message} USING ERRCODE = 'check_violation'; END IF; "
        "IF current_setting('embcompat.backfill', true) = 'on' THEN RETURN NEW; END IF; "
        "NEW.{s} := {space}; NEW.{a} := NULL; NEW.{o} := NULL; NEW.{v} := NULL; RETURN NEW; END"
    ).format(
        parked=sql.SQL("") if old_column is None else _parked_column(session, old_column),
        left_out=about_row(session, "NEW", "IF ({}) IS NOT TRUE THEN RETURN NEW; END IF;"),
        c=session.table.vectors,
        e=equality_schema(session),
        moved=sql.SQL(
            "IF TG_OP = 'INSERT' AND NEW.{} = {} THEN RETURN NEW; END IF;"  # from another partition, or with its record
        ).format(session.table.provenance("space"), sql.Literal(space))
        if is_partitioned(session.connection, session.table)
        else sql.SQL(""),
        read=READ_DECLARATION,
        space=sql.Literal(space),
        message=sql.Literal(message),
        s=session.table.provenance("space"),
        a=session.table.provenance("artifact"),
        o=session.table.provenance("source"),
        v=session.table.provenance("version"),
    )
    create_function(session, "guard", body)
    drop_trigger(session, "guard")
    trigger = sql.Identifier(session.names.trigger("guard"))
    session.execute(
        sql.SQL("CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            trigger, session.table.identifier, session.names.function("guard")
        )
    )


def _parked_column(session: Session, old_column: str) -> sql.Composed:
    """Return what the guard does about the old column: it is erased with the new one, and no INSERT fills it alone."""
    message = (
        f"column {old_column} holds the old vectors and is out of service: an INSERT must name its columns, because "
        f"{session.table.column} stands last"
    ).replace("%", "%%")
    return sql.SQL(
        "IF TG_OP = 'UPDATE' AND NEW.{c} IS NULL AND OLD.{c} IS NOT NULL THEN NEW.{old} := NULL; END IF; "
        "IF TG_OP = 'INSERT' AND NEW.{c} IS NULL AND NEW.{old} IS NOT NULL "
        "THEN RAISE EXCEPTION {message} USING ERRCODE = 'check_violation'; END IF;"
    ).format(c=session.table.vectors, old=sql.Identifier(old_column), message=sql.Literal(message))


def create_declaration(session: Session) -> None:
    """Make the function by which a transaction declares the spaces that it writes, unless the schema has it."""
    function = session.names.identifier(SPACE_FUNCTION)
    with session.connection.transaction():
        session.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (SPACE_FUNCTION,))
        signature = session.text(function) + "(text[])"
        if session.execute("SELECT 1 WHERE to_regprocedure(%s) IS NOT NULL", (signature,)).fetchone() is not None:
            return
        body = sql.SQL(
            "SELECT set_config('embcompat.transaction', array_to_string({stamp} || spaces, ','), true)"
        ).format(stamp=_STAMP)
        create = sql.SQL("CREATE FUNCTION {}(VARIADIC spaces text[]) RETURNS void LANGUAGE sql AS {}")
        session.execute(create.format(function, sql.Literal(session.text(body))))
        session.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO PUBLIC").format(function))


def declare_backfill(session: Session) -> None:
    """Declare, in the transaction that is open, that native vectors of the job's target space are written."""
    statement = sql.SQL("SELECT set_config('embcompat.transaction', {} || ',' || {}, true)")
    session.execute(statement.format(_STAMP, sql.Literal(session.job.target.id)))
    session.execute("SET LOCAL embcompat.backfill = 'on'")


def about_row(session: Session, row: LiteralString, statement: LiteralString) -> sql.Composable:
    """Return a statement of a trigger in which ``{}`` is the job's condition on NEW or OLD; nothing without one."""
    if not session.table.condition:
        return sql.SQL("")
    block = sql.SQL("DECLARE s ALIAS FOR " + row + "; BEGIN " + statement + " END;")
    return block.format(sql.SQL(session.table.condition))


def equality_schema(session: Session) -> sql.Identifier:
    """Return the schema of the operator that compares two vectors in service."""
    if session.table.storage == "array":
        return sql.Identifier("pg_catalog")
    return extension_schema(session.connection)


def drop_trigger(session: Session, kind: str) -> None:
    """Drop one of our triggers from the table in service."""
    session.execute(
        sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(
            sql.Identifier(session.names.trigger(kind)), session.table.identifier
        )
    )


def create_function(session: Session, kind: str, body: sql.Composed) -> None:
    """Make a trigger function that runs with the rights of the migrating role, not of the application."""
    session.execute(
        sql.SQL(
            "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            "SET search_path = pg_catalog, pg_temp AS {}"
        ).format(session.names.function(kind), sql.Literal(session.text(body)))
    )
