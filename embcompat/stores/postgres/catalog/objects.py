"""Objects that depend on a PostgreSQL table or column and are made again: views, triggers, grants, column settings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from embcompat.stores.postgres.names import OWN_PREFIX

_COLUMN_SETTINGS: Final[LiteralString] = """
    WITH place AS (SELECT * FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped)
    SELECT attname, 'SET STORAGE ' || CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
        WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END FROM place
    UNION ALL SELECT attname, 'SET COMPRESSION ' || CASE attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4'
        ELSE 'default' END FROM place WHERE attlen = -1
    UNION ALL SELECT attname, 'SET STATISTICS ' || coalesce(attstattarget::text, '-1') FROM place
    UNION ALL SELECT attname, 'SET (' || quote_ident(option_name) || ' = ' || quote_literal(option_value) || ')'
        FROM place, pg_options_to_table(attoptions)
"""

_VIEW_DETAILS: Final[LiteralString] = """
    SELECT format('COMMENT ON VIEW %%s IS %%L', oid::regclass, obj_description(oid, 'pg_class'))
        FROM pg_class WHERE oid = %(oid)s AND obj_description(oid, 'pg_class') IS NOT NULL
    UNION ALL SELECT format('COMMENT ON COLUMN %%s.%%I IS %%L', attrelid::regclass, attname,
        col_description(attrelid, attnum)) FROM pg_attribute
        WHERE attrelid = %(oid)s AND col_description(attrelid, attnum) IS NOT NULL
    UNION ALL SELECT format('ALTER VIEW %%s ALTER %%I SET DEFAULT %%s', attrelid::regclass, attname,
        pg_get_expr(adbin, adrelid)) FROM pg_attrdef
        JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE adrelid = %(oid)s
    UNION ALL SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class = %(oid)s AND rulename <> '_RETURN'
"""


@dataclass(frozen=True)
class View:
    """What it takes to make a view again.

    Attributes:
        name: Its name, with its schema where that is needed, quoted.
        creation: The statement that makes it.
        details: Statements that give it comments, defaults, rules, triggers, grants and its owner.
    """

    name: str
    creation: sql.SQL
    details: list[sql.SQL | sql.Composed]


def views_of(connection: Connection[Any], oid: int, column: str | None = None) -> list[View]:
    """Return the views on a table, or on one column of it, in the order in which they can be made again."""
    rows = connection.execute(
        "SELECT DISTINCT c.oid, c.oid::regclass::text, pg_get_viewdef(c.oid), pg_get_userbyid(c.relowner), "
        "array_to_string(c.reloptions, ', ') FROM pg_depend d "
        "JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass "
        "JOIN pg_class c ON c.oid = w.ev_class LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid "
        "AND a.attnum = d.refobjsubid WHERE d.refobjid = %(oid)s AND c.relkind = 'v' "
        "AND (%(column)s::text IS NULL OR a.attname = %(column)s) ORDER BY c.oid",
        {"oid": oid, "column": column},
    ).fetchall()
    return [
        View(
            name,
            raw(f"CREATE VIEW {name}{f' WITH ({options})' if options else ''} AS {definition}"),
            [
                *(raw(text) for (text,) in connection.execute(_VIEW_DETAILS, {"oid": number})),
                *(statement for _, statements in triggers_on(connection, number) for statement in statements),
                *grants_on(connection, number, raw(name)),
                sql.SQL("ALTER VIEW {} OWNER TO {}").format(raw(name), sql.Identifier(owner)),
            ],
        )
        for number, name, definition, owner, options in rows
    ]


def create_view(connection: Connection[Any], view: View) -> None:
    """Make a view again."""
    connection.execute(view.creation)
    close_to_others(connection, raw(view.name))
    for statement in view.details:
        connection.execute(statement)


def triggers_on(connection: Connection[Any], oid: int) -> list[tuple[str, list[sql.SQL | sql.Composed]]]:
    """Return the names of the application's triggers on a table or view, and the statements that make each again."""
    rows = connection.execute(
        "SELECT tgname, tgrelid::regclass::text, pg_get_triggerdef(oid), tgenabled, "
        "obj_description(oid, 'pg_trigger') FROM pg_trigger "
        "WHERE tgrelid = %s AND NOT tgisinternal AND tgname !~ '^~?embcompat_' ORDER BY oid",
        (oid,),
    ).fetchall()
    triggers = []
    for name, table, definition, enabled, comment in rows:
        statements: list[sql.SQL | sql.Composed] = [raw(definition)]
        if words := {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}.get(enabled):
            change = sql.SQL("ALTER TABLE {} {} TRIGGER {}")
            statements.append(change.format(raw(table), raw(words), sql.Identifier(name)))
        if comment is not None:
            text = sql.SQL("COMMENT ON TRIGGER {} ON {} IS {}")
            statements.append(text.format(sql.Identifier(name), raw(table), sql.Literal(comment)))
        triggers.append((name, statements))
    return triggers


