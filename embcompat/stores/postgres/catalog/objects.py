"""What hangs on a PostgreSQL table or column and is made again: views and grants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql


@dataclass(frozen=True)
class View:
    """What it takes to make a view again.

    Attributes:
        name: Its name, with its schema where that is needed, quoted.
        definition: Its query.
        owner: Who owns it.
        options: Its options, separated by commas.
        comment: What is said of it.
        grants: The statements that grant on it what was granted.
    """

    name: str
    definition: str
    owner: str
    options: str
    comment: str | None
    grants: list[sql.Composed]


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
        who = sql.SQL("PUBLIC") if grantee == 0 else sql.Identifier(_role(connection, grantee))
        what = sql.SQL("") if column is None else sql.SQL(" ({})").format(sql.Identifier(column))
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        statements.append(sql.SQL("GRANT {}{} ON {} TO {}{}").format(raw(privilege), what, target, who, option))
    return statements


def views_of(connection: Connection[Any], oid: int, column: str | None = None) -> list[View]:
    """Return the views on a table, or on one column of it, in the order in which they can be made again."""
    rows = connection.execute(
        "SELECT DISTINCT c.oid, c.oid::regclass::text, pg_get_viewdef(c.oid), pg_get_userbyid(c.relowner), "
        "array_to_string(c.reloptions, ', '), obj_description(c.oid, 'pg_class') FROM pg_depend d "
        "JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass "
        "JOIN pg_class c ON c.oid = w.ev_class LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid "
        "AND a.attnum = d.refobjsubid WHERE d.refobjid = %(oid)s AND c.relkind = 'v' "
        "AND (%(column)s::text IS NULL OR a.attname = %(column)s) ORDER BY c.oid",
        {"oid": oid, "column": column},
    ).fetchall()
    return [
        View(name, definition, owner, options or "", comment, grants_on(connection, number, raw(name)))
        for number, name, definition, owner, options, comment in rows
    ]


def create_view(connection: Connection[Any], view: View) -> None:
    """Make a view again."""
    options = f" WITH ({view.options})" if view.options else ""
    connection.execute(raw(f"CREATE VIEW {view.name}{options} AS {view.definition}"))
    for grant in view.grants:
        connection.execute(grant)
    if view.comment is not None:
        connection.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(raw(view.name), sql.Literal(view.comment)))
    connection.execute(sql.SQL("ALTER VIEW {} OWNER TO {}").format(raw(view.name), sql.Identifier(view.owner)))


def raw(text: str) -> sql.SQL:
    """Take text that PostgreSQL itself has quoted."""
    return sql.SQL(text)


def _role(connection: Connection[Any], oid: int) -> str:
    row = connection.execute("SELECT pg_get_userbyid(%s)", (oid,)).fetchone()
    return str(row[0]) if row else ""
