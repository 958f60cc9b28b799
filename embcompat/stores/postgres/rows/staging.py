"""A temporary PostgreSQL table through which rows are written in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.names import listed
from embcompat.stores.postgres.rows.copy import Column, encode, order
from embcompat.stores.postgres.session import Session
from embcompat.stores.postgres.triggers import declare_backfill

_SQL_TYPES: Final = {"int2": "smallint", "int4": "integer", "int8": "bigint", "uuid": "uuid", "text": "text"}


@dataclass(frozen=True)
class Written:
    """Rows on their way to the target side.

    Attributes:
        keys: Key columns, each of n values.
        vectors: Array (n, target_dim).
        digests: Digests of the source vectors, int64 (n,).
        versions: ``xmin`` of the source rows that were read, int64 (n,), as signed 32-bit numbers, with which the
            server compares it: a source row that has another one now was changed since, and its target row is left
            alone. 0 where it is not known.
        marks: Number of the last change of each row in the log when it was read, int64 (n,); 0 where there is none.
    """

    keys: Sequence[Sequence[Any]]
    vectors: NDArray[np.float32]
    digests: NDArray[np.int64]
    versions: NDArray[np.int64]
    marks: NDArray[np.int64]


def stage_rows(session: Session, rows: Written) -> tuple[sql.Identifier, sql.Composed]:
    """Copy rows into a temporary table ``g``.

    Returns:
        The table, and the condition that its keys are those of ``s``.
    """
    columns = [session.target.vector, Column("int8"), Column("int4"), Column("int8"), *session.table.key_columns]
    values = [rows.vectors, rows.digests, rows.versions, rows.marks, *rows.keys]
    fields = ["vector", "source", "version", "mark", *(f"key{index}" for index in range(len(rows.keys)))]
    name = f"embcompat_{session.names.tag}"
    staging = sql.Identifier("pg_temp", name)
    types = [session.target.sized_type, *(sql.SQL(_SQL_TYPES[column.kind]) for column in columns[1:])]
    declared = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(field), kind) for field, kind in zip(fields, types, strict=True)
    )
    session.execute(sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ({})").format(sql.Identifier(name), declared))
    session.execute(sql.SQL("TRUNCATE {}").format(staging))
    copy_in(session, staging, fields, columns, values)
    return staging, staged(session, "s")


def staged(session: Session, alias: LiteralString) -> sql.Composed:
    """Return the condition that a staged row ``g`` has the key of a row of another table."""
    return sql.SQL(" AND ").join(
        sql.SQL("g.{} = " + alias + ".{}").format(sql.Identifier(f"key{index}"), sql.Identifier(key))
        for index, key in enumerate(session.keys)
    )


def staged_values(session: Session) -> list[sql.Composable]:
    """Return the target vector and its provenance of a staged row ``g``, in the order of `VectorTable.side`."""
    job = session.job
    return [
        sql.SQL("g.vector::real[]" if session.target.storage == "array" else "g.vector"),
        sql.Literal(job.target.id),
        sql.Literal(job.artifact_id),
        sql.SQL("g.source"),
        sql.SQL("g.version"),
    ]


def copy_in(
    session: Session, table: sql.Identifier, fields: Sequence[str], columns: Sequence[Column], values: Sequence[Any]
) -> None:
    """Copy rows into columns of a table.

    Args:
        session: The session, in a transaction.
        table: The table.
        fields: Names of the columns; the first is a vector.
        columns: Their kinds.
        values: Their values, each of n rows; None for a constant.
    """
    places = order(columns)
    copied = listed(fields[place] for place in places)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, copied)
    with session.connection.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in encode([values[place] for place in places], [columns[place] for place in places], len(values[0])):
            copy.write(piece)


UNCHANGED: Final = sql.SQL("(g.version = 0 OR s.xmin = g.version)")
"""The condition that the source row ``s`` is still the one that the staged row ``g`` was made from."""


def probe_by_key(session: Session) -> None:
    """Let staged rows find theirs one by one until the transaction ends; other joins would read the whole table."""
    for join in ("hashjoin", "mergejoin"):
        session.execute(sql.SQL("SET LOCAL enable_{} = off").format(sql.SQL(join)))


def write_native_rows(
    session: Session,
    side: VectorTable,
    keys: Sequence[Sequence[Any]],
    vectors: NDArray[np.float32],
) -> int:
    """Replace vectors of one side by native ones, in one transaction; return how many.

    Args:
        session: The session.
        side: The table and column that hold the target vectors.
        keys: Key columns.
        vectors: Array (n, target_dim).
    """
    zeros = np.zeros(len(vectors), np.int64)
    with session.connection.transaction():
        staging, same = stage_rows(session, Written(keys, vectors, zeros, zeros, zeros))
        declare_backfill(session)
        return session.execute(
            sql.SQL(
                "UPDATE {side} s SET {column} = g.vector, {space} = {id}, {artifact} = NULL "
                "FROM {staging} g WHERE {same} AND s.{column} IS NOT NULL{chosen}"
            ).format(
                side=side.identifier,
                column=side.vectors,
                space=side.provenance("space"),
                id=sql.Literal(session.job.target.id),
                artifact=side.provenance("artifact"),
                staging=staging,
                same=same,
                chosen=side.chosen,
            )
        ).rowcount
