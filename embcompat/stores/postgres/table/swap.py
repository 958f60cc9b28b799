"""Two PostgreSQL tables change names in one transaction, and everything that hangs on the one in service follows.

Grants, owner, triggers, foreign keys in both directions, views, sequences, settings and the names of indexes are
carried over.
What cannot follow is listed beforehand by `embcompat.stores.postgres.table.obstacles`.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from embcompat.errors import StoreError
from embcompat.stores.postgres.catalog.objects import create_view, exchange_names, raw, triggers_on, views_of
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.session import Session
from embcompat.stores.postgres.spaces import carry_records
from embcompat.stores.postgres.table.properties import carry_properties, table_changes

_INDEXES: LiteralString = """
    SELECT c.relname, i.indexrelid IS NOT NULL AND m.amname IN ('hnsw', 'ivfflat'), m.amname || ' ' || i.indisunique
        || ' ' || i.indisprimary || ' ' || i.indnkeyatts || ' ' || (SELECT string_agg(coalesce(a.attname, '-'), ','
            ORDER BY k.place) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
            LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number)
        || ' ' || regexp_replace(coalesce(pg_get_expr(i.indexprs, i.indrelid), ''), '[(][0-9]+[)]', '', 'g') || ' '
        || coalesce(pg_get_expr(i.indpred, i.indrelid), '')
        || CASE WHEN m.amname IN ('hnsw', 'ivfflat') THEN ''
            ELSE ' ' || i.indoption::text || ' ' || i.indclass::text END
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    WHERE i.indrelid = %s ORDER BY i.indexrelid
"""


def swap_tables(session: Session, *, incoming: VectorTable, parked: str) -> list[sql.Composed]:
    """Give another table the name of the one in service, in the transaction that is open.

    Args:
        session: The session, in a transaction that holds the tables.
        incoming: The table that takes the name.
        parked: What the table in service is called from now on.

    Returns:
        Statements that check carried-over foreign keys against the rows; to be run after the transaction. Foreign keys
        and the application's triggers move: the parked table keeps none, so that it holds nobody up.

    Raises:
        StoreError: If an index of the table in service has no counterpart.
    """
    run, old, here = session.execute, session.table.oid, session.table.identifier
    views = views_of(session.connection, old)
    foreign = run(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated, "
        "obj_description(oid, 'pg_constraint') FROM pg_constraint "
        "WHERE %(old)s IN (conrelid, confrelid) AND contype = 'f' ORDER BY oid",
        {"old": old},
    ).fetchall()
    triggers = [*triggers_on(session.connection, old), *_other_guards(session)]
    changes = table_changes(session, incoming)
    for view in reversed(views):
        run(raw(f"DROP VIEW {view.name}"))
    for table, name, *_ in foreign:
        run(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(raw(table), sql.Identifier(name)))
    for name, _ in triggers:
        run(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), here))
    carry_records(session, incoming)
    _swap_index_names(session, incoming)
    carry_properties(session, incoming)
    for change in changes:
        run(change)
    rename = sql.SQL("ALTER TABLE {} RENAME TO {}")
    run(rename.format(here, sql.Identifier(parked)))
    run(rename.format(incoming.identifier, sql.Identifier(session.table.name)))
    for _, statements in triggers:
        for statement in statements:
            run(statement)
    validations = []
    for table, name, definition, valid, comment in foreign:
        plain = definition.removesuffix(" NOT VALID")
        add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID")
        run(add.format(raw(table), sql.Identifier(name), raw(plain)))
        if comment is not None:
            text = sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}")
            run(text.format(sql.Identifier(name), raw(table), sql.Literal(comment)))
        if valid:
            validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
            validations.append(validate.format(raw(table), sql.Identifier(name)))
    for view in views:
        create_view(session.connection, view)
    return validations


def _other_guards(session: Session) -> list[tuple[str, list[sql.SQL | sql.Composed]]]:
    """Return the guards of other vector columns, which earlier migrations have left; they move as triggers do."""
    statement = sql.SQL(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %s AND tgname ~ '^~?embcompat_guard_' "
        "AND position(%s IN pg_get_functiondef(tgfoid)) = 0 ORDER BY oid"
    )
    about_column = session.text(sql.SQL("NEW.{}").format(session.table.provenance("space")))
    rows = session.execute(statement, (session.table.oid, about_column)).fetchall()
    return [(name, [raw(definition)]) for name, definition in rows]


def index_pairs(session: Session, incoming: VectorTable) -> tuple[list[tuple[str, str]], list[str]]:
    """Match the indexes of the table in service with those of the incoming one.

    Returns:
        The names of each pair, and of the indexes, besides those of vectors, that have no counterpart.
    """
    waiting: dict[str, list[str]] = {}
    for name, _, form in session.execute(_INDEXES, (incoming.oid,)).fetchall():
        waiting.setdefault(form, []).append(name)
    pairs, lonely = [], []
    for name, is_vector, form in session.execute(_INDEXES, (session.table.oid,)).fetchall():
        if waiting.get(form):
            pairs.append((name, waiting[form].pop(0)))
        elif not is_vector:
            lonely.append(name)
    return pairs, lonely


def _swap_index_names(session: Session, incoming: VectorTable) -> None:
    pairs, lonely = index_pairs(session, incoming)
    if lonely:
        raise StoreError(f"the new table has no counterpart of index {', '.join(lonely)}. Create it there, or drop it.")
    for name, other in pairs:
        exchange_names(session.connection, "INDEX", session.table.schema, name, other)
