"""What PostgreSQL's catalog says about a table with vectors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, LiteralString, cast

from psycopg import Connection, sql

from embcompat.errors import InputError, StoreError
from embcompat.stores.keys import KeyKind
from embcompat.stores.postgres.copy import Column, Kind

KEY_KINDS: Final[dict[str, tuple[Kind, KeyKind]]] = {
    "smallint": ("int2", "int"),
    "integer": ("int4", "int"),
    "bigint": ("int8", "int"),
    "uuid": ("uuid", "uuid"),
    "text": ("text", "str"),
    "character varying": ("text", "str"),
}

HIDDEN_ROWS: Final = (
    "row security hides rows of it from the role {}, which would not be converted: migrate as a role that sees every "
    "row, with BYPASSRLS or as an owner who is not under FORCE"
)

_HINDERS_BOTH: Final[LiteralString] = """
    SELECT 'it is partitioned' FROM pg_class WHERE oid = %(oid)s AND relkind = 'p'
    UNION ALL SELECT 'it is temporary' FROM pg_class WHERE oid = %(oid)s AND relpersistence = 't'
    UNION ALL SELECT replace(%(hidden)s, '{}', current_user::text) FROM pg_class
        WHERE oid = %(oid)s AND row_security_active(oid)
    UNION ALL SELECT 'the role ' || current_user || ' must own it; it belongs to ' || pg_get_userbyid(relowner)
        FROM pg_class WHERE oid = %(oid)s AND NOT pg_has_role(relowner, 'USAGE')
    UNION ALL SELECT 'it inherits from or is inherited by ' || CASE WHEN inhrelid = %(oid)s
        THEN inhparent::regclass ELSE inhrelid::regclass END
        FROM pg_inherits WHERE %(oid)s IN (inhrelid, inhparent)
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication_rel r JOIN pg_publication p
        ON p.oid = r.prpubid WHERE r.prrelid = %(oid)s
    UNION ALL SELECT 'publication ' || pubname || ' for all tables' FROM pg_publication WHERE puballtables
        AND EXISTS (SELECT 1 FROM pg_class WHERE oid = %(oid)s AND relpersistence = 'p')
    UNION ALL SELECT 'publication ' || pubname || ' for all tables of the schema' FROM pg_publication_namespace r
        JOIN pg_publication p ON p.oid = r.pnpubid
        WHERE r.pnnspid = (SELECT relnamespace FROM pg_class WHERE oid = %(oid)s)
    UNION ALL SELECT 'a subscription that writes to it' FROM pg_subscription_rel WHERE srrelid = %(oid)s
    UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = %(oid)s
    UNION ALL SELECT 'another migration of this table that is not finished: drop its old side, or roll back and '
        'abort it'
        WHERE EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = %(oid)s AND tgname ~ %(others)s
            AND position(%(tag)s IN tgname) = 0)
"""


@dataclass(frozen=True)
class VectorTable:
    """A table with a vector column.

    Attributes:
        schema: Name of its schema.
        name: Its name.
        oid: Its number, which stays when it is renamed.
        column: Name of the vector column.
        vector: Kind and dimension of the vector column.
        nullable: Whether the vector may be NULL.
        keys: Names of the key columns.
        key_columns: Kinds of the key columns.
        others: Names of all other columns that can be inserted, in order.
    """

    schema: str
    name: str
    oid: int
    column: str
    vector: Column
    nullable: bool
    keys: tuple[str, ...]
    key_columns: tuple[Column, ...]
    key_kinds: tuple[KeyKind, ...]
    others: tuple[str, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The table as a statement names it."""
        return sql.Identifier(self.schema, self.name)


def find_oid(connection: Connection[Any], schema: str, name: str) -> int | None:
    """Return the number of a table, or None when there is none of that name."""
    row = connection.execute(
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
        (schema, name),
    ).fetchone()
    return None if row is None else int(row[0])


def read_table(
    connection: Connection[Any], schema: str, name: str, column: str, keys: tuple[str, ...], *, where: str
) -> VectorTable:
    """Read what the catalog says.

    Args:
        connection: A connection.
        schema: Name of the schema.
        name: Name of the table.
        column: Name of the vector column.
        keys: Names of the key columns; the primary key when empty.
        where: What to call the gallery in errors.

    Raises:
        InputError: If the table or a column is missing, or of a type that cannot be migrated.
    """
    oid = find_oid(connection, schema, name)
    if oid is None:
        raise InputError(f"{where}: there is no table {schema}.{name}.")
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attgenerated FROM pg_attribute "
        "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (oid,),
    ).fetchall()
    types = {attribute: str(kind) for attribute, kind, _, _ in rows}
    keys = keys or _primary_key(connection, oid)
    if not keys:
        raise InputError(f"{where}: {schema}.{name} has no primary key. Name the key columns: …?key=a,b.")
    for wanted in (column, *keys):
        if wanted not in types:
            raise InputError(f"{where}: there is no column {wanted!r}. Columns: {', '.join(types)}.")
    match = re.fullmatch(r"(?:\w+\.)?(vector|halfvec)\((\d+)\)", types[column])
    if match is None:
        raise InputError(f"{where}: column {column!r} must be vector(n) or halfvec(n). Got {types[column]}.")
    plain = {key: types[key].split("(")[0] for key in keys}
    for key, kind in plain.items():
        if kind not in KEY_KINDS:
            raise InputError(f"{where}: a key must be one of {', '.join(KEY_KINDS)}. Column {key!r} is {kind}.")
    nullable = not next(notnull for attribute, _, notnull, _ in rows if attribute == column)
    return VectorTable(
        schema=schema,
        name=name,
        oid=oid,
        column=column,
        vector=Column(cast(Kind, match[1]), int(match[2])),
        nullable=nullable,
        keys=keys,
        key_columns=tuple(Column(KEY_KINDS[plain[key]][0]) for key in keys),
        key_kinds=tuple(KEY_KINDS[plain[key]][1] for key in keys),
        others=tuple(name for name, _, _, generated in rows if name not in (column, *keys) and not generated),
    )


