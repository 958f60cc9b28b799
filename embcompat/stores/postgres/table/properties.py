"""What a PostgreSQL table that takes the place of another one gets from it besides its rows."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from embcompat.stores.postgres.catalog.indexes import index_details
from embcompat.stores.postgres.catalog.objects import (
    close_to_others,
    column_settings,
    exchange_names,
    grants_on,
    raw,
    revocations_on,
)
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.session import Session

_TABLE_CHANGES: Final[LiteralString] = """
    SELECT format('ALTER TABLE %%s SET (%%s = %%L)', %(target)s::text, quote_ident(option_name), option_value)
        FROM pg_class, pg_options_to_table(reloptions) WHERE oid = %(old)s
    UNION ALL SELECT format('ALTER TABLE %%s SET (toast.%%s = %%L)', %(target)s::text, quote_ident(option_name),
        option_value) FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid,
        pg_options_to_table(t.reloptions) WHERE c.oid = %(old)s
    UNION ALL SELECT format('COMMENT ON TABLE %%s IS %%L', %(target)s::text, obj_description(oid, 'pg_class'))
        FROM pg_class WHERE oid = %(old)s AND obj_description(oid, 'pg_class') IS NOT NULL
    UNION ALL SELECT format('ALTER TABLE %%s REPLICA IDENTITY %%s', %(target)s::text, CASE relreplident
        WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' WHEN 'i' THEN 'USING INDEX ' || (SELECT
            quote_ident(relname) FROM pg_index JOIN pg_class x ON x.oid = indexrelid
            WHERE indrelid = %(old)s AND indisreplident) ELSE 'DEFAULT' END)
        FROM pg_class WHERE oid = %(old)s
    UNION ALL SELECT format('ALTER TABLE %%s CLUSTER ON %%I', %(target)s::text, relname)
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = %(old)s AND indisclustered
    UNION ALL SELECT format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', conname, %(target)s::text,
        obj_description(oid, 'pg_constraint')) FROM pg_constraint
        WHERE conrelid = %(old)s AND contype <> 'f' AND obj_description(oid, 'pg_constraint') IS NOT NULL
    UNION ALL SELECT format('ALTER TABLE %%s OWNER TO %%I', %(target)s::text, pg_get_userbyid(relowner))
        FROM pg_class WHERE oid = %(old)s
"""

_STATISTICS: Final[LiteralString] = """
    SELECT stxname, nspname, pg_get_statisticsobjdef_columns(s.oid) || stxkind::text
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE stxrelid = %s ORDER BY s.oid
"""


def table_changes(session: Session, incoming: VectorTable) -> list[sql.SQL]:
    """Return statements that give the incoming table what the one in service has.

    Options, comments, replica identity, the mark of CLUSTER, statistics targets of indexes, and the owner follow. The
    statements name indexes and constraints as the table in service does, so they are for after the swap of these names.
    """
    parameters = {"old": session.table.oid, "target": session.text(incoming.identifier)}
    details = index_details(session.connection, session.table).values()
    changes = [raw(text) for (text,) in session.execute(_TABLE_CHANGES, parameters)]
    return [*(detail for statements in details for detail in statements), *changes]


def carry_properties(session: Session, incoming: VectorTable) -> None:
    """Give the incoming table the settings of columns, grants, sequences and statistics of the one in service."""
    carry_settings(session, incoming)
    close_to_others(session.connection, incoming.identifier)
    for grant in grants_on(session.connection, session.table.oid, incoming.identifier):
        session.execute(grant)
    _carry_sequences(session, incoming)
    _swap_statistics(session, incoming)


def carry_settings(session: Session, incoming: VectorTable) -> None:
    """Give the columns of the incoming table the storage, compression and statistics targets of those in service."""
    row = session.execute("SELECT %s::regclass::oid", (session.text(incoming.identifier),)).fetchone()
    present = column_settings(session.connection, row[0] if row else 0)
    for column, action in column_settings(session.connection, session.table.oid):
        if (column, action) not in present and column not in session.table.side[1:]:
            change = sql.SQL("ALTER TABLE {} ALTER {} {}")
            session.execute(change.format(incoming.identifier, sql.Identifier(column), raw(action)))


def _carry_sequences(session: Session, incoming: VectorTable) -> None:
    """Let serial columns keep their sequence, and identity columns count on under the same name."""
    run, old = session.execute, session.table.oid
    sequences = run(
        "SELECT s.oid, n.nspname, s.relname, i.oid, i.relname, a.attname, a.attidentity <> '', "
        "obj_description(s.oid, 'pg_class') FROM pg_depend d "
        "JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid LEFT JOIN pg_class i "
        "ON i.oid = pg_get_serial_sequence(%(new)s::regclass::text, a.attname)::regclass "
        "WHERE d.refobjid = %(old)s AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')",
        {"old": old, "new": incoming.oid},
    ).fetchall()
    for oid, schema, sequence, other_oid, counterpart, column, identity, comment in sequences:
        here = sql.Identifier(schema, sequence)
        if not identity:
            run(sql.SQL("ALTER SEQUENCE {} OWNED BY {}.{}").format(here, incoming.identifier, sql.Identifier(column)))
            continue
        other = sql.Identifier(schema, counterpart)
        run(
            sql.SQL("SELECT setval({}, s.last_value, s.is_called) FROM {} s").format(
                sql.Literal(session.text(other)), here
            )
        )
        target = sql.SQL("SEQUENCE {}").format(other)
        for statement in revocations_on(session.connection, other_oid, target):
            run(statement)
        for statement in grants_on(session.connection, oid, target):
            run(statement)
        if comment is not None:
            run(sql.SQL("COMMENT ON {} IS {}").format(target, sql.Literal(comment)))
        exchange_names(session.connection, "SEQUENCE", schema, sequence, counterpart)


def _swap_statistics(session: Session, incoming: VectorTable) -> None:
    """Let the extended statistics of both tables change names."""
    counterparts = {form: (name, schema) for name, schema, form in session.execute(_STATISTICS, (incoming.oid,))}
    for name, schema, form in session.execute(_STATISTICS, (session.table.oid,)).fetchall():
        other, other_schema = counterparts.get(form, (name, schema))
        if other != name and other_schema == schema:
            exchange_names(session.connection, "STATISTICS", schema, name, other)
