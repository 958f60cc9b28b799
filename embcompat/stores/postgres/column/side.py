"""The column that a migration makes in a PostgreSQL table beside the one in service, and its end."""

from __future__ import annotations

from dataclasses import replace

from psycopg import sql

from embcompat.stores.postgres import spaces as pg_spaces
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog.objects import column_settings, raw
from embcompat.stores.postgres.catalog.partitions import family
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.column.following import add_part_trigger, add_stale_trigger, create_stale_function
from embcompat.stores.postgres.names import PROVENANCE
from embcompat.stores.postgres.rows.parts import create_parts
from embcompat.stores.postgres.session import Session


def create_column(session: Session) -> None:
    """Make the new column and everything beside it, in the transaction that is open."""
    kinds = [session.target.vector_type, *map(sql.SQL, PROVENANCE.values())]
    added = [
        sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(name), kind)
        for name, kind in zip(session.target.side, kinds, strict=True)
    ]
    session.execute(sql.SQL("ALTER TABLE {} {}").format(session.table.identifier, sql.SQL(", ").join(added)))
    for member in family(session):
        carry_settings(member, member.table, member.target)
    create_parts(session)
    pg_spaces.record(session)
    create_stale_function(session)
    add_stale_trigger(session)


def carry_settings(session: Session, model: VectorTable, column: VectorTable) -> None:
    """Give a column the storage, compression and statistics target of another one of the table, the model."""
    settings = column_settings(session.connection, model.oid)
    for name, action in settings:
        if name == model.column and (column.column, action) not in settings:
            change = sql.SQL("ALTER TABLE ONLY {} ALTER {} {}")
            session.execute(change.format(column.identifier, column.vectors, raw(action)))


def drop_broken_indexes(session: Session) -> None:
    """Drop what an interrupted building of an index has left on the new column, also on an expression of it."""
    for (name,) in session.execute(
        "SELECT i.indexrelid::regclass::text FROM pg_index i WHERE i.indrelid = %(oid)s AND NOT i.indisvalid "
        "AND EXISTS (SELECT 1 FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid "
        "AND a.attnum = d.refobjsubid WHERE d.objid = i.indexrelid AND d.refobjid = %(oid)s "
        "AND a.attname = %(column)s)",
        {"oid": session.table.oid, "column": session.target.column},
    ).fetchall():
        session.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(raw(name)))


def needs_vector(session: Session) -> bool:
    """Return whether the vector in service may not be NULL, as read before or after a swap of names."""
    stands_in = session.execute(
        "SELECT 1 FROM pg_constraint WHERE conrelid = %s AND conname = %s",
        (session.table.oid, session.names.trigger("not_null")),
    ).fetchone()
    return not session.table.nullable or stands_in is not None


def enable_other_guards(session: Session, *, on: bool) -> None:
    """Turn the guard of an earlier migration, which knows the names before the cutover, on or off."""
    word = sql.SQL("ENABLE" if on else "DISABLE")
    for name, _ in other_guards(session):
        session.execute(
            sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(session.table.identifier, word, sql.Identifier(name))
        )


def drop_old_column(session: Session) -> None:
    """Drop the old column, earlier guards and the parts, in the transaction that is open."""
    run = session.execute
    pg_triggers.add_guard(session)  # the one from the cutover looks at the old column
    if session.table.condition:
        add_part_trigger(session, old_column=None)
    _drop_columns(session, side_columns(session, session.names.old_column))
    for name, function in other_guards(session):
        run(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), session.table.identifier))
        run(sql.SQL("DROP FUNCTION {}").format(raw(function)))
    run(sql.SQL("DROP FUNCTION {}()").format(session.names.function("stale")))
    run(sql.SQL("DROP TABLE {}").format(session.names.parts))
    pg_spaces.forget(session, replace(session.table, column=session.names.old_column), whole=False)


def drop_new_column(session: Session) -> None:
    """Drop the new column, its trigger and the parts, in the transaction that is open."""
    run = session.execute
    pg_triggers.drop_trigger(session, "zz_stale")
    for kind in ("stale", "guard", "part"):
        run(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(session.names.function(kind)))
    _drop_columns(session, side_columns(session, session.target.column))
    run(sql.SQL("DROP TABLE IF EXISTS {}").format(session.names.parts))
    pg_spaces.forget(session, session.target, whole=False)


def side_columns(session: Session, column: str) -> list[str]:
    """Return which columns are there of a vector column of a side and its provenance."""
    return [name for name in session.table.others if name == column or name.startswith(f"{column}__")]


def _drop_columns(session: Session, columns: list[str]) -> None:
    drops = sql.SQL(", ").join(sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in columns)
    session.execute(sql.SQL("ALTER TABLE {} {}").format(session.table.identifier, drops))


def other_guards(session: Session, *, of_part: bool = True) -> list[tuple[str, str]]:
    """Return trigger and function of guards that other migrations have left.

    Args:
        session: The session.
        of_part: Those of the same rows; otherwise those of the whole column where the job takes a part of it.
    """
    condition = session.table.condition
    return session.execute(
        "SELECT tgname, tgfoid::regprocedure::text FROM pg_trigger, pg_get_functiondef(tgfoid) body "
        "WHERE tgrelid = %s::regclass AND tgname ~ '^~?embcompat_guard_' AND tgname <> %s "
        "AND position(%s IN body) > 0 AND position(%s IN body) > 0 AND (%s OR position('ALIAS FOR NEW' IN body) = 0)",
        (
            session.text(session.table.identifier),
            session.names.trigger("guard"),
            session.text(sql.SQL("NEW.{}").format(session.table.provenance("space"))),
            condition if of_part else "",
            of_part,
        ),
    ).fetchall()
