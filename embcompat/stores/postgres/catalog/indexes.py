"""Vector indexes of a PostgreSQL table: each is built again as it is, for the new column and dimension."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from embcompat.spaces import Similarity
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.session import Session

_OPERATORS: Final[dict[Similarity, str]] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
_LONGEST: Final = {"halfvec": 4_000, "vector": 2_000}
"""Most dimensions of an index on a type, as pgvector 0.8 has it; longest name first."""
_CHOOSE_TABLESPACE: Final[LiteralString] = """
    SELECT set_config('default_tablespace', coalesce((SELECT spcname FROM pg_tablespace t
        JOIN pg_class c ON c.reltablespace = t.oid WHERE c.oid = %s::regclass), ''), false)
"""

_INDEX_DETAILS: Final[LiteralString] = """
    SELECT relname, NULL FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = %(oid)s
    UNION ALL SELECT relname, format('COMMENT ON INDEX %%s IS %%L', indexrelid::regclass,
        obj_description(indexrelid, 'pg_class')) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
        WHERE indrelid = %(oid)s AND obj_description(indexrelid, 'pg_class') IS NOT NULL
    UNION ALL SELECT relname, format('ALTER INDEX %%s ALTER COLUMN %%s SET STATISTICS %%s', indexrelid::regclass,
        attnum, attstattarget) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
        JOIN pg_attribute ON attrelid = indexrelid WHERE indrelid = %(oid)s AND attstattarget >= 0
