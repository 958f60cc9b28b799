"""Who may write vectors after a cutover, and how an application declares its space."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import psycopg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict

from embcompat.aligners import AffineAligner
from embcompat.embeddings import Embeddings, pair_embeddings, split_pairs
from embcompat.export import save_artifact
from embcompat.migration import cut_over, drop_old, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion

DIM = 24
VECTOR = str([0.5] * 16)
WRITE = f"INSERT INTO docs (id, v) VALUES (%s, '{VECTOR}')"
DECLARE = "SELECT embcompat_space('made-new@1')"
TARGETS = pytest.mark.parametrize("target", ["?target=table", "?target=column"])


@contextmanager
def application(database: Any, **options: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.server, autocommit=True, **options) as connection:
        connection.execute(f"SET search_path = {database.one('SELECT current_schema()')}, public")
        yield connection


def migrate(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 5)
    with database.opened(target) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)


def is_refused(connection: psycopg.Connection[Any], row: int, *original: str) -> bool:
    """Write a row in one transaction, behind other statements; return whether the guard refused it."""
    try:
        with connection.transaction():
            for statement in original:
                connection.execute(statement)
            connection.execute(WRITE, (row,))
    except psycopg.errors.CheckViolation as error:
        return "vectors must be in space made-new@1, and this transaction has not declared" in str(error)
    return False


@TARGETS
def test_an_application_may_name_its_space_in_its_address_role_or_transaction(
    database: Any, aligner: OnnxAligner, target: str
) -> None:
    migrate(database, aligner, target)
    schema = database.one("SELECT current_schema()")
    database.execute(
        "DROP ROLE IF EXISTS writing_app; CREATE ROLE writing_app LOGIN; "
        f"GRANT USAGE ON SCHEMA {schema} TO writing_app; GRANT SELECT, INSERT ON docs TO writing_app"
    )
    try:
        with application(database, user="writing_app") as connection:
            assert is_refused(connection, 100)
            with connection.transaction():
                connection.execute("SELECT embcompat_space(%s)", ("made-new@1",))
                connection.execute(WRITE, (101,))
        database.execute("ALTER ROLE writing_app SET embcompat.space = 'made-new@1'")
        with application(database, user="writing_app") as connection:
            connection.execute(WRITE, (102,))
        with application(database, options="-c embcompat.space=other@1,made-new@1") as connection:
            connection.execute(WRITE, (103,))
            connection.execute("DISCARD ALL")
            connection.execute(f"SET search_path = {schema}, public")
            connection.execute(WRITE, (104,))
    finally:
        database.execute("DROP OWNED BY writing_app; DROP ROLE writing_app")
    assert database.one("SELECT array_agg(id ORDER BY id) FROM docs WHERE id > 99") == [101, 102, 103, 104]


@TARGETS
def test_a_declaration_is_good_for_one_transaction_and_a_plain_set_for_none(
    database: Any, aligner: OnnxAligner, target: str
) -> None:
    migrate(database, aligner, target)
    with application(database) as connection:
        for setting in ("SET", "SET LOCAL"):
            assert is_refused(connection, 100, f"{setting} embcompat.space = 'made-new@1'")
        connection.execute("SET embcompat.space = 'made-new@1'")
        assert is_refused(connection, 100)
        with connection.transaction():
            connection.execute(DECLARE)
            connection.execute(WRITE, (101,))
            value = connection.execute("SHOW embcompat.transaction").fetchone()
            connection.execute("SAVEPOINT undone")
            connection.execute(WRITE, (102,))
            connection.execute("ROLLBACK TO undone")
            connection.execute(WRITE, (103,))
        assert is_refused(connection, 104)
        connection.execute("SELECT set_config('embcompat.transaction', %s, false)", value)
        assert is_refused(connection, 104), "a declaration of an earlier transaction does not count"
        with connection.transaction():
            connection.execute("SELECT embcompat_space('other@1', 'made-new@1')")
            connection.execute(WRITE, (105,))
        assert is_refused(connection, 106, "SELECT embcompat_space('other@1')")
    assert database.one("SELECT array_agg(id ORDER BY id) FROM docs WHERE id > 99") == [101, 103, 105]


def test_pools_and_orms_declare_their_space(database: Any, aligner: OnnxAligner) -> None:
    migrate(database, aligner, "?target=table")
    path = f"{database.one('SELECT current_schema()')},public"
    url = database.server.replace("postgresql://", "postgresql+psycopg://", 1)
    insert = f"INSERT INTO docs (id, v) VALUES (:row, '{VECTOR}')"

    def write_by_sqlalchemy(row: int, options: str, *, declares: bool) -> None:
        engine = sqlalchemy.create_engine(url, connect_args={"options": f"-c search_path={path}{options}"})
        if declares:
            sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(DECLARE))
        try:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text(insert), {"row": row})
        finally:
            engine.dispose()

    write_by_sqlalchemy(100, " -c embcompat.space=made-new@1", declares=False)
    write_by_sqlalchemy(101, "", declares=True)
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="has not declared"):
        write_by_sqlalchemy(102, "", declares=False)
    place = conninfo_to_dict(database.server)
    server = {"host": place["host"], "user": place["user"], "database": place["dbname"]}

    async def write_by_asyncpg() -> None:
        settings = {"search_path": path, "embcompat.space": "made-new@1"}
        async with asyncpg.create_pool(**server, min_size=1, max_size=1, server_settings=settings) as pool:
            for row in (103, 104):  # asyncpg resets the connection between
                await pool.execute(WRITE % row)
        connection = await asyncpg.connect(**server, server_settings={"search_path": path})
        async with connection.transaction():
            await connection.execute("SELECT embcompat_space($1)", "made-new@1")
            await connection.execute(WRITE % 105)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(WRITE % 106)
        await connection.close()

    asyncio.run(write_by_asyncpg())
    assert database.one("SELECT array_agg(id ORDER BY id) FROM docs WHERE id > 99") == [100, 101, 103, 104, 105]


def test_an_insert_without_names_of_columns_cannot_fill_the_old_column(database: Any, aligner: OnnxAligner) -> None:
    migrate(database, aligner, "?target=column")
    old = str([0.5] * DIM)
    with pytest.raises(psycopg.errors.CheckViolation, match="is out of service: an INSERT must name its columns"):
        database.execute("INSERT INTO docs VALUES (100, %s)", (old,))
    database.execute("INSERT INTO docs (id) VALUES (100)")
    with database.transaction():
        database.execute(DECLARE)
        database.execute(WRITE, (101,))
    assert database.one("SELECT count(*) FROM docs") == 7


@TARGETS
def test_the_guard_works_on_when_the_old_side_is_gone(database: Any, aligner: OnnxAligner, target: str) -> None:
    migrate(database, aligner, target)
    with database.opened(target) as store:
        drop_old(aligner, store)
    assert is_refused(database, 100)
    assert not is_refused(database, 100, DECLARE)
    database.execute("UPDATE docs SET v = NULL WHERE id = 3")
    database.execute("INSERT INTO docs (id) VALUES (101)")
    assert database.one("SELECT array_agg(id ORDER BY id) FROM docs WHERE v IS NULL") == [3, 101]


@TARGETS
def test_vectors_of_another_model_that_were_declared_as_new_are_swept(
    database: Any, tmp_path: Path, target: str
) -> None:
    def vectors(seed: int, rows: int, dim: int) -> np.ndarray:
        """Directions with a mean and a falling spectrum, in a basis of their own."""
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        spread = 1.0 / np.arange(1, dim + 1)
        return np.asarray((rng.standard_normal((rows, dim)) * spread + spread) @ basis, np.float32)

    old, new = (SpaceVersion(name="structured", version=version, dim=48, similarity="cosine") for version in "12")
    known, matrix = vectors(1, 400, 48), np.linalg.qr(np.random.default_rng(9).standard_normal((48, 48)))[0]
    native = np.asarray(known @ matrix.T, np.float32)
    ids = [f"item {row}" for row in range(len(known))]
    pairs = pair_embeddings(Embeddings(known, ids, old), Embeddings(native, ids, new))
    artifact = save_artifact(
        AffineAligner(matrix, np.zeros(48)), tmp_path / "artifact", source=old, target=new, split=split_pairs(pairs)
    )
    structured = OnnxAligner(artifact, threads=1)
    database.execute("CREATE TABLE docs (id integer PRIMARY KEY, v vector(48))")

    def write(first: int, rows: np.ndarray) -> list[str]:
        with database.transaction():
            if first:
                database.execute("SELECT embcompat_space('structured@2')")
            for row, vector in enumerate(rows, start=first):
                database.execute("INSERT INTO docs (id, v) VALUES (%s, %s)", (row, str(vector.tolist())))
        return [str(row) for row in range(first, first + len(rows))]

    write(0, known[:50])
    with database.opened(target) as store:
        run_migration(structured, store)
        cut_over(structured, store)
        write(1000, native[100:200])
        assert list(sweep(structured, store)) == []
        stale = write(2000, known[200:260])
        swept = set(sweep(structured, store))
        assert len(swept.intersection(stale)) >= 0.9 * len(stale)
        assert len(swept.difference(stale)) <= 3