def grants_on(
    connection: Connection[Any], oid: int, target: sql.Composable, *, of: str | None = None
) -> list[sql.Composed]:
    """Return the statements that grant on ``target`` what is granted on a table or view and its columns, or on one."""
    rows = connection.execute(
        "SELECT x.privilege_type, x.grantee, x.is_grantable, NULL FROM pg_class c, aclexplode(c.relacl) x "
        "WHERE c.oid = %(oid)s AND x.grantee <> c.relowner "
        "UNION ALL SELECT x.privilege_type, x.grantee, x.is_grantable, a.attname FROM pg_attribute a, "
        "aclexplode(a.attacl) x WHERE a.attrelid = %(oid)s AND NOT a.attisdropped",
        {"oid": oid},
    ).fetchall()
    statements = []
    for privilege, grantee, grantable, column in rows:
        if of is not None and column != of:
            continue
        what = sql.SQL("") if column is None else sql.SQL(" ({})").format(sql.Identifier(column))
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        grant = sql.SQL("GRANT {}{} ON {} TO {}{}")
        statements.append(grant.format(raw(privilege), what, target, _role(connection, grantee), option))
    return statements


def revocations_on(connection: Connection[Any], oid: int, target: sql.Composable) -> list[sql.Composed]:
    """Return the statements that take away all that is granted on a table or view; default privileges give that."""
    rows = connection.execute(
        "SELECT x.grantee FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = %(oid)s AND x.grantee <> c.relowner "
        "UNION SELECT x.grantee FROM pg_attribute a, aclexplode(a.attacl) x "
        "WHERE a.attrelid = %(oid)s AND NOT a.attisdropped",
        {"oid": oid},
    ).fetchall()
    revoke = sql.SQL("REVOKE ALL ON {} FROM {} CASCADE")
    return [revoke.format(target, _role(connection, grantee)) for (grantee,) in rows]


def close_to_others(connection: Connection[Any], table: sql.Identifier | sql.SQL) -> None:
    """Take from every other role what default privileges have granted on a new table or view."""
    row = connection.execute("SELECT %s::regclass::oid", (table.as_string(connection),)).fetchone()
    for revocation in revocations_on(connection, row[0] if row else 0, table):
        connection.execute(revocation)


def exchange_names(connection: Connection[Any], kind: LiteralString, schema: str, first: str, second: str) -> None:
    """Let two indexes, sequences or statistics (``kind``) of a schema change names."""
    rename = sql.SQL("ALTER " + kind + " {} RENAME TO {}")
    between = f"{OWN_PREFIX}{hashlib.blake2b(f'{first}.{second}'.encode(), digest_size=6).hexdigest()}"
    for name, new_name in ((first, between), (second, first), (between, second)):
        connection.execute(rename.format(sql.Identifier(schema, name), sql.Identifier(new_name)))


def column_settings(connection: Connection[Any], oid: int) -> list[tuple[str, str]]:
    """Return columns and the actions of ALTER COLUMN that set their storage, compression, statistics and options."""
    return connection.execute(_COLUMN_SETTINGS, (oid,)).fetchall()


def raw(text: str) -> sql.SQL:
    """Take text that PostgreSQL itself has quoted."""
    return sql.SQL(text)


def _role(connection: Connection[Any], oid: int) -> sql.Composable:
    if oid == 0:
        return sql.SQL("PUBLIC")
    row = connection.execute("SELECT pg_get_userbyid(%s)", (oid,)).fetchone()
    return sql.Identifier(str(row[0]) if row else "")
