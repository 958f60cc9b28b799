"""Obstacles to a migration whose target side is another column."""

from __future__ import annotations

from psycopg import sql

from embcompat.stores.postgres.catalog.indexes import shared_indexes
from embcompat.stores.postgres.catalog.obstacles import HIDDEN_ROWS, HINDRANCES, VIEW_NEEDS
from embcompat.stores.postgres.catalog.partitions import family, family_obstacles
from embcompat.stores.postgres.catalog.tables import has_default
from embcompat.stores.postgres.column.side import other_guards
from embcompat.stores.postgres.column.waiting import waiting_name
from embcompat.stores.postgres.session import Session
from embcompat.stores.postgres.spaces import recorded, recorded_parts


def column_obstacles(session: Session, *, fire: bool) -> list[str]:
    """List what stands in the way of another column that takes the vector column's name, one phrase each.

    Args:
        session: The session.
        fire: Whether the application's triggers fire while rows are filled.
    """
    phrases = family_obstacles(session)
    for member in family(session):
        mark = "" if member.table.oid == session.table.oid else f"partition {member.table.name}: "
        phrases += [mark + text for text in _table_obstacles(member, fire=fire)]
    return list(dict.fromkeys(phrases))


def _table_obstacles(session: Session, *, fire: bool) -> list[str]:
    return [
        str(text)
        for (text,) in session.execute(
            "WITH place AS (SELECT attnum FROM pg_attribute WHERE attrelid = %(oid)s AND attname = %(column)s) "
            + HINDRANCES
            + VIEW_NEEDS
            + """
            UNION ALL SELECT 'trigger ' || tgname || ', which would fire for every row and which this user may not '
                'hold back' FROM pg_trigger WHERE %(fire)s AND tgrelid = %(oid)s AND NOT tgisinternal
                AND tgenabled NOT IN ('D', 'R') AND tgparentid = 0 AND tgtype & 16 <> 0 AND tgattr = ''
                AND tgname !~ '^~?embcompat_'
            UNION ALL SELECT DISTINCT pg_describe_object(w.classid, w.objid, 0) FROM pg_depend w
                LEFT JOIN pg_rewrite r ON w.classid = 'pg_rewrite'::regclass AND r.oid = w.objid
                LEFT JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
                LEFT JOIN pg_index i ON w.classid = 'pg_class'::regclass AND i.indexrelid = w.objid
                LEFT JOIN pg_class x ON x.oid = i.indexrelid
                LEFT JOIN pg_am m ON m.oid = x.relam AND m.amname IN ('hnsw', 'ivfflat')
                LEFT JOIN pg_attrdef d ON w.classid = 'pg_attrdef'::regclass AND d.oid = w.objid
                LEFT JOIN pg_constraint c ON w.classid = 'pg_constraint'::regclass AND c.oid = w.objid
                WHERE w.refclassid = 'pg_class'::regclass AND w.refobjid = %(oid)s
                AND w.refobjsubid = (SELECT attnum FROM place) AND m.oid IS NULL
                AND x.relname IS DISTINCT FROM %(waiting)s
                AND d.adnum IS DISTINCT FROM (SELECT attnum FROM place) AND c.contype IS DISTINCT FROM 'n'
                AND (v.oid IS NULL OR EXISTS (SELECT 1 FROM pg_depend n JOIN pg_rewrite o
                    ON n.classid = 'pg_rewrite'::regclass AND o.oid = n.objid
                    WHERE n.refobjid = v.oid AND o.ev_class <> v.oid))
            """,
            {
                "oid": session.table.oid,
                "column": session.table.column,
                "fire": fire,
                "of_column": True,
                "tag": session.names.tag,
                "hidden": HIDDEN_ROWS,
                "others": "^~?embcompat_log_",
                "waiting": waiting_name(session),
            },
        )
    ]


def part_obstacles(session: Session) -> list[str]:
    """List what keeps a part of a column, or a whole one beside earlier parts, from being migrated, a sentence each."""
    table, target, names = session.table, session.target, session.names
    sentences = []
    if rivals := names.rivals(table.others):
        sentences.append(
            f"Another migration of this column is not finished (column {rivals[0]}): drop its old side, or roll it "
            "back and abort it. Parts of a column are migrated one after the other."
        )
    if not table.condition:
        if parts := recorded_parts(session):
            sentences.append(f"Parts of this column have a space of their own: migrate each with ?where=. {parts[0]}.")
        return sentences
    old, new = (session.text(side.vector_type) for side in (table, target))
    if old != new:
        sentences.append(
            f"Column {table.column!r} is {old}, and the rows that are left out need it to stay so, beside vectors of "
            f"{new}. ALTER TABLE {session.text(table.identifier)} ALTER {session.text(table.vectors)} TYPE vector "
            "rewrites no row and accepts vectors of any length."
        )
    if has_default(session.connection, table):
        sentences.append(f"The default of column {table.column!r} would be lost for the rows that are left out.")
    shared = [sentence for member in family(session) for sentence in shared_indexes(member)]
    return [*sentences, *shared, *_mixed_spaces(session)]


def _mixed_spaces(session: Session) -> list[str]:
    """List what earlier migrations say against the one of this part, a sentence each."""
    table, names = session.table, session.names
    space, _ = recorded(
        session.connection, names.schema, names.table, names.column, names.condition, where=session.where
    )
    sentences = []
    if table.side[1] in table.others:
        source = None if space is None else session.job.source.id  # rows of an unknown part have no provenance
        count = session.count(
            sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND s.{} IS DISTINCT FROM {}{}").format(
                table.identifier, table.provenance("space"), table.provenance("space"), source, table.chosen
            )
        )
        if count:
            sentences.append(
                f"{count} rows of this part are recorded as of another space, or belong to a part that was migrated "
                "before: change the condition so that it takes none of them."
            )
    if guards := other_guards(session, of_part=False):
        sentences.append(
            f"Trigger {guards[0][0]} of a migration of the whole column would refuse the vectors of this part. Drop it "
            "first; from then on nothing refuses wrong vectors of the rows that are left out."
        )
    return sentences
