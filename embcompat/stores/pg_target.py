"""The tables and triggers that a migration makes in PostgreSQL, and the statements that fill them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import Connection, sql

from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.base import Job
from embcompat.stores.pg_catalog import VectorTable, find_oid, vector_index
from embcompat.stores.pg_copy import Column

PROVENANCE: Final[dict[str, LiteralString]] = {
    "space": "text",
    "artifact": "text",
    "source": "bigint",
    "digest": "bigint",
}
GALLERIES: Final = "embcompat_galleries"
PART_ROWS: Final = 100_000

_OPERATORS: Final = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
_NAME_BYTES = 40  # PostgreSQL cuts names at 63 bytes


@dataclass(frozen=True)
class Target:
    """Names and statements of one job on one table.

    Attributes:
        schema: The schema of all tables.
        table: Name of the table in service.
        column: Name of the vector column.
        job: The job.
    """

    schema: str
    table: str
    column: str
    job: Job

    def name(self, ending: str = "") -> str:
        """Return a name of this job, with an ending; the target table's own name without one."""
        base = self.table.encode()[:_NAME_BYTES].decode(errors="ignore")
        return f"{base}__{self.job.suffix}{ending}"

    @property
    def old_name(self) -> str:
        """What the table in service is called after the cutover."""
        base = self.table.encode()[:_NAME_BYTES].decode(errors="ignore")
        return f"{base}__old_{self.job.suffix}"

    def identifier(self, name: str) -> sql.Identifier:
        """Return a name with its schema."""
        return sql.Identifier(self.schema, name)

    @property
    def served(self) -> sql.Identifier:
        """The table in service."""
        return self.identifier(self.table)

    @property
    def target(self) -> sql.Identifier:
        """The table beside it."""
        return self.identifier(self.name())

    @property
    def log(self) -> sql.Identifier:
        """Keys of rows that the application changed."""
        return self.identifier(self.name("_log"))

    @property
    def parts(self) -> sql.Identifier:
        """Key ranges that workers take."""
        return self.identifier(self.name("_parts"))

    def provenance(self, kind: str) -> sql.Identifier:
        """Return a provenance column."""
        return sql.Identifier(f"{self.column}__{kind}")

    def trigger(self, kind: str) -> str:
        """Return the name of a trigger: ``log``, ``guard`` or ``zz_stale``."""
        return f"embcompat_{kind}_{self.job.suffix}"

    def function(self, kind: str) -> sql.Identifier:
        """Return what a trigger of this table calls; other tables of the schema have their own."""
        return self.identifier(self.name(f"_{kind}"))


def listed(names: Iterable[str], prefix: LiteralString = "") -> sql.Composed:
    """Return column names separated by commas, each behind a table's short name."""
    return sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(name) for name in names)


def matched(keys: Iterable[str], left: LiteralString, right: LiteralString) -> sql.Composed:
    """Return the condition that two tables' keys are equal."""
    each = sql.SQL(left + ".{key} = " + right + ".{key}")
    return sql.SQL(" AND ").join(each.format(key=sql.Identifier(key)) for key in keys)


def row_of(keys: Sequence[str], prefix: LiteralString) -> sql.Composed:
    """Return the keys as a row value, so that rows are compared in key order."""
    return sql.SQL("({})").format(listed(keys, prefix))


def literals(values: Iterable[Any]) -> sql.Composed:
    """Return a row value of literals."""
    return sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, values)))


def vector_type(column: Column) -> sql.Composed:
    """Return the type of a vector column."""
    return sql.SQL("{}({})").format(sql.SQL("halfvec" if column.kind == "halfvec" else "vector"), column.dim)