def require_every_row(connection: Connection[Any], table: VectorTable, *, where: str) -> None:
    """Check that no policy hides rows of a table from this role: every count would be of a part.

    Raises:
        StoreError: If there is one.
    """
    row = connection.execute("SELECT row_security_active(%s::oid), current_user", (table.oid,)).fetchone()
    if row is not None and row[0]:
        raise StoreError(f"{where}: {HIDDEN_ROWS.replace('{}', str(row[1]))}.")


def has_unique_key(connection: Connection[Any], table: VectorTable) -> bool:
    """Return whether a unique index holds the key columns apart, and none of them may be NULL."""
    return (
        connection.execute(
            "SELECT 1 FROM pg_index i WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid "
            "AND i.indpred IS NULL AND i.indexprs IS NULL AND (SELECT array_agg(a.attname::text ORDER BY a.attname) "
            "FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[]) AND a.attnotnull) "
            "= (SELECT array_agg(k ORDER BY k) FROM unnest(%(keys)s::text[]) k) "
            "AND i.indnkeyatts = cardinality(%(keys)s::text[])",
            {"oid": table.oid, "keys": list(table.keys)},
        ).fetchone()
        is not None
    )


def swap_obstacles(connection: Connection[Any], oid: int, *, tag: str) -> list[str]:
    """List what hangs on a table and would not follow a swap by rename, one phrase each.

    Args:
        connection: A connection.
        oid: The table.
        tag: What the names of this job's own triggers hold.
    """
    return [
        str(text)
        for (text,) in connection.execute(
            _HINDERS_BOTH
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
            {"oid": oid, "tag": tag, "hidden": HIDDEN_ROWS, "others": "^~?embcompat_(log|zz_stale)_"},
        )
    ]


def column_obstacles(connection: Connection[Any], table: VectorTable, *, fire: bool, tag: str) -> list[str]:
    """List what stands in the way of another column that takes the vector column's name, one phrase each.

    Args:
        connection: A connection.
        table: The table.
        fire: Whether the application's triggers fire while rows are filled.
        tag: What the names of this job's own triggers hold.
    """
    return [
        str(text)
        for (text,) in connection.execute(
            "WITH place AS (SELECT attnum FROM pg_attribute WHERE attrelid = %(oid)s AND attname = %(column)s) "
            + _HINDERS_BOTH
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
                AND (v.oid IS NULL OR EXISTS (SELECT 1 FROM pg_depend n WHERE n.refobjid = v.oid
                    AND n.classid = 'pg_rewrite'::regclass AND n.objid <> r.oid))
            """,
            {
                "oid": table.oid,
                "column": table.column,
                "fire": fire,
                "tag": tag,
                "hidden": HIDDEN_ROWS,
                "others": "^~?embcompat_log_",
            },
        )
    ]


def vector_index(connection: Connection[Any], table: VectorTable) -> tuple[str, list[str]] | None:
    """Return kind and options of the index on the vector column, or None."""
    row = connection.execute(
        "SELECT m.amname, c.reloptions FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am m ON m.oid = c.relam JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
        "WHERE i.indrelid = %s AND a.attname = %s AND m.amname IN ('hnsw', 'ivfflat') AND i.indisvalid "
        "ORDER BY i.indexrelid LIMIT 1",
        (table.oid, table.column),
    ).fetchone()
    return None if row is None else (str(row[0]), list(row[1] or []))


def total_bytes(connection: Connection[Any], table: VectorTable) -> int:
    """Return the size of a table with its indexes and all that is kept aside."""
    return _number(connection, "SELECT pg_total_relation_size(%s)", table)


def heap_bytes(connection: Connection[Any], table: VectorTable) -> int:
    """Return the size of a table without its indexes and what is kept aside."""
    return _number(connection, "SELECT pg_relation_size(%s)", table)


def vector_bytes(connection: Connection[Any], table: VectorTable) -> int:
    """Return about what the vectors of a table take, by its number of rows as the planner has it."""
    rows = _number(connection, "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = %s", table)
    return rows * table.vector.dim * (2 if table.vector.kind == "halfvec" else 4)


def _number(connection: Connection[Any], query: LiteralString, table: VectorTable) -> int:
    row = connection.execute(query, (table.oid,)).fetchone()
    return int(row[0]) if row is not None else 0


def _primary_key(connection: Connection[Any], oid: int) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = ANY(i.indkey::int2[]) WHERE i.indrelid = %s AND i.indisprimary "
        "ORDER BY array_position(i.indkey::int2[], a.attnum)",
        (oid,),
    ).fetchall()
    return tuple(name for (name,) in rows)
