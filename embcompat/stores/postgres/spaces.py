"""The table in which a migration records which vectors of a PostgreSQL schema are in which space."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql

from embcompat.spaces import SpaceVersion
from embcompat.stores.postgres.catalog.tables import VectorTable, find_oid
from embcompat.stores.postgres.names import GALLERIES, Names, part_of
from embcompat.stores.postgres.session import Session


def recorded(
    connection: Connection[Any], schema: str, table: str, column: str, condition: str = "", *, where: str
) -> tuple[SpaceVersion | None, str | None]:
    """Return the space that a column is known to be in, and the artifact that made it; None where nothing is known.

    With a condition, what is known of that part counts before what is known of the whole column.
    """
    if find_oid(connection, schema, GALLERIES) is None:
        return None, None
    row = connection.execute(
        sql.SQL(
            "SELECT space, artifact FROM {} WHERE relation = %s AND attribute = ANY (%s) "
            "ORDER BY length(attribute) DESC"
        ).format(sql.Identifier(schema, GALLERIES)),
        (find_oid(connection, schema, table), [column, part_of(column, condition)]),
    ).fetchone()
    return (None, None) if row is None else (SpaceVersion.from_json(row[0], where=where), row[1])


def recorded_parts(session: Session) -> list[str]:
    """Return the parts of the vector column whose space is recorded."""
    if find_oid(session.connection, session.names.schema, GALLERIES) is None:
        return []
    start = part_of(session.table.column, "(")
    rows = session.execute(
        sql.SQL("SELECT attribute FROM {} WHERE relation = %s AND starts_with(attribute, %s)").format(
            session.names.identifier(GALLERIES)
        ),
        (session.table.oid, start),
    )
    return [attribute for (attribute,) in rows]


def belongs(connection: Connection[Any], names: Names) -> bool:
    """Return whether what stands under a job's earlier names is of this column and not of another one."""
    needed = (names.name("_parts"), GALLERIES)
    if names.condition or any(find_oid(connection, names.schema, name) is None for name in needed):
        return False
    table, target = (find_oid(connection, names.schema, name) for name in (names.table, names.name()))
    statement = sql.SQL(
        "SELECT 1 FROM {} WHERE artifact = %s AND relation IN (%s, %s) AND (attribute = %s OR attribute LIKE %s)"
    ).format(names.identifier(GALLERIES))
    beside = f"{names.column}__%{names.job.suffix}"
    parameters = (names.job.artifact_id, table, target or 0, names.column, beside)
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
            part_of(session.target.column, session.target.condition),
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
    attribute = part_of(side.column, side.condition)
    which = sql.SQL("") if whole else sql.SQL(" AND attribute = {}").format(sql.Literal(attribute))
    session.execute(
        sql.SQL("DELETE FROM {} WHERE relation = %s::regclass{}").format(session.names.identifier(GALLERIES), which),
        (session.text(side.identifier),),
    )
