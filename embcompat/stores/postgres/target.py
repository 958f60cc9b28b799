"""The tables that a migration makes in PostgreSQL."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql

from embcompat.spaces import SpaceVersion
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog import VectorTable, find_oid
from embcompat.stores.postgres.copy import Column
from embcompat.stores.postgres.names import GALLERIES, PROVENANCE, Target, listed, vector_type


def recorded(
    connection: Connection[Any], schema: str, table: str, column: str, *, where: str
) -> tuple[SpaceVersion | None, str | None]:
    """Return the space that a table is known to be in, and the artifact that made it; None where nothing is known."""
    if find_oid(connection, schema, GALLERIES) is None:
        return None, None
    row = connection.execute(
        sql.SQL("SELECT space, artifact FROM {} WHERE relation = %s AND attribute = %s").format(
            sql.Identifier(schema, GALLERIES)
        ),
        (find_oid(connection, schema, table), column),
    ).fetchone()
    return (None, None) if row is None else (SpaceVersion.from_json(row[0], where=where), row[1])


def belongs(connection: Connection[Any], names: Target) -> bool:
    """Return whether what stands under a job's earlier names is of this column and not of another one."""
    if any(find_oid(connection, names.schema, name) is None for name in (names.name("_parts"), GALLERIES)):
        return False
    served, target = (find_oid(connection, names.schema, name) for name in (names.table, names.name()))
    statement = sql.SQL(
        "SELECT 1 FROM {} WHERE artifact = %s AND relation IN (%s, %s) AND (attribute = %s OR attribute LIKE %s)"
    ).format(names.identifier(GALLERIES))
    beside = f"{names.column}__%{names.job.suffix}"
    parameters = (names.job.artifact_id, served, target or 0, names.column, beside)
    return connection.execute(statement, parameters).fetchone() is not None


def create_target(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    """Make the target table and everything beside it, in the transaction that is open."""
    run = connection.execute
    column = sql.Identifier(table.column)
    kind = vector_type(Column(table.vector.kind, names.job.target.dim))
    run(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(names.target, names.served))
    for (index,) in run(
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = %s::regclass AND m.amname IN ('hnsw', 'ivfflat')",
        (names.target.as_string(connection),),
    ).fetchall():
        run(sql.SQL("DROP INDEX {}").format(sql.SQL(index)))
    run(
        sql.SQL("ALTER TABLE {t} ALTER {c} DROP DEFAULT, ALTER {c} TYPE {k} USING NULL::{k}").format(
            t=names.target, c=column, k=kind
        )
    )
    for name, type_name in PROVENANCE.items():
        add = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}")
        run(add.format(names.target, names.provenance(name), sql.SQL(type_name)))
    key_fields = sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed(table.keys), names.served)
    run(sql.SQL("CREATE TABLE {} AS {}").format(names.log, key_fields))
    run(sql.SQL("ALTER TABLE {} ADD n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY").format(names.log))
    run(sql.SQL("CREATE INDEX ON {} ({})").format(names.log, listed(table.keys)))
    create_parts(connection, names, table)
    pg_triggers.create_log_function(connection, names, table.keys, parked=False)
    pg_triggers.add_log_triggers(connection, names, names.served)
    record(connection, names)


def create_parts(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    """Make the table of the key ranges that workers take."""
    key_fields = sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed(table.keys), names.served)
    connection.execute(sql.SQL("CREATE TABLE {} AS {}").format(names.parts, key_fields))
    add = sql.SQL("ALTER TABLE {} ADD n integer PRIMARY KEY, ADD pid integer, ADD started timestamptz")
    connection.execute(add.format(names.parts))


def record(connection: Connection[Any], names: Target) -> None:
    """Note of which space the target vectors are."""
    galleries = names.identifier(GALLERIES)
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (relation oid, attribute text, space text NOT NULL, artifact text NOT NULL, "
            "PRIMARY KEY (relation, attribute))"
        ).format(galleries)
    )
    connection.execute(
        sql.SQL("INSERT INTO {} VALUES (%s::regclass, %s, %s, %s)").format(galleries),
        (names.target.as_string(connection), names.column, names.job.target.to_json(), names.job.artifact_id),
    )


def drop_target_side(connection: Connection[Any], names: Target) -> None:
    """Drop the target table, the log, the parts and the triggers, in the transaction that is open."""
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE relation = %s::regclass").format(names.identifier(GALLERIES)),
        (names.target.as_string(connection),),
    )
    pg_triggers.drop_log_triggers(connection, names, names.served)
    for kind in ("log", "guard"):
        connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(names.function(kind)))
    for table in (names.log, names.parts, names.target):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))


def drop_old_side(connection: Connection[Any], names: Target) -> None:
    """Drop the old table, the log and the parts, in the transaction that is open."""
    parked = names.identifier(names.old_name)
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE relation = %s::regclass").format(names.identifier(GALLERIES)),
        (parked.as_string(connection),),
    )
    connection.execute(sql.SQL("DROP TABLE {}").format(parked))
    pg_triggers.drop_log_triggers(connection, names, names.served)
    connection.execute(sql.SQL("DROP FUNCTION {}()").format(names.function("log")))
    for table in (names.log, names.parts):
        connection.execute(sql.SQL("DROP TABLE {}").format(table))
