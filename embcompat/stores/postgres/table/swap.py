"""Two PostgreSQL tables change names in one transaction, and everything that hangs on the one in service follows.

Grants, owner, triggers, foreign keys in both directions, views, sequences and the names of indexes are carried over.
What cannot follow is listed beforehand by `embcompat.stores.postgres.catalog.swap_obstacles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection, sql

from embcompat.errors import StoreError
from embcompat.stores.postgres.names import OWN_PREFIX

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


def swap_tables(
    connection: Connection[Any], schema: str, *, served: str, incoming: str, parked: str
) -> list[sql.Composed]:
    """Rename ``served`` to ``parked`` and ``incoming`` to ``served``, in the transaction that is open.

    Args:
        connection: A connection with an open transaction that holds the tables.
        schema: Their schema.
        served: The table in service.
        incoming: The table that takes its name.
        parked: What the table in service is called from now on.

    Returns:
        Statements that check carried-over foreign keys against the rows; to be run after the transaction. Foreign keys
        and the application's triggers move: the parked table keeps none, so that it holds nobody up.

    Raises:
        StoreError: If an index of the table in service has no counterpart.
    """
    old, new = (_oid(connection, schema, name) for name in (served, incoming))
    run = connection.execute
    views = views_of(connection, old)
    foreign = run(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated, "
        "obj_description(oid, 'pg_constraint') FROM pg_constraint "
        "WHERE %(old)s IN (conrelid, confrelid) AND contype = 'f' ORDER BY oid",
        {"old": old},
    ).fetchall()
    triggers = run(
        "SELECT tgname, pg_get_triggerdef(oid), tgenabled, obj_description(oid, 'pg_trigger') FROM pg_trigger "
        "WHERE tgrelid = %s AND NOT tgisinternal AND tgname !~ '^~?embcompat_' ORDER BY oid",
        (old,),
    ).fetchall()
    for view in reversed(views):
        run(raw(f"DROP VIEW {view.name}"))
    for table, name, *_ in foreign:
        run(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(raw(table), sql.Identifier(name)))
    for name, *_ in triggers:
        run(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), sql.Identifier(schema, served)))
    _swap_index_names(connection, schema, old, new)
    _carry_properties(connection, old, new)
    rename = sql.SQL("ALTER TABLE {} RENAME TO {}")
    run(rename.format(sql.Identifier(schema, served), sql.Identifier(parked)))
    run(rename.format(sql.Identifier(schema, incoming), sql.Identifier(served)))
    here = sql.Identifier(schema, served)
    for name, definition, enabled, comment in triggers:
        run(raw(definition))
        _enable(connection, here, name, enabled)
        if comment is not None:
            text = sql.SQL("COMMENT ON TRIGGER {} ON {} IS {}")
            run(text.format(sql.Identifier(name), here, sql.Literal(comment)))
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
        create_view(connection, view)
    return validations


def _oid(connection: Connection[Any], schema: str, name: str) -> int:
    row = connection.execute("SELECT %s::regclass::oid", (_text(connection, sql.Identifier(schema, name)),)).fetchone()
    return int(row[0]) if row else 0


def _swap_index_names(connection: Connection[Any], schema: str, old: int, new: int) -> None:
    """Let each index of the incoming table change names with its counterpart."""
    waiting: dict[str, list[str]] = {}
    for name, _, form in connection.execute(_INDEXES, (new,)).fetchall():
        waiting.setdefault(form, []).append(name)
    lonely = []
    rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
    for name, is_vector, form in connection.execute(_INDEXES, (old,)).fetchall():
        if not waiting.get(form):
            lonely += [] if is_vector else [name]
            continue
        other = waiting[form].pop(0)
        between = f"{OWN_PREFIX}{old}_{new}"
        for before, after in ((name, between), (other, name), (between, other)):
            connection.execute(rename.format(sql.Identifier(schema, before), sql.Identifier(after)))
    if lonely:
        raise StoreError(f"the new table has no counterpart of index {', '.join(lonely)}. Create it there, or drop it.")


def _carry_properties(connection: Connection[Any], old: int, new: int) -> None:
    """Give the incoming table the owner, grants, options, comment and sequences of the one in service."""
    run = connection.execute
    target = raw(_regclass(connection, new))
    run(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(target))
    for grant in grants_on(connection, old, target):
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
    _carry_sequences(connection, old, new)


def _carry_sequences(connection: Connection[Any], old: int, new: int) -> None:
    """Let serial columns keep their sequence, and identity columns count on under the same name."""
    run = connection.execute
    sequences = run(
        "SELECT n.nspname, s.relname, i.relname, a.attname, a.attidentity <> '' FROM pg_depend d "
        "JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid LEFT JOIN pg_class i "
        "ON i.oid = pg_get_serial_sequence(%(new)s::regclass::text, a.attname)::regclass "
        "WHERE d.refobjid = %(old)s AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')",
        {"old": old, "new": new},
    ).fetchall()
    table = raw(_regclass(connection, new))
    for schema, sequence, counterpart, column, identity in sequences:
        kept = sql.Identifier(schema, sequence)
        if not identity:
            run(sql.SQL("ALTER SEQUENCE {} OWNED BY {}.{}").format(kept, table, sql.Identifier(column)))
            continue
        other = sql.Identifier(schema, counterpart)
        run(
            sql.SQL("SELECT setval({}, s.last_value, s.is_called) FROM {} s").format(
                sql.Literal(_text(connection, other)), kept
            )
        )
        between = f"{OWN_PREFIX}{old}_{new}"
        for before, after in ((sequence, between), (counterpart, sequence), (between, counterpart)):
            rename = sql.SQL("ALTER SEQUENCE {} RENAME TO {}")
            run(rename.format(sql.Identifier(schema, before), sql.Identifier(after)))


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


def _enable(connection: Connection[Any], table: sql.Identifier, trigger: str, enabled: str) -> None:
    words = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}.get(enabled)
    if words is not None:
        connection.execute(sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(table, raw(words), sql.Identifier(trigger)))


def _role(connection: Connection[Any], oid: int) -> str:
    row = connection.execute("SELECT pg_get_userbyid(%s)", (oid,)).fetchone()
    return str(row[0]) if row else ""


def _regclass(connection: Connection[Any], oid: int) -> str:
    row = connection.execute("SELECT %s::regclass::text", (oid,)).fetchone()
    return str(row[0]) if row else ""


def _text(connection: Connection[Any], part: sql.Composable) -> str:
    return part.as_string(connection)


def raw(text: str) -> sql.SQL:
    """Take text that PostgreSQL itself has quoted."""
    return sql.SQL(text)
