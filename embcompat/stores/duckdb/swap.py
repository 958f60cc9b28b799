"""A DuckDB table is made again with other vectors, in one transaction.

DuckDB can neither rename a table that has an index nor change the type of a column that has one. Therefore a second
table with the same declaration is filled with all rows, and takes the place of the first.
"""

from __future__ import annotations

import re
from typing import Final

from embcompat.errors import StoreError
from embcompat.similarities import Similarity
from embcompat.stores.duckdb.catalog import Index, read_comments, read_table
from embcompat.stores.duckdb.connection import quoted, text_literal
from embcompat.stores.duckdb.sides import PROVENANCE, Sides

_LOCK: Final = "embcompat_lock"
_QUOTED: Final = re.compile(r'"(\w+)"')


def hold_writers(sides: Sides) -> None:
    """Let DuckDB refuse what other threads of this process write to the table until the transaction ends.

    A new column does that. It is gone with the table that is replaced. Where DuckDB could not replay the change after
    a crash, nothing is done.
    """
    if not sides.table.calls_functions():
        sides.file.query(f"ALTER TABLE {sides.table.beside()} ADD COLUMN {_LOCK}_{sides.suffix} BOOLEAN")


def require_filled(sides: Sides, incoming: str) -> None:
    """Check that every row has an incoming vector, where the column may not be NULL.

    Raises:
        StoreError: If a row has none.
    """
    if sides.table.nullable:
        return
    table, vector = sides.table.beside(), quoted(sides.table.vector)
    count = sides.file.query(f"SELECT count(*) FROM {table} s ANTI JOIN {incoming} t ON {sides.same('s', 't')}")[0][0]
    if count:
        raise StoreError(
            f"{count} rows would be without a vector, and column {sides.table.vector!r} is NOT NULL. Delete these "
            f"rows, or first run: ALTER TABLE {table} ALTER {vector} DROP NOT NULL."
        )


def swap_vectors(
    sides: Sides,
    indexes: list[Index],
    *,
    incoming: str,
    parked: str,
    dim: int,
    metric: Similarity | None,
    rows: bool = True,
) -> None:
    """Park the vectors in service with their provenance, and serve others, in the transaction that is open.

    Args:
        sides: The table and those beside it.
        indexes: The indexes of the table.
        incoming: The table beside with the vectors to serve, which is dropped.
        parked: The table beside that is made for the vectors in service.
        dim: Length of the vectors to serve.
        metric: Metric of the HNSW indexes of the column from now on; as it is when None.
        rows: Whether to copy the rows; otherwise only the declarations are tried.

    Raises:
        StoreError: If DuckDB cannot make the table again as it was. The transaction is then to be rolled back.
    """
    run, rebuilt = sides.file.query, sides.table.beside(f"rows_{sides.suffix}")
    run(f"DROP TABLE IF EXISTS {parked}")
    sides.create(parked, sides.table.kind)
    every = "true" if rows else "false"
    run(f"INSERT INTO {parked} SELECT * FROM {sides.served()} WHERE {every}")
    run(sides.table.definition.statement(rebuilt, sides.table.vector, sides.table.kind_for(dim)))
    columns = [quoted(column) for column in sides.table.definition.stored()]
    vector = sides.column("vector", "t")
    if incoming == sides.target:  # made from a vector that is gone
        stale = f"{sides.vector('s')} IS NULL AND {sides.column('source', 't')} IS NOT NULL"
        vector = f"CASE WHEN {stale} THEN NULL ELSE {vector} END"
    values = [vector if column == quoted(sides.table.vector) else f"s.{column}" for column in columns]
    run(
        f"INSERT INTO {rebuilt}({', '.join(columns)}) SELECT {', '.join(values)} FROM {sides.table.beside()} s "
        f"LEFT JOIN {incoming} t ON {sides.same('s', 't')} WHERE {every} ORDER BY s.rowid"
    )
    comment, comments = read_comments(sides.file, sides.table) if rows else (None, {})
    _replace(sides, indexes, rebuilt, metric)
    if comment is not None:
        run(f"COMMENT ON TABLE {sides.table.beside()} IS {text_literal(comment)}")
    for column, text in () if sides.table.calls_functions() else comments.items():
        run(f"COMMENT ON COLUMN {sides.table.beside()}.{quoted(column)} IS {text_literal(text)}")
    _require_alike(sides)
    run(f"DROP TABLE IF EXISTS {sides.provenance}")
    known = " OR ".join(f"{sides.column(name, 't')} IS NOT NULL" for name in PROVENANCE)
    if run(f"SELECT 1 FROM {incoming} t WHERE {known} LIMIT 1"):
        sides.create_provenance()
        there = f"SEMI JOIN {sides.table.beside()} s ON {sides.same('t', 's')} AND {sides.vector('s')} IS NOT NULL"
        run(
            f"INSERT INTO {sides.provenance} SELECT {sides.keys('t')}, {sides.origin('t')} FROM {incoming} t {there} "
            f"WHERE {known}"
        )
    run(f"DROP TABLE {incoming}")


def _replace(sides: Sides, indexes: list[Index], rebuilt: str, metric: Similarity | None) -> None:
    """Put a table in the place of the one in service, with its indexes."""
    run, table, live = sides.file.query, sides.table, sides.table.beside()
    run(f"DROP TABLE {live}")
    run(f"ALTER TABLE {rebuilt} RENAME TO {quoted(table.name)}")
    for index in indexes:
        run(index.statement_for(table, metric))
        if index.comment is not None:
            run(f"COMMENT ON INDEX {quoted(table.schema)}.{quoted(index.name)} IS {text_literal(index.comment)}")


def _require_alike(sides: Sides) -> None:
    """Check that the table is as it was, but for the length of its vectors."""
    old = sides.table
    new = read_table(sides.file, old.schema, old.name, old.vector, list(old.keys), where=old.name)
    expected, actual = ({**table.columns, old.vector: ""} for table in (old, new))
    declared, redeclared = (table.definition.statement("t", old.vector, "FLOAT[1]") for table in (old, new))
    statements = [_plain(declared), *map(_plain, old.defaults)], [_plain(redeclared), *map(_plain, new.defaults)]
    if list(expected.items()) != list(actual.items()) or statements[0] != statements[1]:
        raise StoreError(f"DuckDB does not make the table {old.name} again as it was: {declared} != {redeclared}.")


def _plain(text: str | None) -> str | None:
    """Return SQL without quotes around words: DuckDB quotes a type in a CAST when it reads its own words again."""
    return text if text is None else _QUOTED.sub(r"\1", text)
