"""The column that a migration makes in PostgreSQL, and the swap of two columns' names in one transaction.

Views on the vector column, its index's name, its grants, comment, storage and NOT NULL are carried over. What cannot
follow is listed beforehand by `embcompat.stores.postgres.catalog.column_obstacles`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Self

from psycopg import Connection, sql

from embcompat.stores.postgres import target as pg_target
from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.catalog import VectorTable
from embcompat.stores.postgres.connection import extension_schema
from embcompat.stores.postgres.copy import Column
from embcompat.stores.postgres.indexes import pairs
from embcompat.stores.postgres.names import GALLERIES, OWN_PREFIX, PROVENANCE, Target, vector_type
from embcompat.stores.postgres.table.swap import create_view, grants_on, raw, views_of

_NAME_BYTES: Final = 30  # PostgreSQL cuts names at 63 bytes, and the provenance columns' are longer
_CUT_NAME_BYTES: Final = 28


CHANGED: Final = ""
"""What stands for the space of an empty vector in the new column whose source the application wrote."""


@dataclass(frozen=True)
class ColumnTarget(Target):
    """Names and statements of a job whose target side is another column.

    Attributes:
        old_column: What the vector column in service is called after the cutover.
    """

    old_column: str = ""

    @classmethod
    def of(cls, names: Target) -> Self:
        """Return the names of the column beside the one in service."""
        base, ending = names.column, names.job.suffix
        if len(names.column.encode()) > _NAME_BYTES:
            base = names.column.encode()[: _NAME_BYTES if names.earlier else _CUT_NAME_BYTES].decode(errors="ignore")
            ending = names.tag
        return cls(
            names.schema,
            names.table,
            f"{base}__{ending}",
            names.job,
            names.earlier,
            names.column,
            f"{base}__old_{ending}",
        )

    @property
    def target(self) -> sql.Identifier:
        """The table in service itself."""
        return self.served

    @property
    def not_null(self) -> sql.Identifier:
        """The constraint that stands for NOT NULL until every row was looked at."""
        return sql.Identifier(self.trigger("not_null"))

    def columns(self) -> list[sql.Identifier]:
        """Return the new column and its provenance, in the order of `PROVENANCE`."""
        return [sql.Identifier(self.column), *map(self.provenance, PROVENANCE)]


def create_column(connection: Connection[Any], names: ColumnTarget, table: VectorTable) -> None:
    """Make the new column and everything beside it, in the transaction that is open."""
    kinds = [vector_type(Column(table.vector.kind, names.job.target.dim)), *map(sql.SQL, PROVENANCE.values())]
    added = [sql.SQL("ADD COLUMN {} {}").format(name, kind) for name, kind in zip(names.columns(), kinds, strict=True)]
    connection.execute(sql.SQL("ALTER TABLE {} {}").format(names.served, sql.SQL(", ").join(added)))
    row = connection.execute(
        "SELECT CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' "
        "ELSE 'EXTENDED' END FROM pg_attribute WHERE attrelid = %s AND attname = %s",
        (table.oid, table.column),
    ).fetchone()
    connection.execute(
        sql.SQL("ALTER TABLE {} ALTER {} SET STORAGE {}").format(
            names.served, sql.Identifier(names.column), raw(row[0] if row is not None else "EXTERNAL")
        )
    )
    pg_target.create_parts(connection, names, table)
    pg_target.record(connection, names)
    _create_stale_function(connection, names, table.column)
    add_stale_trigger(connection, names)


def add_stale_trigger(connection: Connection[Any], names: ColumnTarget) -> None:
    """Empty the new column of every row whose vector in service changes from now on.

    Triggers run in the order of their names: this one comes behind those that may set the vector.
    """
    trigger = sql.Identifier(names.trigger("zz_stale"))
    connection.execute(
        sql.SQL("CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            trigger, names.served, names.function("stale")
        )
    )
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(names.served, trigger))


def drop_broken_indexes(connection: Connection[Any], table: VectorTable) -> None:
    """Drop what an interrupted building of an index has left on the vector column."""
    for (name,) in connection.execute(
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = i.indkey[0] WHERE i.indrelid = %s AND a.attname = %s AND NOT i.indisvalid",
        (table.oid, table.column),
    ).fetchall():
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(raw(name)))


def swap_columns(
    connection: Connection[Any], names: ColumnTarget, table: VectorTable, *, incoming: str, parked: str
) -> list[sql.Composed]:
    """Rename the vector column to ``parked`` and ``incoming`` to its name, in the transaction that is open.

    Args:
        connection: A connection with an open transaction that holds the table.
        names: Names of the job.
        table: The table.
        incoming: The column that takes the vector column's name.
        parked: What the vector column is called from now on.

    Returns:
        Statements that look at every row for NOT NULL; to be run after the transaction.
    """
    run, served = connection.execute, names.served
    views = views_of(connection, table.oid, table.column)
    grants = grants_on(connection, table.oid, served, of=table.column)
    comment = _comment(connection, table)
    for view in reversed(views):
        run(sql.SQL("DROP VIEW {}").format(raw(view.name)))
    _swap_index_names(connection, table, incoming)
    for before, after in ((table.column, parked), (incoming, table.column)):
        _rename(connection, names, table, before, after)
    for grant in grants:
        run(grant)
    if comment is not None:
        column = sql.Identifier(names.schema, names.table, table.column)
        run(sql.SQL("COMMENT ON COLUMN {} IS {}").format(column, sql.Literal(comment)))
    for view in views:
        create_view(connection, view)
    if not needs_vector(connection, names, table):
        return []
    column, constraint = sql.Identifier(table.column), names.not_null
    run(sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(served, constraint))
    run(sql.SQL("ALTER TABLE {} ALTER {} DROP NOT NULL").format(served, sql.Identifier(parked)))
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} IS NOT NULL) NOT VALID")
    run(add.format(served, constraint, column))
    return [
        sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(served, constraint),
        sql.SQL("ALTER TABLE {} ALTER {} SET NOT NULL").format(served, column),
        sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(served, constraint),
    ]


def needs_vector(connection: Connection[Any], names: ColumnTarget, table: VectorTable) -> bool:
    """Return whether the vector in service may not be NULL, as read before or after a swap of names."""
    stands_in = connection.execute(
        "SELECT 1 FROM pg_constraint WHERE conrelid = %s AND conname = %s",
        (table.oid, names.trigger("not_null")),
    ).fetchone()
    return not table.nullable or stands_in is not None


def enable_other_guards(connection: Connection[Any], names: ColumnTarget, *, on: bool) -> None:
    """Turn the guard of an earlier migration, which knows the names before the cutover, on or off."""
    word = sql.SQL("ENABLE" if on else "DISABLE")
    for name, _ in _other_guards(connection, names):
        connection.execute(sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(names.served, word, sql.Identifier(name)))


def drop_old_column(connection: Connection[Any], names: ColumnTarget, table: VectorTable) -> None:
    """Drop the old column, earlier guards and the parts, in the transaction that is open."""
    run = connection.execute
    _drop_columns(connection, names, side_columns(table, names.old_column))
    for name, function in _other_guards(connection, names):
        run(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), names.served))
        run(sql.SQL("DROP FUNCTION {}").format(raw(function)))
    run(sql.SQL("DROP FUNCTION {}()").format(names.function("stale")))
    run(sql.SQL("DROP TABLE {}").format(names.parts))
    run(
        sql.SQL("DELETE FROM {} WHERE relation = %s AND attribute = %s").format(names.identifier(GALLERIES)),
        (table.oid, names.old_column),
    )


def drop_new_column(connection: Connection[Any], names: ColumnTarget, table: VectorTable) -> None:
    """Drop the new column, its trigger and the parts, in the transaction that is open."""
    run = connection.execute
    pg_triggers.drop_trigger(connection, names, "zz_stale", names.served)
    for kind in ("stale", "guard"):
        run(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(names.function(kind)))
    _drop_columns(connection, names, side_columns(table, names.column))
    run(sql.SQL("DROP TABLE IF EXISTS {}").format(names.parts))
    run(
        sql.SQL("DELETE FROM {} WHERE relation = %s AND attribute = %s").format(names.identifier(GALLERIES)),
        (table.oid, names.column),
    )


def side_columns(table: VectorTable, column: str) -> list[str]:
    """Return which columns are there of a vector column of a side and its provenance."""
    return [name for name in table.others if name == column or name.startswith(f"{column}__")]


def _drop_columns(connection: Connection[Any], names: ColumnTarget, columns: list[str]) -> None:
    drops = sql.SQL(", ").join(sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in columns)
    connection.execute(sql.SQL("ALTER TABLE {} {}").format(names.served, drops))


def _create_stale_function(connection: Connection[Any], names: ColumnTarget, column: str) -> None:
    body = sql.SQL(
        "BEGIN IF TG_OP = 'UPDATE' AND (NEW.{c} IS NULL) = (OLD.{c} IS NULL) "
        "AND (NEW.{c} IS NULL OR NEW.{c} OPERATOR({e}.=) OLD.{c}) THEN RETURN NEW; END IF; {clear} "
        "IF NEW.{c} IS NOT NULL THEN NEW.{space} := {changed}; END IF; RETURN NEW; END"
    ).format(
        space=names.provenance("space"),
        changed=sql.Literal(CHANGED),
        c=sql.Identifier(column),
        e=extension_schema(connection),
        clear=sql.SQL(" ").join(sql.SQL("NEW.{} := NULL;").format(name) for name in names.columns()),
    )
    pg_triggers.create_function(connection, names, "stale", body)


def _swap_index_names(connection: Connection[Any], table: VectorTable, incoming: str) -> None:
    """Let the vector indexes of the two columns change names."""
    other = replace(table, column=incoming)
    rename, between = sql.SQL("ALTER INDEX {} RENAME TO {}"), f"{OWN_PREFIX}{table.oid}"
    for here, there in pairs(connection, table, other):
        for before, after in ((here, between), (there, here), (between, there)):
            connection.execute(rename.format(sql.Identifier(table.schema, before), sql.Identifier(after)))


def _rename(connection: Connection[Any], names: ColumnTarget, table: VectorTable, before: str, after: str) -> None:
    """Rename a vector column, the provenance that it has, and what `GALLERIES` says of it."""
    endings = ["", *(f"__{kind}" for kind in PROVENANCE if f"{before}__{kind}" in table.others)]
    for ending in endings:
        rename = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}")
        old, new = sql.Identifier(before + ending), sql.Identifier(after + ending)
        connection.execute(rename.format(names.served, old, new))
    connection.execute(
        sql.SQL("UPDATE {} SET attribute = %s WHERE relation = %s AND attribute = %s").format(
            names.identifier(GALLERIES)
        ),
        (after, table.oid, before),
    )


def _comment(connection: Connection[Any], table: VectorTable) -> str | None:
    row = connection.execute(
        "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = %s AND attname = %s",
        (table.oid, table.column),
    ).fetchone()
    return None if row is None else row[0]


def _other_guards(connection: Connection[Any], names: ColumnTarget) -> list[tuple[str, str]]:
    """Return trigger and function of guards that other migrations have left."""
    return connection.execute(
        "SELECT tgname, tgfoid::regprocedure::text FROM pg_trigger WHERE tgrelid = %s::regclass "
        "AND tgname ~ '^~?embcompat_guard_' AND tgname <> %s "
        "AND position(%s IN pg_get_functiondef(tgfoid)) > 0",
        (
            names.served.as_string(connection),
            names.trigger("guard"),
            sql.SQL("NEW.{}").format(sql.Identifier(f"{names.served_column}__space")).as_string(connection),
        ),
    ).fetchall()
