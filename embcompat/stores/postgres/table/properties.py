"""What a PostgreSQL table that takes the place of another one gets from it besides its rows."""

from __future__ import annotations

from psycopg import sql

from embcompat.stores.postgres.catalog.objects import grants_on, raw
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.names import OWN_PREFIX
from embcompat.stores.postgres.session import Session


def carry_properties(session: Session, incoming: VectorTable) -> None:
    """Give the incoming table the owner, grants, options, comment and sequences of the one in service."""
    run, old = session.execute, session.table.oid
    target = incoming.identifier
    run(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(target))
    for grant in grants_on(session.connection, old, target):
        run(grant)
    row = run("SELECT pg_get_userbyid(relowner), reloptions FROM pg_class WHERE oid = %s", (old,)).fetchone()
    owner, options = row if row is not None else ("", None)
    for option in options or []:
        name, _, value = option.partition("=")
        run(sql.SQL("ALTER TABLE {} SET ({} = {})").format(target, raw(name), sql.Literal(value)))
    comment = run("SELECT obj_description(%s, 'pg_class')", (old,)).fetchone()
    if comment is not None and comment[0] is not None:
        run(sql.SQL("COMMENT ON TABLE {} IS {}").format(target, sql.Literal(comment[0])))
    run(sql.SQL("ALTER TABLE {} OWNER TO {}").format(target, sql.Identifier(owner)))
    _carry_sequences(session, incoming)


def _carry_sequences(session: Session, incoming: VectorTable) -> None:
    """Let serial columns keep their sequence, and identity columns count on under the same name."""
    run, old = session.execute, session.table.oid
    sequences = run(
        "SELECT n.nspname, s.relname, i.relname, a.attname, a.attidentity <> '' FROM pg_depend d "
        "JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid LEFT JOIN pg_class i "
        "ON i.oid = pg_get_serial_sequence(%(new)s::regclass::text, a.attname)::regclass "
        "WHERE d.refobjid = %(old)s AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')",
        {"old": old, "new": incoming.oid},
    ).fetchall()
    for schema, sequence, counterpart, column, identity in sequences:
        kept = sql.Identifier(schema, sequence)
        if not identity:
            run(sql.SQL("ALTER SEQUENCE {} OWNED BY {}.{}").format(kept, incoming.identifier, sql.Identifier(column)))
            continue
        other = sql.Identifier(schema, counterpart)
        run(
            sql.SQL("SELECT setval({}, s.last_value, s.is_called) FROM {} s").format(
                sql.Literal(session.text(other)), kept
            )
        )
        between = f"{OWN_PREFIX}{old}_{incoming.oid}"
        for before, after in ((sequence, between), (counterpart, sequence), (between, counterpart)):
            rename = sql.SQL("ALTER SEQUENCE {} RENAME TO {}")
            run(rename.format(sql.Identifier(schema, before), sql.Identifier(after)))
