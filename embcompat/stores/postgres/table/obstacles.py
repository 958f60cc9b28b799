"""What stands in the way of a migration whose target side is another table."""

from __future__ import annotations

from embcompat.stores.postgres.catalog.obstacles import HIDDEN_ROWS, HINDRANCES
from embcompat.stores.postgres.session import Session


def swap_obstacles(session: Session) -> list[str]:
    """List what hangs on a table and would not follow a swap by rename, one phrase each."""
    return [
        str(text)
        for (text,) in session.execute(
            HINDRANCES
            + """
            UNION ALL SELECT 'row security policy ' || polname FROM pg_policy WHERE polrelid = %(oid)s
            UNION ALL SELECT 'row security is on' FROM pg_class WHERE oid = %(oid)s AND relrowsecurity
            UNION ALL SELECT 'its replica identity' FROM pg_class WHERE oid = %(oid)s AND relreplident <> 'd'
            UNION ALL SELECT 'constraint ' || conname || ', which is deferrable' FROM pg_constraint
                WHERE conrelid = %(oid)s AND contype IN ('p', 'u') AND condeferrable
            UNION ALL SELECT 'foreign key ' || conname || ' of the partitioned table ' || conrelid::regclass
                FROM pg_constraint JOIN pg_class c ON c.oid = conrelid
                WHERE confrelid = %(oid)s AND contype = 'f' AND c.relkind = 'p'
            UNION ALL SELECT DISTINCT CASE c.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END
                || c.oid::regclass || ', on which ' || string_agg(DISTINCT d2.ev_class::regclass::text, ', ')
                || ' is built'
                FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
                JOIN pg_class c ON c.oid = w.ev_class
                JOIN pg_depend dd ON dd.refobjid = c.oid AND dd.classid = 'pg_rewrite'::regclass
                JOIN pg_rewrite d2 ON d2.oid = dd.objid AND d2.ev_class <> c.oid
                WHERE d.refobjid = %(oid)s AND c.oid <> %(oid)s GROUP BY c.oid, c.relkind
            UNION ALL SELECT DISTINCT 'materialized view ' || c.oid::regclass
                FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
                JOIN pg_class c ON c.oid = w.ev_class WHERE d.refobjid = %(oid)s AND c.relkind = 'm'
            UNION ALL SELECT DISTINCT 'function ' || d.objid::regprocedure FROM pg_depend d
                JOIN pg_class c ON c.oid = %(oid)s WHERE d.classid = 'pg_proc'::regclass
                AND (d.refobjid IN (c.oid, c.reltype)
                    OR d.refobjid = (SELECT typarray FROM pg_type t WHERE t.oid = c.reltype))
            UNION ALL SELECT 'foreign key ' || conname || ' to itself' FROM pg_constraint
                WHERE conrelid = %(oid)s AND confrelid = %(oid)s AND contype = 'f'
            """,
            {
                "oid": session.table.oid,
                "tag": session.names.tag,
                "hidden": HIDDEN_ROWS,
                "others": "^~?embcompat_(log|zz_stale)_",
            },
        )
    ]
