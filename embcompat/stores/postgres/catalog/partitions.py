"""A partitioned PostgreSQL table and its partitions, which are migrated together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, LiteralString

from psycopg import Connection

from embcompat.stores.postgres.catalog.indexes import index_kind
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.session import Session

_FAMILY: Final[LiteralString] = """
    WITH RECURSIVE family AS (SELECT %(oid)s::oid AS oid, 0 AS depth
        UNION SELECT inhrelid, depth + 1 FROM pg_inherits JOIN family ON inhparent = family.oid)
    SELECT c.oid, n.nspname, c.relname FROM family JOIN pg_class c ON c.oid = family.oid
        JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY depth DESC, c.oid
"""

_OBSTACLES: Final[LiteralString] = """
    SELECT CASE WHEN p.relkind = 'p' THEN 'it is a partition: migrate ' || pg_partition_root(%(oid)s)::regclass
        ELSE 'it inherits from ' || p.oid::regclass END
        FROM pg_inherits JOIN pg_class p ON p.oid = inhparent WHERE inhrelid = %(oid)s
    UNION ALL SELECT 'it is inherited by ' || inhrelid::regclass || ', whose rows no trigger of it sees: end the '
        'inheritance and migrate each table, or make it a partitioned table'
        FROM pg_inherits JOIN pg_class p ON p.oid = inhparent WHERE inhparent = %(oid)s AND p.relkind <> 'p'
    UNION ALL SELECT 'partition ' || c.oid::regclass || ' is a foreign table'
        FROM pg_class c WHERE c.oid = ANY (%(family)s) AND c.relkind = 'f'
    UNION ALL SELECT 'partition ' || a.attrelid::regclass || ' alone forbids NULL in the vector: let all do so'
        FROM pg_attribute a WHERE a.attrelid = ANY (%(family)s) AND a.attname = %(column)s AND a.attnotnull
        AND NOT (SELECT attnotnull FROM pg_attribute WHERE attrelid = %(oid)s AND attname = %(column)s)
    UNION ALL SELECT 'the default of the vector in partition ' || a.attrelid::regclass || ' would be lost: drop it'
        FROM pg_attribute a WHERE a.attrelid = ANY (%(family)s) AND a.attname = %(column)s AND a.atthasdef
        AND a.attrelid <> %(oid)s
"""


def is_partitioned(connection: Connection[Any], table: VectorTable) -> bool:
    """Return whether the rows of a table are in partitions."""
    statement: LiteralString = "SELECT 1 FROM pg_class WHERE oid = %s AND relkind = 'p'"
    return connection.execute(statement, (table.oid,)).fetchone() is not None


def members(connection: Connection[Any], table: VectorTable) -> list[VectorTable]:
    """Return the partitions of a table and the table itself: partitions before the tables that they belong to."""
    rows = connection.execute(_FAMILY, {"oid": table.oid}).fetchall()
    return [replace(table, oid=oid, schema=schema, name=name) for oid, schema, name in rows]


def family_index_kind(connection: Connection[Any], table: VectorTable, *, of_column: bool) -> str | None:
    """Return the kind of the first vector index of a table or its partitions; ``of_column`` as in `definitions`."""
    kinds = (index_kind(connection, member, of_column=of_column) for member in members(connection, table))
    return next(filter(None, kinds), None)


def family(session: Session) -> list[Session]:
    """Return a session on each member of a table; the target side is a column of it, where it is one of the table."""
    beside = session.target.oid != session.table.oid
    return [
        replace(
            session,
            table=table,
            target=session.target
            if beside
            else replace(table, column=session.target.column, vector=session.target.vector),
        )
        for table in members(session.connection, session.table)
    ]


def family_obstacles(session: Session) -> list[str]:
    """List what keeps a table from being migrated together with its partitions, one phrase each."""
    numbers = [member.oid for member in members(session.connection, session.table)]
    parameters = {"oid": session.table.oid, "family": numbers, "column": session.table.column}
    return [text for (text,) in session.execute(_OBSTACLES, parameters)]
