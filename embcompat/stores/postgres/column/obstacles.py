"""What stands in the way of a migration whose target side is another column."""

from __future__ import annotations

from embcompat.stores.postgres.catalog.obstacles import HIDDEN_ROWS, HINDRANCES, VIEW_NEEDS
from embcompat.stores.postgres.session import Session


def column_obstacles(session: Session, *, fire: bool) -> list[str]:
    """List what stands in the way of another column that takes the vector column's name, one phrase each.

    Args:
        session: The session.
        fire: Whether the application's triggers fire while rows are filled.
    """
    return [
        str(text)
        for (text,) in session.execute(
            "WITH place AS (SELECT attnum FROM pg_attribute WHERE attrelid = %(oid)s AND attname = %(column)s) "
            + HINDRANCES
            + VIEW_NEEDS
            + """
            UNION ALL SELECT 'trigger ' || tgname || ', which would fire for every row and which this user may not '
                'hold back' FROM pg_trigger WHERE %(fire)s AND tgrelid = %(oid)s AND NOT tgisinternal
                AND tgenabled NOT IN ('D', 'R') AND tgtype & 16 <> 0 AND tgattr = '' AND tgname !~ '^~?embcompat_'
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
            },
        )
    ]
