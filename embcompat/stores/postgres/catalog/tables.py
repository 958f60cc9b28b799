"""A table with vectors, as PostgreSQL's catalog describes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, LiteralString, cast

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


Storage = Literal["sized", "unsized", "array"]
"""How a column holds vectors: as vector(n), as vector without a dimension, or as real[]."""

_TYPES: Final = re.compile(r"(?:[^.]+\.)?(vector|halfvec)(?:\((\d+)\))?|(real)\[\]")


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
        storage: How the column holds the vectors. Where its type does not say their length, that is the length of the
            first that was found.
        condition: Which rows of the table are migrated, as `read_condition` gives it; all of them when empty.
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
    storage: Storage = "sized"
    condition: str = ""

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
        if self.storage == "sized":
            return self.sized_type
        return sql.SQL("{}").format(sql.SQL("real[]" if self.storage == "array" else self.vector.kind))

    @property
    def sized_type(self) -> sql.Composed:
        """The type that its vectors have where their length is said."""
        kind = sql.SQL("halfvec" if self.vector.kind == "halfvec" else "vector")
        return sql.SQL("{}({})").format(kind, self.vector.dim)

    def vector_of(self, alias: LiteralString) -> sql.Composed:
        """Return the vector of a row; the server raises an error where it has another length than the others."""
        vector = sql.SQL(alias + ".{}").format(self.vectors)
        return vector if self.storage == "sized" else sql.SQL("{}::{}").format(vector, self.sized_type)

    @property
    def chosen(self) -> sql.SQL:
        """The condition that a row ``s`` is one that is migrated, to be added to others."""
        return sql.SQL(f" AND {self.condition}" if self.condition else "")

    @property
    def left_out(self) -> sql.SQL:
        """The condition that a row ``s`` is none of those, to be added to others."""
        return sql.SQL(f" AND {self.condition or 'true'} IS NOT TRUE")

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
    connection: Connection[Any],
    schema: str,
    name: str,
    column: str,
    keys: tuple[str, ...],
    *,
    where: str,
    empty_dim: int | None = None,
    condition: str = "",
) -> VectorTable:
    """Read what the catalog says, and the length of a vector where it does not say that.

    Args:
        connection: A connection.
        schema: Name of the schema.
        name: Name of the table.
        column: Name of the vector column.
        keys: Names of the key columns; the primary key when empty.
        where: What to call the gallery in errors.
        empty_dim: The length of the vectors where neither the column's type nor a row says it. Without it the length
            is 0 where a condition takes no row with a vector.
        condition: Which rows are migrated.

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
    match = _TYPES.fullmatch(types[column])
    if match is None:
        raise InputError(f"{where}: column {column!r} must be vector, halfvec or real[]. Got {types[column]}.")
    storage: Storage = "sized" if match[2] else "array" if match[3] else "unsized"
    plain = {key: types[key].split("(")[0] for key in keys}
    for key, kind in plain.items():
        if kind not in KEY_KINDS:
            raise InputError(f"{where}: a key must be one of {', '.join(KEY_KINDS)}. Column {key!r} is {kind}.")
    nullable = not next(notnull for attribute, _, notnull, _ in rows if attribute == column)
    table = VectorTable(
        schema=schema,
        name=name,
        oid=oid,
        column=column,
        vector=Column(cast(Kind, match[1] or "vector"), int(match[2] or 0)),
        nullable=nullable,
        keys=keys,
        key_columns=tuple(Column(KEY_KINDS[plain[key]][0]) for key in keys),
        key_kinds=tuple(KEY_KINDS[plain[key]][1] for key in keys),
        others=tuple(name for name, _, _, generated in rows if name not in (column, *keys) and not generated),
        storage=storage,
        condition=condition,
    )
    if table.vector.dim:
        return table
    dim = _length(connection, table) or empty_dim or 0
    if not dim and not condition:
        raise InputError(
            f"{where}: column {column!r} is {types[column]} and holds no vector, so its length is unknown."
        )
    return replace(table, vector=Column(table.vector.kind, dim))


def _length(connection: Connection[Any], table: VectorTable) -> int | None:
    """Return the length of the first vector that a table holds."""
    length: LiteralString = "array_length({0}, 1)" if table.storage == "array" else "vector_dims({0})"
    statement = sql.SQL("SELECT " + length + " FROM {1} s WHERE {0} IS NOT NULL{2} LIMIT 1")
    row = connection.execute(statement.format(table.vectors, table.identifier, table.chosen)).fetchone()
    return None if row is None else row[0]


def other_lengths(connection: Connection[Any], table: VectorTable) -> int:
    """Count the vectors of another length than the first, which only a column without a dimension can hold."""
    if table.storage == "sized":
        return 0
    length: LiteralString = "coalesce(array_length({0}, 1), 0)" if table.storage == "array" else "vector_dims({0})"
    statement = sql.SQL("SELECT count(*) FROM {1} s WHERE {0} IS NOT NULL{2} AND " + length + " <> {3}")
    row = connection.execute(
        statement.format(table.vectors, table.identifier, table.chosen, table.vector.dim)
    ).fetchone()
    return 0 if row is None else int(row[0])


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


def has_default(connection: Connection[Any], table: VectorTable) -> bool:
    """Return whether the vector column has a default."""
    row = connection.execute(
        "SELECT 1 FROM pg_attribute WHERE attrelid = %s AND attname = %s AND atthasdef AND NOT attisdropped",
        (table.oid, table.column),
    ).fetchone()
    return row is not None


def total_bytes(connection: Connection[Any], table: VectorTable) -> int:
    """Return the size of a table with its indexes and all that is kept aside."""
    return _number(connection, "SELECT pg_total_relation_size(%s)", table)


def heap_bytes(connection: Connection[Any], table: VectorTable) -> int:
    """Return the size of a table, partitions included, without its indexes and what is kept aside."""
    query: LiteralString = (
        "SELECT greatest(sum(pg_relation_size(relid)), max(pg_relation_size(root))) "
        "FROM (SELECT %s::oid AS root) r LEFT JOIN pg_partition_tree(root) ON true"
    )
    return _number(connection, query, table)


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
