"""Obstacles to a migration whose target side is another table."""

from __future__ import annotations

from embcompat.stores.postgres.catalog.obstacles import HIDDEN_ROWS, HINDRANCES, VIEW_NEEDS
from embcompat.stores.postgres.session import Session


def swap_obstacles(session: Session) -> list[str]:
    """List what hangs on a table and would not follow a swap by rename, one phrase each."""
    return [
        str(text)
        for (text,) in session.execute(
            HINDRANCES
            + VIEW_NEEDS
            + """
            UNION ALL SELECT 'it is partitioned' FROM pg_class WHERE oid = %(oid)s AND relkind = 'p'
            UNION ALL SELECT 'it inherits from or is inherited by ' || CASE WHEN inhrelid = %(oid)s
                THEN inhparent::regclass ELSE inhrelid::regclass END
                FROM pg_inherits WHERE %(oid)s IN (inhrelid, inhparent)
            UNION ALL SELECT 'row security policy ' || polname FROM pg_policy WHERE polrelid = %(oid)s
            UNION ALL SELECT 'row security is on' FROM pg_class WHERE oid = %(oid)s AND relrowsecurity
            UNION ALL SELECT 'generated column ' || quote_ident(a.attname) || ', made from the vector' FROM pg_depend d
                JOIN pg_attribute v ON v.attrelid = d.refobjid AND v.attnum = d.refobjsubid
                JOIN pg_attrdef g ON d.classid = 'pg_attrdef'::regclass AND g.oid = d.objid
                JOIN pg_attribute a ON a.attrelid = g.adrelid AND a.attnum = g.adnum AND a.attgenerated <> ''
                WHERE d.refobjid = %(oid)s AND v.attname = %(column)s AND a.attname <> v.attname
            UNION ALL SELECT 'constraint ' || conname || ', which checks the vector' FROM pg_constraint
                JOIN pg_attribute v ON v.attrelid = conrelid AND v.attnum = ANY(conkey) WHERE conrelid = %(oid)s
                AND contype IN ('c', 'x') AND v.attname = %(column)s
            UNION ALL SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d
                JOIN pg_class c ON c.oid = %(oid)s JOIN pg_type t ON t.oid = c.reltype
                LEFT JOIN pg_class o ON d.classid = 'pg_class'::regclass AND o.oid = d.objid
                LEFT JOIN pg_index i ON i.indexrelid = o.oid
                LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
                LEFT JOIN pg_class v ON v.oid = w.ev_class
                LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
                WHERE ((d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
                    OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
                        AND d.deptype <> 'i'))
                AND d.classid NOT IN ('pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_trigger'::regclass,
                    'pg_type'::regclass, 'pg_proc'::regclass, 'pg_statistic_ext'::regclass,
                    'pg_publication_rel'::regclass)
                AND (o.oid IS NULL OR (o.oid <> c.oid AND o.relkind NOT IN ('S', 't')
                    AND i.indrelid IS DISTINCT FROM c.oid AND o.oid <> c.reltoastrelid))
                AND (w.oid IS NULL OR (v.oid <> c.oid AND v.relkind NOT IN ('v', 'm')))
                AND (p.oid IS NULL OR p.polrelid <> c.oid)
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
                "column": session.table.column,
                "of_column": False,
                "tag": session.names.tag,
                "hidden": HIDDEN_ROWS,
                "others": "^~?embcompat_(log|zz_stale)_",
            },
        )
    ]
