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
from embcompat.stores.postgres.names import PROVENANCE, Target, listed, matched
from embcompat.stores.postgres.staging import UNCHANGED, Written, copy_in, probe_by_key, stage_rows, staged


def write_rows(connection: Connection[Any], names: Target, table: VectorTable, rows: Written) -> None:
    """Write target rows, with all other columns as the source has them now, in one transaction.

    Rows that no log mentions are held to be new, which is twice as fast; where one is not, all are written again as
    rows that may be there.

    Args:
        connection: A connection; its open transaction is used if there is one.
        names: Names of the job.
        table: The table in service.
        rows: What to write. A target row is never replaced by one that was made from an older source row: what was
            changed since it was read stays in the log.
    """
    if not rows.marks.any():
        try:
            with connection.transaction(), connection.cursor() as cursor:
                _insert_new(cursor, names, table, rows)
            return
        except psycopg.errors.UniqueViolation:
            pass
    try:
        with connection.transaction(), connection.cursor() as cursor:
            _write_staged(cursor, names, table, rows)
    except psycopg.errors.UniqueViolation:  # of another column: a row that was changed may still hold the value here
        with connection.transaction(), connection.cursor() as cursor:
            forget_changed(cursor, names, table)
            _write_staged(cursor, names, table, rows)


def forget_changed(cursor: Cursor[Any], names: Target, table: VectorTable) -> None:
    """Delete converted target rows that the log mentions: their columns are out of date, and they are written again."""
    cursor.execute(
        sql.SQL(
            "DELETE FROM {target} t WHERE t.{artifact} IS NOT NULL AND EXISTS (SELECT 1 FROM {log} l WHERE {match})"
        ).format(
            target=names.target,
            artifact=names.provenance("artifact"),
            log=names.log,
            match=matched(table.keys, "l", "t"),
        )
    )


def _write_staged(cursor: Cursor[Any], names: Target, table: VectorTable, rows: Written) -> None:
    staging, same = stage_rows(cursor, names, table, rows)
    _lock_targets(cursor, names, table, staging)
    _update_staged(cursor, names, table, staging, same)
    nothing = sql.SQL(" AND {} ON CONFLICT ({}) DO NOTHING").format(UNCHANGED, listed(table.keys))
    _insert_staged(cursor, names, table, staging, same, nothing)
    if rows.marks.any():
        _clear_log(cursor, names, table, staging)


def _lock_targets(cursor: Cursor[Any], names: Target, table: VectorTable, staging: sql.Identifier) -> None:
    """Hold the target rows that are there, in key order, so that what is compared next cannot change meanwhile.

    Another worker may have read the same rows later and written them earlier: the statements after this one see it.
    """
    probe_by_key(cursor)
    cursor.execute(
        sql.SQL("SELECT 1 FROM {} t JOIN {} g ON {} ORDER BY {} FOR UPDATE OF t").format(
            names.target, staging, staged(table, "t"), listed(table.keys, "t.")
        )
    )


def _update_staged(
    cursor: Cursor[Any], names: Target, table: VectorTable, staging: sql.Identifier, same: sql.Composed
) -> None:
    """Write staged rows over target rows that are there, where the source row is still the one that was read."""
    copied = sql.SQL("").join(sql.SQL("{0} = s.{0}, ").format(sql.Identifier(name)) for name in plain_columns(table))
    values = {
        names.column: sql.SQL("g.vector"),
        f"{names.column}__space": sql.Literal(names.job.target.id),
        f"{names.column}__artifact": sql.Literal(names.job.artifact_id),
        f"{names.column}__source": sql.SQL("g.source"),
        f"{names.column}__digest": sql.SQL("g.digest"),
    }
    native = sql.SQL("t.{a} IS NULL AND t.{c} IS NOT NULL AND t.{s} = g.source").format(
        a=names.provenance("artifact"), c=sql.Identifier(names.column), s=names.provenance("source")
    )
    converted = sql.SQL(", ").join(
        sql.SQL("{0} = CASE WHEN {1} THEN t.{0} ELSE {2} END").format(sql.Identifier(name), native, value)
        for name, value in values.items()
    )
    cursor.execute(
        sql.SQL(
            "UPDATE {target} t SET {copied}{converted} FROM {staging} g JOIN {served} s ON {same} "
            "WHERE {match} AND {unchanged}"
        ).format(
            target=names.target,
            copied=copied,
            converted=converted,
            staging=staging,
            served=names.served,
            same=same,
            match=staged(table, "t"),
            unchanged=UNCHANGED,
        )
    )


def _clear_log(cursor: Cursor[Any], names: Target, table: VectorTable, staging: sql.Identifier) -> None:
    """Forget the changes that were read, of rows whose target row is now made from what was read."""
    cursor.execute(
        sql.SQL(
            "DELETE FROM {log} l USING {staging} g JOIN {target} t ON {match} "
            "WHERE {same} AND l.n <= g.mark AND t.{source} = g.source"
        ).format(
            log=names.log,
            staging=staging,
            target=names.target,
            match=staged(table, "t"),
            same=staged(table, "l"),
            source=names.provenance("source"),
        )
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
            "FROM {staging} g JOIN {served} s ON {same} WHERE true{on_conflict}"
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
    zeros = np.zeros(len(vectors), np.int64)
    with connection.transaction(), connection.cursor() as cursor:
        staging, same = stage_rows(cursor, names, table, Written(keys, vectors, zeros, zeros, zeros))
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
