"""Obstacles to a migration, whatever its target side is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, LiteralString

from psycopg import Connection

from embcompat.errors import StoreError
from embcompat.stores.postgres.catalog.indexes import too_long
from embcompat.stores.postgres.catalog.partitions import family
from embcompat.stores.postgres.catalog.tables import VectorTable, find_oid, has_default, has_unique_key, other_lengths
from embcompat.stores.postgres.session import Session
from embcompat.stores.postgres.spaces import recorded
from embcompat.stores.values import Job, Obstacle, kept_old_side

HIDDEN_ROWS: Final = (
    "row security hides rows of it from the role {}, which would not be converted: migrate as a role that sees every "
    "row, with BYPASSRLS or as an owner who is not under FORCE"
)

HINDRANCES: Final[LiteralString] = """
    SELECT 'it is temporary' FROM pg_class WHERE oid = %(oid)s AND relpersistence = 't'
    UNION ALL SELECT replace(%(hidden)s, '{}', current_user::text) FROM pg_class
        WHERE oid = %(oid)s AND row_security_active(oid)
    UNION ALL SELECT 'the role ' || current_user || ' must own it; it belongs to ' || pg_get_userbyid(relowner)
        FROM pg_class WHERE oid = %(oid)s AND NOT pg_has_role(relowner, 'USAGE')
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication_rel r JOIN pg_publication p
        ON p.oid = r.prpubid WHERE r.prrelid = %(oid)s
    UNION ALL SELECT 'publication ' || pubname || ' for all tables' FROM pg_publication WHERE puballtables
        AND EXISTS (SELECT 1 FROM pg_class WHERE oid = %(oid)s AND relpersistence = 'p')
    UNION ALL SELECT 'publication ' || pubname || ' for all tables of the schema' FROM pg_publication_namespace r
        JOIN pg_publication p ON p.oid = r.pnpubid
        WHERE r.pnnspid = (SELECT relnamespace FROM pg_class WHERE oid = %(oid)s)
    UNION ALL SELECT 'security label of ' || provider FROM pg_seclabel
        WHERE objoid = %(oid)s AND classoid = 'pg_class'::regclass
    UNION ALL SELECT 'it is a table of the type ' || reloftype::regtype FROM pg_class
        WHERE oid = %(oid)s AND reloftype <> 0
    UNION ALL SELECT 'a subscription that writes to it' FROM pg_subscription_rel WHERE srrelid = %(oid)s
    UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = %(oid)s
    UNION ALL SELECT 'another migration of this table that is not finished: drop its old side, or roll back and '
        'abort it'
        WHERE EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = %(oid)s AND tgname ~ %(others)s
            AND position(%(tag)s IN tgname) = 0)
"""

VIEW_NEEDS: Final[LiteralString] = """
    UNION ALL SELECT DISTINCT pg_describe_object(o.classid, o.objid, o.objsubid) || ', which needs view '
        || v.oid::regclass FROM pg_depend d
        JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
        JOIN pg_class v ON v.oid = w.ev_class AND v.relkind = 'v' JOIN pg_type t ON t.oid = v.reltype
        JOIN pg_depend o ON (o.refclassid = 'pg_class'::regclass AND o.refobjid = v.oid)
            OR (o.refclassid = 'pg_type'::regclass AND o.refobjid IN (t.oid, t.typarray))
        LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.refobjid = %(oid)s AND (NOT %(of_column)s OR a.attname = %(column)s)
        AND o.classid NOT IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_attrdef'::regclass,
            'pg_type'::regclass)
"""
"""What would have to go when a view is made again: on the whole table, or on the vector column."""


def require_every_row(connection: Connection[Any], table: VectorTable, *, where: str) -> None:
    """Check that no policy hides rows of a table from this role: every count would be of a part.

    Raises:
        StoreError: If there is one.
    """
    row = connection.execute("SELECT row_security_active(%s::oid), current_user", (table.oid,)).fetchone()
    if row is not None and row[0]:
        raise StoreError(f"{where}: {HIDDEN_ROWS.replace('{}', str(row[1]))}.")


def common_obstacles(session: Session, *, untouched: bool) -> list[Obstacle]:
    """List what does not depend on where the target side is: the default, the key, and the lengths of vectors.

    Args:
        session: The session.
        untouched: Whether nothing of the job is there yet.
    """
    connection, table = session.connection, session.table
    obstacles = [kept_old_side(earlier)] if (earlier := _earlier(session)) is not None else []
    if has_default(connection, table):
        text = f"The default of column {table.column!r} is a vector of the old space. It is not kept."
        obstacles.append(Obstacle(text, acceptable=True))
    if not has_unique_key(connection, table):
        obstacles.append(Obstacle(f"A unique index must hold {', '.join(table.keys)} apart, and none may be NULL."))
    if untouched and (others := other_lengths(connection, table)):
        text = f"{others} vectors are not of length {table.vector.dim}: rows of another model, which must "
        obstacles.append(Obstacle(f"{text}be deleted or moved to a table of their own."))
    sentences = [sentence for member in family(session) for sentence in too_long(member)]
    return [*obstacles, *map(Obstacle, [*_about_texts(session), *sentences])]


def _earlier(session: Session) -> Job | None:
    """Return the job that made the vectors in service, if another one has kept its old table or column."""
    names, table = session.names, session.table
    place = (names.schema, names.table, names.column, names.condition)
    _, artifact = recorded(session.connection, *place, where=session.where)
    if artifact in (None, session.job.artifact_id):
        return None
    job = replace(session.job, artifact_id=artifact)
    for other in (replace(names, job=job, earlier=earlier) for earlier in (False, True)):
        if other.old_column in table.others or find_oid(session.connection, names.schema, other.old_table) is not None:
            return job
    return None


def _about_texts(session: Session) -> list[str]:
    """Say what is wrong with the column of the texts that the job names, in one sentence or two."""
    name = session.job.text_column
    if name is None:
        return []
    row = session.execute(
        "SELECT format_type(atttypid, atttypmod), typcategory = 'S' FROM pg_attribute "
        "JOIN pg_type t ON t.oid = atttypid WHERE attrelid = %s AND attname = %s AND attnum > 0 AND NOT attisdropped",
        (session.table.oid, name),
    ).fetchone()
    if row is None:
        columns = ", ".join(dict.fromkeys([*session.keys, session.table.column, *session.table.others]))
        return [f"There is no column {name!r}. Columns: {columns}."]
    return [] if row[1] else [f"Column {name!r} must hold texts. Its type is {row[0]}."]