def recorded(
    connection: Connection[Any], schema: str, table: str, column: str, *, where: str
) -> tuple[SpaceVersion | None, str | None]:
    """Return the space that a table is known to be in, and the artifact that made it; None where nothing is known."""
    if find_oid(connection, schema, GALLERIES) is None:
        return None, None
    row = connection.execute(
        sql.SQL("SELECT space, artifact FROM {} WHERE relation = %s AND attribute = %s").format(
            sql.Identifier(schema, GALLERIES)
        ),
        (find_oid(connection, schema, table), column),
    ).fetchone()
    return (None, None) if row is None else (SpaceVersion.from_json(row[0], where=where), row[1])


def create_target(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    """Make the target table and everything beside it, in the transaction that is open."""
    run = connection.execute
    column = sql.Identifier(table.column)
    kind = vector_type(Column(table.vector.kind, names.job.target.dim))
    run(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(names.target, names.served))
    for (index,) in run(
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = %s::regclass AND m.amname IN ('hnsw', 'ivfflat')",
        (names.target.as_string(connection),),
    ).fetchall():
        run(sql.SQL("DROP INDEX {}").format(sql.SQL(index)))
    run(
        sql.SQL("ALTER TABLE {t} ALTER {c} DROP DEFAULT, ALTER {c} TYPE {k} USING NULL::{k}").format(
            t=names.target, c=column, k=kind
        )
    )
    for name, type_name in PROVENANCE.items():
        add = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}")
        run(add.format(names.target, names.provenance(name), sql.SQL(type_name)))
    key_fields = sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed(table.keys), names.served)
    run(sql.SQL("CREATE TABLE {} AS {}").format(names.log, key_fields))
    run(sql.SQL("ALTER TABLE {} ADD n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY").format(names.log))
    run(sql.SQL("CREATE INDEX ON {} ({})").format(names.log, listed(table.keys)))
    create_parts(connection, names, table)
    create_log_function(connection, names, table)
    add_log_trigger(connection, names, names.served)
    record(connection, names)


def create_parts(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    """Make the table of the key ranges that workers take."""
    key_fields = sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed(table.keys), names.served)
    connection.execute(sql.SQL("CREATE TABLE {} AS {}").format(names.parts, key_fields))
    add = sql.SQL("ALTER TABLE {} ADD n integer PRIMARY KEY, ADD pid integer, ADD started timestamptz")
    connection.execute(add.format(names.parts))


def record(connection: Connection[Any], names: Target) -> None:
    """Note of which space the target vectors are."""
    galleries = names.identifier(GALLERIES)
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (relation oid, attribute text, space text NOT NULL, artifact text NOT NULL, "
            "PRIMARY KEY (relation, attribute))"
        ).format(galleries)
    )
    connection.execute(
        sql.SQL("INSERT INTO {} VALUES (%s::regclass, %s, %s, %s)").format(galleries),
        (names.target.as_string(connection), names.column, names.job.target.to_json(), names.job.artifact_id),
    )


def create_vector_index(
    connection: Connection[Any],
    source: VectorTable,
    target: VectorTable,
    similarity: Similarity,
    *,
    concurrently: bool = False,
) -> None:
    """Build an index of the source column's kind and options on the target column, unless there is one."""
    found = vector_index(connection, source)
    if found is None or vector_index(connection, target) is not None:
        return
    kind, options = found
    connection.execute(
        sql.SQL("CREATE INDEX {} ON {} USING {} ({} {}){}").format(
            sql.SQL("CONCURRENTLY" if concurrently else ""),
            target.identifier,
            sql.SQL(kind),
            sql.Identifier(target.column),
            sql.SQL(f"{target.vector.kind}_{_OPERATORS[similarity]}_ops"),
            sql.SQL(" WITH ({})").format(sql.SQL(", ").join(map(sql.SQL, options))) if options else sql.SQL(""),
        )
    )


