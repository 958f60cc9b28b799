"""What DuckDB knows about a table: columns, keys, indexes, comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from embcompat.errors import InputError
from embcompat.similarities import Similarity
from embcompat.stores.duckdb.connection import DuckFile, quoted, text_literal
from embcompat.stores.duckdb.definition import Definition, read_definition, vector_kind
from embcompat.stores.keys import KeyKind

_KEY_KINDS: Final[dict[str, KeyKind]] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "int"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "int"),
    "VARCHAR": "str",
    "UUID": "uuid",
}
_HNSW: Final = re.compile(r"(.* USING HNSW \((.*)\))\s*;?", re.DOTALL)
SIMILARITIES: Final[dict[str, Similarity]] = {"cosine": "cosine", "l2sq": "euclidean", "ip": "dot"}
"""Metrics of HNSW indexes."""

_HERE: Final = "database_name = current_database() AND schema_name = ? AND table_name = ?"


@dataclass(frozen=True)
class Table:
    """A table with a vector column.

    Attributes:
        schema: Its schema.
        name: Its name.
        vector: The vector column.
        kind: Type of the vector column.
        dim: Length of its vectors; None where the type leaves it open.
        nullable: Whether the vector may be NULL.
        keys: The key columns, and the type of each.
        columns: All columns in their order, and the type of each.
        defaults: Their defaults.
        definition: The table as it was declared.
    """

    schema: str
    name: str
    vector: str
    kind: str
    dim: int | None
    nullable: bool
    keys: dict[str, str]
    columns: dict[str, str]
    defaults: tuple[str | None, ...] = field(repr=False)
    definition: Definition = field(repr=False)

    def beside(self, ending: str = "") -> str:
        """Return the name of the table, or of another one for its vector column, as it is written in SQL."""
        return f"{quoted(self.schema)}.{quoted(self.name_beside(ending) if ending else self.name)}"

    def name_beside(self, ending: str) -> str:
        """Return the name of another table for the vector column."""
        return f"{self.name}__{self.vector}__{ending}"

    def key_kinds(self) -> tuple[KeyKind, ...]:
        """Return the kind of each key column."""
        return tuple(_KEY_KINDS[kind] for kind in self.keys.values())

    def kind_for(self, dim: int) -> str:
        """Return the type of vectors of another length."""
        return self.kind if self.dim is None else f"{self.kind.partition('[')[0]}[{dim}]"

    def calls_functions(self) -> bool:
        """Return whether a default, a constraint or a generated column may call a function."""
        return self.definition.calls_functions(self.defaults)


@dataclass(frozen=True)
class Index:
    """An index of a table.

    Attributes:
        name: Its name.
        statement: The statement that makes it, without the options of an HNSW index.
        comment: Its comment, or None.
        column: The column of an HNSW index; None for another kind.
        options: What is known of the options of an HNSW index; empty where the extension is not loaded.
    """

    name: str
    statement: str
    comment: str | None
    column: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def statement_for(self, table: Table, metric: Similarity | None) -> str:
        """Return the statement that makes it again, perhaps with another metric."""
        if self.column is None:
            return self.statement
        options = dict(self.options)
        if self.column == table.vector and metric is not None:
            options["metric"] = next(name for name, similarity in SIMILARITIES.items() if similarity == metric)
        values = ", ".join(
            f"{name} = {text_literal(value) if isinstance(value, str) else value}" for name, value in options.items()
        )
        return f"{self.statement} WITH ({values})"


def table_names(file: DuckFile, schema: str) -> frozenset[str]:
    """Return the names of the tables of a schema."""
    statement = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ?"
    return frozenset(name for (name,) in file.query(statement, [schema]))


def find_table(file: DuckFile, names: Sequence[str], *, where: str) -> tuple[str, str]:
    """Return schema and name of a table as DuckDB spells them.

    Raises:
        InputError: If there is no such table.
    """
    schema, name = names if len(names) == 2 else ("main", names[0])
    tables = file.query(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() AND NOT temporary"
    )
    for entry in tables:
        if (entry[0].lower(), entry[1].lower()) == (schema.lower(), name.lower()):
            return entry[0], entry[1]
    listed = ", ".join(f"{entry[0]}.{entry[1]}" if entry[0] != "main" else entry[1] for entry in tables) or "none"
    views = "SELECT 1 FROM duckdb_views() WHERE lower(schema_name) = lower(?) AND lower(view_name) = lower(?)"
    is_view = " It is a view: name the table that it reads." if file.query(views, [schema, name]) else ""
    raise InputError(f"{where}: there is no table {'.'.join(names)!r}.{is_view} Tables: {listed}.")


def read_table(file: DuckFile, schema: str, name: str, vector: str, keys: Sequence[str] | None, *, where: str) -> Table:
    """Read what DuckDB knows about a table.

    Args:
        file: The file.
        schema: Its schema.
        name: Its name.
        vector: The vector column.
        keys: The key columns; those of the primary key when None.
        where: What to call the gallery in errors.

    Raises:
        InputError: If it is not there, or has no such columns.
    """
    tables = file.query(f"SELECT sql FROM duckdb_tables() WHERE {_HERE}", [schema, name])
    if not tables:
        raise InputError(f"{where}: there is no table {name!r} any more.")
    described = f"(DESCRIBE {quoted(schema)}.{quoted(name)})"
    rows = file.query(f'SELECT column_name, column_type, "null" = \'YES\', "default" FROM {described}')
    columns = {row[0]: row[1] for row in rows}
    spelled = {column.lower(): column for column in columns}
    column = spelled.get(vector.lower())
    kind = None if column is None else vector_kind(columns[column])
    if column is None or kind is None:
        listed = ", ".join(column for column, text in columns.items() if vector_kind(text)) or "none"
        problem = "there is no column" if column is None else f"vectors are FLOAT[n], not {columns[column]}, in"
        raise InputError(f"{where}: {problem} {vector!r}. Vector columns: {listed}.")
    if keys is None:
        primary = f"SELECT constraint_column_names FROM duckdb_constraints() WHERE {_HERE} AND constraint_type = ?"
        keys = next(iter(file.query(primary, [schema, name, "PRIMARY KEY"])), ((),))[0]
    return Table(
        schema=schema,
        name=name,
        vector=column,
        kind=columns[column],
        dim=kind[1],
        nullable=next(row[2] for row in rows if row[0] == column),
        keys=_key_columns(keys, spelled, columns, where),
        columns=columns,
        defaults=tuple(row[3] for row in rows),
        definition=read_definition(tables[0][0], list(columns), where=where),
    )


def require_unique(file: DuckFile, table: Table, *, where: str) -> None:
    """Check that the key names each row, unless a constraint says so.

    Raises:
        InputError: If a key is NULL or stands in two rows.
    """
    constraints = f"SELECT constraint_column_names FROM duckdb_constraints() WHERE {_HERE} AND constraint_type = ?"
    if (list(table.keys),) in file.query(constraints, [table.schema, table.name, "PRIMARY KEY"]):
        return
    keys = ", ".join(map(quoted, table.keys))
    missing = " OR ".join(f"{quoted(key)} IS NULL" for key in table.keys)
    statement = f"FROM {table.beside()} SELECT {keys} WHERE {missing} UNION ALL FROM {table.beside()} SELECT {keys}"
    rows = file.query(f"{statement} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1")
    if rows:
        raise InputError(
            f"{where}: the key {', '.join(table.keys)} must differ in every row. Got {rows[0]!r} in several, or "
            "a row without a key. Choose other columns with ?key=, or repair the rows."
        )


def read_comments(file: DuckFile, table: Table) -> tuple[str | None, dict[str, str]]:
    """Return the comment of a table, or None, and those of its columns."""
    place = [table.schema, table.name]
    ((comment,),) = file.query(f"SELECT comment FROM duckdb_tables() WHERE {_HERE}", place)
    columns = f"SELECT column_name, comment FROM duckdb_columns() WHERE {_HERE} AND comment IS NOT NULL"
    return comment, dict(file.query(columns, place))


def read_indexes(file: DuckFile, table: Table) -> list[Index]:
    """Return the indexes of a table, without those of its constraints."""
    rows = file.query(
        f"SELECT index_name, sql, comment FROM duckdb_indexes() WHERE {_HERE}", [table.schema, table.name]
    )
    indexes = []
    if any(_HNSW.fullmatch(statement) for _, statement, _ in rows) and not file.has_vss:
        file.has_vss = file.load_vss()
    for name, statement, comment in rows:
        match = _HNSW.fullmatch(statement)
        if match is None:
            indexes.append(Index(name, statement, comment))
            continue
        column = match[2].strip()
        column = column[1:-1].replace('""', '"') if column.startswith('"') else column
        options = _hnsw_options(file, table.schema, name) if file.has_vss else {}
        indexes.append(Index(name, match[1], comment, column, options))
    return indexes


def stored_bytes(file: DuckFile, table: Table) -> int:
    """Return the bytes of the file that the columns beside the vector take; 0 while they are only in the log."""
    size, blocks = file.query("SELECT block_size, used_blocks FROM pragma_database_size()")[0]
    if '"' not in table.schema + table.name:  # or DuckDB does not find the table; then the whole file is counted
        statement = "SELECT count(DISTINCT block_id) FROM pragma_storage_info(?) WHERE persistent AND column_name <> ?"
        blocks = file.query(statement, [table.beside(), table.vector])[0][0]
    return int(size) * int(blocks)


def referring_tables(file: DuckFile, table: Table) -> list[str]:
    """Return the tables with a foreign key to a table."""
    rows = file.query(
        "SELECT DISTINCT schema_name || '.' || table_name FROM duckdb_constraints() WHERE "
        "database_name = current_database() AND schema_name = ? AND constraint_type = 'FOREIGN KEY' "
        "AND referenced_table = ? ORDER BY 1",
        [table.schema, table.name],
    )
    return [name for (name,) in rows]


def vector_constraints(file: DuckFile, table: Table) -> list[str]:
    """Return the constraints that look at the vector, apart from NOT NULL."""
    rows = file.query(
        f"SELECT constraint_text FROM duckdb_constraints() WHERE {_HERE} AND constraint_type <> 'NOT NULL' "
        "AND list_contains(constraint_column_names, ?)",
        [table.schema, table.name, table.vector],
    )
    return [text for (text,) in rows]


def _hnsw_options(file: DuckFile, schema: str, name: str) -> dict[str, Any]:
    """Return the options of an HNSW index that DuckDB reports; M and M0 only if it holds enough vectors."""
    rows = file.query(
        "SELECT metric, levels_stats FROM pragma_hnsw_index_info() WHERE catalog_name = current_database() "
        "AND schema_name = ? AND index_name = ?",
        [schema, name],
    )
    if not rows:
        return {}
    metric, levels = rows[0]
    edges = [level["max_edges"] // level["nodes"] for level in levels if level["nodes"]]
    return {"metric": metric, **dict(zip(("M", "M0"), edges, strict=False))}


def _key_columns(keys: Sequence[str], spelled: dict[str, str], columns: dict[str, str], where: str) -> dict[str, str]:
    unknown = [key for key in keys if key.lower() not in spelled]
    if unknown or not keys:
        problem = f"there is no column {unknown[0]!r}" if unknown else "the table has no primary key"
        listed = ", ".join(column for column, kind in columns.items() if kind in _KEY_KINDS) or "none"
        raise InputError(f"{where}: {problem}. Choose the column of the key with ?key=. Possible columns: {listed}.")
    chosen = {spelled[key.lower()]: columns[spelled[key.lower()]] for key in keys}
    for column, kind in chosen.items():
        if kind not in _KEY_KINDS:
            raise InputError(f"{where}: keys must be integers, VARCHAR or UUID. Column {column!r} is {kind}.")
    return chosen
