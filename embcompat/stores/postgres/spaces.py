"""The table in which a migration records which vectors of a PostgreSQL schema are in which space."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql

from embcompat.spaces import SpaceVersion
from embcompat.stores.postgres.catalog.tables import VectorTable, find_oid
from embcompat.stores.postgres.names import GALLERIES, Names
from embcompat.stores.postgres.session import Session


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


def belongs(connection: Connection[Any], names: Names) -> bool:
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


def record(session: Session) -> None:
    """Note of which space the target vectors are."""
    galleries = session.names.identifier(GALLERIES)
    session.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (relation oid, attribute text, space text NOT NULL, artifact text NOT NULL, "
            "PRIMARY KEY (relation, attribute))"
        ).format(galleries)
    )
    session.execute(
        sql.SQL("INSERT INTO {} VALUES (%s::regclass, %s, %s, %s)").format(galleries),
        (
            session.text(session.target.identifier),
            session.target.column,
            session.job.target.to_json(),
            session.job.artifact_id,
        ),
    )


def carry_records(session: Session, incoming: VectorTable) -> None:
    """Record for a table that takes the place of the one in service what is known of other vector columns."""
    session.execute(
        sql.SQL(
            "INSERT INTO {0} SELECT %s, attribute, space, artifact FROM {0} WHERE relation = %s AND attribute <> %s "
            "ON CONFLICT (relation, attribute) DO UPDATE SET space = excluded.space, artifact = excluded.artifact"
        ).format(session.names.identifier(GALLERIES)),
        (incoming.oid, session.table.oid, session.table.column),
    )


def forget(session: Session, side: VectorTable, *, whole: bool) -> None:
    """Remove what is recorded of the vectors of a side; with ``whole``, of all columns of its table."""
    which = sql.SQL("") if whole else sql.SQL(" AND attribute = {}").format(sql.Literal(side.column))
    session.execute(
        sql.SQL("DELETE FROM {} WHERE relation = %s::regclass{}").format(session.names.identifier(GALLERIES), which),
        (session.text(side.identifier),),
    )
