"""Writing rows of a PostgreSQL gallery in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import Connection, Cursor, sql

from embcompat.stores.digests import vector_digests
from embcompat.stores.postgres.catalog import VectorTable
from embcompat.stores.postgres.copy import Column
from embcompat.stores.postgres.names import PROVENANCE, Target, listed
from embcompat.stores.postgres.staging import Written, copy_in, probe_by_key, stage_rows


def write_rows(connection: Connection[Any], names: Target, table: VectorTable, rows: Written) -> None:
    """Write target rows, with all other columns as the source has them now, in one transaction.

    Rows that no log mentions are held to be new, which is twice as fast; where one is not, all are written again as
    rows that may be there.

    Args:
        connection: A connection; its open transaction is used if there is one.
        names: Names of the job.
        table: The table in service.
        rows: What to write. Its marks are the last change of each row that the log showed when its vector was read:
            changes up to there are done, later ones stay in the log.
    """
    if not rows.marks.any():
        try:
            with connection.transaction(), connection.cursor() as cursor:
                _insert_new(cursor, names, table, rows)
            return
        except psycopg.errors.UniqueViolation:
            pass
    with connection.transaction(), connection.cursor() as cursor:
        staging, same = stage_rows(cursor, names, table, rows)
        plain = plain_columns(table)
        on_conflict = sql.SQL(" ON CONFLICT ({}) DO UPDATE SET {}{}").format(
            listed(table.keys),
            sql.SQL("").join(updates([name]) + sql.SQL(", ") for name in plain),
            _unless_native(names),
        )
        _insert_staged(cursor, names, table, staging, same, on_conflict)
        if rows.marks.any():
            cursor.execute(
                sql.SQL("DELETE FROM {} s USING {} g WHERE {} AND s.n <= g.mark").format(names.log, staging, same)
            )


def _insert_new(cursor: Cursor[Any], names: Target, table: VectorTable, rows: Written) -> None:
    """Insert rows that are not there yet; without other columns they need not meet their source rows on the way."""
    if plain_columns(table):
        staging, same = stage_rows(cursor, names, table, rows)
        _insert_staged(cursor, names, table, staging, same, sql.SQL(""))
        return
    job = names.job
    columns = [
        Column(table.vector.kind, job.target.dim),
        Column("text", constant=job.target.id),
        Column("text", constant=job.artifact_id),
        Column("int8"),
        Column("int8"),
        *table.key_columns,
    ]
    fields = [table.column, *(f"{table.column}__{kind}" for kind in PROVENANCE), *table.keys]
    values = [rows.vectors, None, None, rows.digests, vector_digests(rows.vectors), *rows.keys]
    copy_in(cursor, names.target, fields, columns, values)


def _insert_staged(
    cursor: Cursor[Any],
    names: Target,
    table: VectorTable,
    staging: sql.Identifier,
    same: sql.Composed,
    on_conflict: sql.Composable,
) -> None:
    """Insert staged rows, joined with the other columns of their source rows."""
    probe_by_key(cursor)
    plain = plain_columns(table)
    written = [*table.keys, *plain, table.column, *(f"{table.column}__{kind}" for kind in PROVENANCE)]
    cursor.execute(
        sql.SQL(
            "INSERT INTO {target} AS t ({written}) OVERRIDING SYSTEM VALUE "
            "SELECT {keys}{plain}, g.vector, {space}, {artifact}, g.source, g.digest "
            "FROM {staging} g JOIN {served} s ON {same}{on_conflict}"
        ).format(
            target=names.target,
            written=listed(written),
            keys=listed(table.keys, "s."),
            plain=sql.SQL("").join(sql.SQL(", s.") + sql.Identifier(name) for name in plain),
            space=sql.Literal(names.job.target.id),
            artifact=sql.Literal(names.job.artifact_id),
            staging=staging,
            served=names.served,
            same=same,
            on_conflict=on_conflict,
        )
    )


def write_native_rows(
    connection: Connection[Any],
    names: Target,
    table: VectorTable,
    side: sql.Identifier,
    keys: Sequence[Sequence[Any]],
    vectors: NDArray[np.float32],
) -> int:
    """Replace vectors of one side by native ones, in one transaction; return how many.

    Args:
        connection: A connection.
        names: Names of the job.
        table: The table in service.
        side: The table that holds the target side.
        keys: Key columns.
        vectors: Array (n, target_dim).
    """
    nothing = np.zeros(len(vectors), np.int64)
    with connection.transaction(), connection.cursor() as cursor:
        staging, same = stage_rows(cursor, names, table, Written(keys, vectors, nothing, nothing))
        for setting, value in (("embcompat.space", names.job.target.id), ("embcompat.backfill", "on")):
            cursor.execute("SELECT set_config(%s, %s, true)", (setting, value))  # what the guard asks
        return cursor.execute(
            sql.SQL(
                "UPDATE {side} s SET {column} = g.vector, {space} = {id}, {artifact} = NULL, {digest} = g.digest "
                "FROM {staging} g WHERE {same} AND s.{column} IS NOT NULL"
            ).format(
                side=side,
                column=sql.Identifier(table.column),
                space=names.provenance("space"),
                id=sql.Literal(names.job.target.id),
                artifact=names.provenance("artifact"),
                digest=names.provenance("digest"),
                staging=staging,
                same=same,
            )
        ).rowcount


def plain_columns(table: VectorTable) -> list[str]:
    """Return the columns that are copied as they are: neither keys nor the vector nor its provenance."""
    own = {f"{table.column}__{kind}" for kind in PROVENANCE}
    return [name for name in table.others if name not in own]


def updates(columns: Sequence[str]) -> sql.Composed:
    """Return what a conflict sets: the columns as they come in."""
    return sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns)


def _unless_native(names: Target) -> sql.Composed:
    """Return what a conversion sets beside a conflict: all but native vectors with the very same source vector."""
    columns = [sql.Identifier(names.column), *(names.provenance(kind) for kind in PROVENANCE)]
    kept = sql.SQL("CASE WHEN t.{a} IS NULL AND t.{s} = excluded.{s} THEN t.{c} ELSE excluded.{c} END")
    artifact, source = names.provenance("artifact"), names.provenance("source")
    return sql.SQL(", ").join(
        sql.SQL("{} = ").format(column) + kept.format(a=artifact, s=source, c=column) for column in columns
    )