def create_log_function(connection: Connection[Any], names: Target, table: VectorTable) -> None:
    """Make the trigger function that notes the key of every changed row."""
    body = sql.SQL(
        "BEGIN IF TG_OP <> 'INSERT' THEN INSERT INTO {log} ({keys}) VALUES ({old}); END IF; "
        "IF TG_OP <> 'DELETE' THEN INSERT INTO {log} ({keys}) VALUES ({new}); END IF; RETURN NULL; END"
    ).format(log=names.log, keys=listed(table.keys), old=listed(table.keys, "OLD."), new=listed(table.keys, "NEW."))
    create_function(connection, names, "log", body)


def add_log_trigger(connection: Connection[Any], names: Target, table: sql.Identifier) -> None:
    """Note the keys of rows that change in a table from now on."""
    trigger = sql.Identifier(names.trigger("log"))
    connection.execute(
        sql.SQL("CREATE TRIGGER {} AFTER INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            trigger, table, names.function("log")
        )
    )
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(table, trigger))


def add_guard(connection: Connection[Any], names: Target, table: sql.Identifier) -> None:
    """Refuse vectors from sessions that have not said that they write the new space."""
    space = names.job.target.id
    message = (
        f"vectors must be in space {space}: SET embcompat.space = '{space}' in a session of the new model; "
        "an application of an old model must not write here any more"
    ).replace("%", "%%")
    body = sql.SQL(
        "BEGIN IF NEW.{c} IS NULL OR (TG_OP = 'UPDATE' AND OLD.{c} IS NOT NULL AND NEW.{c} OPERATOR({e}.=) OLD.{c}) "
        "THEN RETURN NEW; END IF; "
        "IF current_setting('embcompat.space', true) IS DISTINCT FROM {space} "
        "THEN RAISE EXCEPTION {message} USING ERRCODE = 'check_violation'; END IF; "
        "IF current_setting('embcompat.backfill', true) = 'on' THEN RETURN NEW; END IF; "
        "NEW.{s} := {space}; NEW.{a} := NULL; NEW.{o} := NULL; NEW.{d} := NULL; RETURN NEW; END"
    ).format(
        c=sql.Identifier(names.column),
        e=extension_schema(connection),
        space=sql.Literal(space),
        message=sql.Literal(message),
        s=names.provenance("space"),
        a=names.provenance("artifact"),
        o=names.provenance("source"),
        d=names.provenance("digest"),
    )
    create_function(connection, names, "guard", body)
    drop_trigger(connection, names, "guard", table)
    connection.execute(
        sql.SQL("CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            sql.Identifier(names.trigger("guard")), table, names.function("guard")
        )
    )


def extension_schema(connection: Connection[Any]) -> sql.Identifier:
    """Return the schema in which pgvector's operators are."""
    row = connection.execute(
        "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector'"
    ).fetchone()
    return sql.Identifier(row[0] if row is not None else "public")


def drop_trigger(connection: Connection[Any], names: Target, kind: str, table: sql.Identifier) -> None:
    """Drop one of our triggers from a table."""
    connection.execute(sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(names.trigger(kind)), table))


def create_function(connection: Connection[Any], names: Target, kind: str, body: sql.Composed) -> None:
    """Make a trigger function that runs with the rights of who migrates, not of the application."""
    connection.execute(
        sql.SQL(
            "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            "SET search_path = pg_catalog, pg_temp AS {}"
        ).format(names.function(kind), sql.Literal(body.as_string(connection)))
    )


def drop_old_side(connection: Connection[Any], names: Target) -> None:
    """Drop the old table, the log and the parts, in the transaction that is open."""
    parked = names.identifier(names.old_name)
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE relation = %s::regclass").format(names.identifier(GALLERIES)),
        (parked.as_string(connection),),
    )
    connection.execute(sql.SQL("DROP TABLE {}").format(parked))
    drop_trigger(connection, names, "log", names.served)
    connection.execute(sql.SQL("DROP FUNCTION {}()").format(names.function("log")))
    for table in (names.log, names.parts):
        connection.execute(sql.SQL("DROP TABLE {}").format(table))
