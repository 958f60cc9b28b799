"""A table with vectors, as PostgreSQL's catalog describes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, LiteralString, cast

from psycopg import Connection, sql

from embcompat.errors import InputError
from embcompat.stores.keys import KeyKind
from embcompat.stores.postgres.names import PROVENANCE
from embcompat.stores.postgres.rows.copy import Column, Kind

KEY_KINDS: Final[dict[str, tuple[Kind, KeyKind]]] = {
    "smallint": ("int2", "int"),
    "integer": ("int4", "int"),
    "bigint": ("int8", "int"),
    "uuid": ("uuid", "uuid"),
    "text": ("text", "str"),
    "character varying": ("text", "str"),
}


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

    @property
    def vectors(self) -> sql.Identifier:
        """The vector column as a statement names it."""
        return sql.Identifier(self.column)

    @property
    def vector_type(self) -> sql.Composed:
        """The type of the vector column."""
        kind = sql.SQL("halfvec" if self.vector.kind == "halfvec" else "vector")
        return sql.SQL("{}({})").format(kind, self.vector.dim)

    def provenance(self, kind: str) -> sql.Identifier:
        """Return the column that says this of the vectors: a key of `PROVENANCE`."""
        return sql.Identifier(f"{self.column}__{kind}")

    @property
    def side(self) -> list[str]:
        """The vector column and its provenance, in the order of `PROVENANCE`, whether they are there or not."""
        return [self.column, *(f"{self.column}__{kind}" for kind in PROVENANCE)]

    @property
    def plain_columns(self) -> list[str]:
        """The columns that are copied as they are: neither keys nor the vector nor its provenance."""
        return [name for name in self.others if name not in self.side]


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
    for name_in_url in (column, *keys):
        if name_in_url not in types:
            raise InputError(f"{where}: there is no column {name_in_url!r}. Columns: {', '.join(types)}.")
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