"""

_TEXT: Final = re.compile(r"('(?:[^']|'')*')")


def definitions(connection: Connection[Any], table: VectorTable, *, of_column: bool) -> dict[str, str]:
    """Return name and definition, from the access method on, of the valid vector indexes, oldest first.

    Args:
        connection: A connection.
        table: The table.
        of_column: Only those that depend on the vector column, also in an expression or a condition.
    """
    rows = connection.execute(
        "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = %(oid)s AND m.amname IN ('hnsw', 'ivfflat') "
        "AND i.indisvalid AND (NOT %(some)s OR EXISTS (SELECT 1 FROM pg_depend d JOIN pg_attribute a "
        "ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.objid = i.indexrelid "
        "AND d.refobjid = %(oid)s AND a.attname = %(column)s)) ORDER BY i.indexrelid",
        {"oid": table.oid, "some": of_column, "column": table.column},
    ).fetchall()
    return {name: definition[definition.index(" USING ") :] for name, definition in rows}


def index_metric(session: Session) -> Similarity | None:
    """Return the metric of the first vector index of the target vectors; None while there is none."""
    for definition in definitions(session.connection, session.target, of_column=True).values():
        if operators := re.search(r"_(cosine|ip|l2)_ops", definition):
            return {name: similarity for similarity, name in _OPERATORS.items()}[operators[1]]
    return None


def index_kind(connection: Connection[Any], table: VectorTable, *, of_column: bool) -> str | None:
    """Return the access method of the first vector index, or None; ``of_column`` as in `definitions`."""
    first = next(iter(definitions(connection, table, of_column=of_column).values()), None)
    return None if first is None else first.split()[1]


def too_long(session: Session) -> list[str]:
    """List the vector indexes that pgvector cannot build over the target vectors, a sentence each."""
    source, target = session.table, session.target
    sentences = []
    for name, definition in definitions(session.connection, source, of_column=True).items():
        if not _serves_migrated(session, name):
            continue
        text = _moved(session.connection, definition, source, target, None)
        kind = next((each for each in _LONGEST if f"{each}_" in _TEXT.sub("", text)), None)
        if kind is None or target.vector.dim <= _LONGEST[kind]:
            continue
        way_out = "Add ?type=halfvec to the address: half precision, and indexes of up to 4,000 dimensions."
        if kind == "halfvec" or target.vector.dim > _LONGEST["halfvec"]:
            way_out = f"Drop it, or replace it by one on binary_quantize({source.column})::bit({source.vector.dim})."
        sentences.append(
            f"Index {name} cannot be built over {target.vector.dim:,} dimensions: pgvector indexes at most "
            f"{_LONGEST[kind]:,} of a {kind}. {way_out}"
        )
    return sentences


@dataclass(frozen=True)
class MissingIndex:
    """A vector index of the source that the target lacks.

    Attributes:
        name: Its name.
        definition: What it becomes on the target, from the access method on.
        trial: The same without its condition; empty where it does not hold the converted vectors.
        source: FROM and WHERE of the rows that it will hold.
    """

    name: str
    definition: str
    trial: str
    source: sql.Composed


def missing_indexes(session: Session, *, of_column: bool) -> list[MissingIndex]:
    """Return the vector indexes that `create_indexes` builds.

    Args:
        session: The session.
        of_column: Whether both sides are columns of one table.
    """
    connection, source, target = session.connection, session.table, session.target
    present = list(definitions(connection, target, of_column=of_column).values())
    of_vector = definitions(connection, source, of_column=True)
    missing = []
    for name, definition in definitions(connection, source, of_column=of_column).items():
        text = _definition_for(session, name, definition) if name in of_vector else definition
        if text in present:
            present.remove(text)
            continue
        condition = _predicate(session, name)
        converted = name in of_vector and _serves_migrated(session, name)
        trial = _of_migrated(session, definition.removesuffix(f" WHERE {condition}")) if converted else ""
        rows = sql.SQL("FROM {} s WHERE s.{} IS NOT NULL AND ({})").format(
            source.identifier, source.vectors, sql.SQL(condition)
        )
        missing.append(MissingIndex(name, text, trial, rows))
    return missing


def create_indexes(session: Session, *, concurrently: bool) -> None:
    """Build the vector indexes of the source that the target lacks, with their operators, options and conditions.

    Args:
        session: The session.
        concurrently: Whether both sides are columns of one table in service.
    """
    connection, source, target = session.connection, session.table, session.target
    for index in missing_indexes(session, of_column=concurrently):
        word = sql.SQL("CONCURRENTLY" if concurrently else "")
        place = sql.Identifier(source.schema, index.name).as_string(connection)
        connection.execute(_CHOOSE_TABLESPACE, (place,))
        try:
            text = sql.SQL(index.definition)
            connection.execute(sql.SQL("CREATE INDEX {} ON {}{}").format(word, target.identifier, text))
        finally:
            if not connection.closed:
                connection.execute("SET default_tablespace = ''")


def build_status(connection: Connection[Any], builder: int) -> str | None:
    """Describe how far a server process is that builds an index; None where it builds none.

    Args:
        connection: Another connection than the one that builds.
        builder: The process that builds.
    """
    row = connection.execute(
        "SELECT phase, blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = %s", (builder,)
    ).fetchone()
    if row is None:
        return None
    phase, blocks, total = row
    return f"{phase}, {blocks / total:.0%} of the table" if total else str(phase)


def attach_indexes(session: Session) -> None:
    """Make the vector indexes of a partitioned table over those that its partitions have on the target vectors.

    Nothing is built: the indexes of the partitions are there. Runs in the transaction that is open.
    """
    connection, source, target = session.connection, session.table, session.target
    present = list(definitions(connection, target, of_column=True).values())
    for name, definition in definitions(connection, source, of_column=True).items():
        text = _definition_for(session, name, definition)
        if text in present:
            present.remove(text)
            continue
        connection.execute(sql.SQL("CREATE INDEX ON ONLY {}{}").format(target.identifier, sql.SQL(text)))
        (parent,) = connection.execute(
            "SELECT max(indexrelid)::regclass::text FROM pg_index WHERE indrelid = %s", (source.oid,)
        ).fetchone() or ("",)
        for oid, schema, table, index in connection.execute(
            "SELECT t.oid, n.nspname, t.relname, c.relname FROM pg_inherits JOIN pg_index i ON i.indexrelid = inhrelid "
            "JOIN pg_class c ON c.oid = inhrelid JOIN pg_class t ON t.oid = i.indrelid "
            "JOIN pg_namespace n ON n.oid = t.relnamespace WHERE inhparent = to_regclass(%s)",
            (session.text(sql.Identifier(source.schema, name)),),
        ).fetchall():
            place = {"oid": oid, "schema": schema, "name": table}
            counterparts = dict(pairs(connection, replace(source, **place), replace(target, **place)))
            attach = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}")
            connection.execute(attach.format(sql.SQL(parent), sql.Identifier(schema, counterparts[index])))


def shared_indexes(session: Session) -> list[str]:
    """List the vector indexes that hold rows with and without the condition and cannot serve both, a sentence each."""
    source = session.table
    return [
        f"Index {name} holds rows that are migrated and rows that are left out, and the new vectors need another "
        "length or metric. Replace it by one for either: CREATE INDEX … WHERE …."
        for name, definition in definitions(session.connection, source, of_column=True).items()
        if _of_left_out(session, definition) != _of_migrated(session, definition)
        and _serves_migrated(session, name)
        and _holds(session, _predicate(session, name), source.left_out)
    ]


def _serves_migrated(session: Session, index: str) -> bool:
    """Return whether an index of the table in service holds rows that are migrated, or is made for them."""
    condition = session.table.condition
    predicate = _predicate(session, index)
    made_for = re.sub(r"\bs\.", "", condition).strip("()") == predicate.strip("()")
    return not condition or made_for or _holds(session, predicate, session.table.chosen)


def _predicate(session: Session, index: str) -> str:
    """Return the condition of an index of the table in service; ``true`` where it holds every row."""
    place = session.text(sql.Identifier(session.table.schema, index))
    row = session.execute(
        "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = to_regclass(%s)", (place,)
    ).fetchone()
    return "true" if row is None or row[0] is None else str(row[0])


def _holds(session: Session, predicate: str, which: sql.Composable) -> bool:
    """Return whether an index with a condition holds a row of a kind."""
    condition = sql.SQL(predicate)
    return session.exists(sql.SQL("FROM {} s WHERE {}{}").format(session.table.identifier, condition, which))


def _definition_for(session: Session, index: str, definition: str) -> str:
    """Return what an index of the table in service becomes over the target vectors."""
    return (_of_migrated if _serves_migrated(session, index) else _of_left_out)(session, definition)


def _of_migrated(session: Session, definition: str) -> str:
    """Return the definition of an index for the rows that are migrated, on the target vectors."""
    return _moved(session.connection, definition, session.table, session.target, session.job.metric)


def _of_left_out(session: Session, definition: str) -> str:
    """Return the definition of an index for the rows that are left out: their vectors stay as they are."""
    target = replace(session.target, vector=session.table.vector)
    return _moved(session.connection, definition, session.table, target, None)


def index_details(connection: Connection[Any], table: VectorTable) -> dict[str, list[sql.SQL]]:
    """Return, for each index of a table by name, statements that set its comment and statistics targets again."""
    details: dict[str, list[sql.SQL]] = {}
    for name, text in connection.execute(_INDEX_DETAILS, {"oid": table.oid}).fetchall():
        details.setdefault(name, [])
        if text is not None:
            details[name].append(sql.SQL(text))
    return details


def pairs(connection: Connection[Any], source: VectorTable, target: VectorTable) -> list[tuple[str, str]]:
    """Return the names of the vector indexes of two columns of one table that are each other's counterpart."""
    waiting = definitions(connection, target, of_column=True)
    counterparts = []
    for name, definition in definitions(connection, source, of_column=True).items():
        form = _form(_moved(connection, definition, source, target, None))
        if same := next((other for other, text in waiting.items() if _form(text) == form), None):
            counterparts.append((name, same))
            del waiting[same]
    return counterparts


def _moved(
    connection: Connection[Any], definition: str, source: VectorTable, target: VectorTable, metric: Similarity | None
) -> str:
    """Return a definition for the target column: its name and dimension wherever those of the source stand."""
    here, there = (
        connection.execute("SELECT quote_ident(%s)", (table.column,)).fetchone() or ("",) for table in (source, target)
    )
    name = re.compile(rf'(?<![\w".:]){re.escape(here[0])}(?![\w"(])')
    size = re.compile(rf"\b(vector|halfvec|bit)\({source.vector.dim}\)")
    parts = _TEXT.split(definition)
    parts[::2] = [size.sub(rf"\1({target.vector.dim})", name.sub(there[0], part)) for part in parts[::2]]
    text = "".join(parts)
    if source.vector.kind != target.vector.kind:
        text = re.sub(rf"\b{source.vector.kind}(?=\(\d+\)|_)", target.vector.kind, text)
    if metric is not None:
        text = re.sub(r"_(cosine|ip|l2)_ops", f"_{_OPERATORS[metric]}_ops", text)
    return text


def _form(definition: str) -> str:
    return re.sub(r"\b(halfvec|vector)\b", "", re.sub(r"\(\d+\)|_(cosine|ip|l2)_ops", "", definition))
