"""The table that a migration makes in PostgreSQL beside the one in service, and its end."""

from __future__ import annotations

from psycopg import sql

from embcompat.stores.postgres import spaces as pg_spaces
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog.objects import close_to_others
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.names import PROVENANCE, listed
from embcompat.stores.postgres.rows.parts import create_parts
from embcompat.stores.postgres.session import Session
from embcompat.stores.postgres.table.properties import carry_settings


def create_target(session: Session) -> None:
    """Make the target table and everything beside it, in the transaction that is open."""
    run = session.execute
    _create_alike(session)
    for (index,) in run(
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = %s::regclass AND m.amname IN ('hnsw', 'ivfflat')",
        (session.text(session.target.identifier),),
    ).fetchall():
        run(sql.SQL("DROP INDEX {}").format(sql.SQL(index)))
    run(
        sql.SQL("ALTER TABLE {t} ALTER {c} DROP DEFAULT, ALTER {c} TYPE {k} USING NULL::{k}").format(
            t=session.target.identifier, c=session.target.vectors, k=session.target.vector_type
        )
    )
    carry_settings(session, session.target)
    for name, type_name in PROVENANCE.items():
        add = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}")
        run(add.format(session.target.identifier, session.target.provenance(name), sql.SQL(type_name)))
    key_fields = sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed(session.keys), session.table.identifier)
    run(sql.SQL("CREATE TABLE {} AS {}").format(session.names.log, key_fields))
    run(sql.SQL("ALTER TABLE {} ADD n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY").format(session.names.log))
    run(sql.SQL("CREATE INDEX ON {} ({})").format(session.names.log, listed(session.keys)))
    create_parts(session)
    for table in (session.target.identifier, session.names.log):
        close_to_others(session.connection, table)
    pg_triggers.create_log_function(session, parked=False)
    pg_triggers.add_log_triggers(session)
    pg_spaces.record(session)


def _create_alike(session: Session) -> None:
    """Make a table of the same columns, persistence, access method and tablespace as the one in service."""
    row = session.execute(
        "SELECT relpersistence = 'u', amname, spcname FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam "
        "LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE c.oid = %s",
        (session.table.oid,),
    ).fetchone()
    unlogged, method, tablespace = row if row is not None else (False, None, None)
    parts = [
        sql.SQL("CREATE UNLOGGED TABLE" if unlogged else "CREATE TABLE"),
        session.target.identifier,
        sql.SQL("(LIKE {} INCLUDING ALL)").format(session.table.identifier),
    ]
    if method is not None:
        parts.append(sql.SQL("USING {}").format(sql.Identifier(method)))
    if tablespace is not None:
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(tablespace)))
    session.execute(sql.SQL(" ").join(parts))


def analyze_target(session: Session) -> None:
    """Let the planner know the target table before it is in service, but for the vectors.

    No plan needs statistics of vectors, and sorting a sample of them takes longer than everything else.
    """
    target = session.target
    with session.connection.transaction():
        row = session.execute(
            "SELECT coalesce(attstattarget, -1) FROM pg_attribute WHERE attrelid = %s AND attname = %s",
            (target.oid, target.column),
        ).fetchone()
        alter = sql.SQL("ALTER TABLE {} ALTER {} SET STATISTICS {}")
        session.execute(alter.format(target.identifier, target.vectors, 0))
        session.execute(sql.SQL("ANALYZE {}").format(target.identifier))
        session.execute(alter.format(target.identifier, target.vectors, -1 if row is None else row[0]))


def drop_target_side(session: Session) -> None:
    """Drop the target table, the log, the parts and the triggers, in the transaction that is open."""
    pg_spaces.forget(session, session.target, whole=True)
    pg_triggers.drop_log_triggers(session)
    for kind in ("log", "guard"):
        session.execute(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(session.names.function(kind)))
    for table in (session.names.log, session.names.parts, session.target.identifier):
        session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))


def drop_old_side(session: Session, old: VectorTable) -> None:
    """Drop the old table, the log and the parts, in the transaction that is open."""
    pg_spaces.forget(session, old, whole=True)
    session.execute(sql.SQL("DROP TABLE {}").format(old.identifier))
    pg_triggers.drop_log_triggers(session)
    session.execute(sql.SQL("DROP FUNCTION {}()").format(session.names.function("log")))
    for table in (session.names.log, session.names.parts):
        session.execute(sql.SQL("DROP TABLE {}").format(table))
