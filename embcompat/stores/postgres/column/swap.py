"""Two columns of a PostgreSQL table change names in one transaction.

Views on the vector column, the names of its indexes, its grants, comment, settings and NOT NULL are carried over. What
cannot follow is listed beforehand by `embcompat.stores.postgres.column.obstacles`.
"""

from __future__ import annotations

from dataclasses import replace

from psycopg import sql

from embcompat.stores.postgres.catalog.indexes import index_details, pairs
from embcompat.stores.postgres.catalog.objects import create_view, exchange_names, grants_on, raw, views_of
from embcompat.stores.postgres.catalog.partitions import family
from embcompat.stores.postgres.column.side import carry_settings, needs_vector
from embcompat.stores.postgres.names import GALLERIES, PROVENANCE, part_of
from embcompat.stores.postgres.session import Session


def swap_columns(session: Session, *, incoming: str, parked: str) -> list[sql.Composed]:
    """Rename the vector column to ``parked`` and ``incoming`` to its name, in the transaction that is open.

    Args:
        session: The session, in a transaction that holds the table.
        incoming: The column that takes the vector column's name.
        parked: What the vector column is called from now on.

    Returns:
        Statements that look at every row for NOT NULL; to be run after the transaction.
    """
    run, table, column = session.execute, session.table.identifier, session.table.column
    members = family(session)
    views = {view.name: view for each in members for view in views_of(each.connection, each.table.oid, column)}
    details = [statement for each in members for statement in _details(each)]
    for name in reversed(views):
        run(sql.SQL("DROP VIEW {}").format(raw(name)))
    for each in members:
        _swap_index_names(each, incoming)
        carry_settings(each, each.table, replace(each.table, column=incoming))
    _rename(session, column, parked)
    _rename(session, incoming, column)
    for detail in details:
        run(detail)
    for view in views.values():
        create_view(session.connection, view)
    if not needs_vector(session):
        return []
    constraint = sql.Identifier(session.names.trigger("not_null"))
    run(sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(table, constraint))
    run(sql.SQL("ALTER TABLE {} ALTER {} DROP NOT NULL").format(table, sql.Identifier(parked)))
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} IS NOT NULL) NOT VALID")
    run(add.format(table, constraint, session.table.vectors))
    return [
        sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(table, constraint),
        sql.SQL("ALTER TABLE {} ALTER {} SET NOT NULL").format(table, session.table.vectors),
        sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, constraint),
    ]


def _swap_index_names(session: Session, incoming: str) -> None:
    """Let the vector indexes of the two columns change names."""
    table = session.table
    other = replace(table, column=incoming)
    details = index_details(session.connection, table)
    for here, there in pairs(session.connection, table, other):
        exchange_names(session.connection, "INDEX", table.schema, here, there)
        for detail in details[here]:
            session.execute(detail)


def _rename(session: Session, name: str, new_name: str) -> None:
    """Rename a vector column, the provenance that it has, and what `GALLERIES` says of it, or of its part."""
    endings = ["", *(f"__{kind}" for kind in PROVENANCE if f"{name}__{kind}" in session.table.others)]
    for ending in endings:
        rename = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}")
        old, new = sql.Identifier(name + ending), sql.Identifier(new_name + ending)
        session.execute(rename.format(session.table.identifier, old, new))
    condition = session.table.condition
    session.execute(
        sql.SQL("UPDATE {} SET attribute = %s WHERE relation = %s AND attribute = %s").format(
            session.names.identifier(GALLERIES)
        ),
        (part_of(new_name, condition), session.table.oid, part_of(name, condition)),
    )


def _details(session: Session) -> list[sql.Composed]:
    """Return the statements that give the vector column its grants and its comment again."""
    table = session.table
    statements = grants_on(session.connection, table.oid, table.identifier, of=table.column)
    row = session.execute(
        "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = %s AND attname = %s",
        (table.oid, table.column),
    ).fetchone()
    if row is not None and row[0] is not None:
        column = sql.Identifier(table.schema, table.name, table.column)
        statements.append(sql.SQL("COMMENT ON COLUMN {} IS {}").format(column, sql.Literal(row[0])))
    return statements
