"""Real connection pools across the switch: what fails, what the plan says of it, and how each pool recovers."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from embcompat.migration import cut_over, plan_migration, run_migration
from embcompat.runtime import OnnxAligner

DIM = 24
READS = 12
TARGETS = pytest.mark.parametrize("target", ["?target=table", "?target=column"])
QUERY = "SELECT v FROM docs WHERE id = %s"


def failures(pool: ConnectionPool) -> int:
    """Read on a pool, each time as a prepared statement; return how many reads failed."""
    count = 0
    for _ in range(READS):
        try:
            with pool.connection() as connection:
                connection.execute(QUERY, (1,), prepare=True).fetchone()
        except psycopg.errors.FeatureNotSupported as error:
            count += "cached plan must not change result type" in str(error)
    return count


def options(database: Any) -> str:
    return f"-c search_path={database.one('SELECT current_schema()')},public"


@TARGETS
@pytest.mark.parametrize("kind", [f"vector({DIM})", "vector"])
def test_psycopg(database: Any, aligner: OnnxAligner, target: str, kind: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v {kind})")
    database.fill("docs", 10)
    fails = kind != "vector"
    settings = {"autocommit": True, "options": options(database)}
    with ConnectionPool(database.server, min_size=1, max_size=1, kwargs=settings, open=True) as pool:
        assert failures(pool) == 0
        with database.opened(target) as store:
            notes = plan_migration(aligner, store).notes
            assert any("cached plan must not change result type" in note for note in notes) == fails
            run_migration(aligner, store)
            assert failures(pool) == 0
            assert cut_over(aligner, store).notes == notes
        assert failures(pool) == (READS if fails else 0)
        pool.drain()
        assert failures(pool) == 0


@TARGETS
def test_sqlalchemy(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 10)
    url = database.server.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = sqlalchemy.create_engine(url, connect_args={"options": options(database), "prepare_threshold": 0})

    def read() -> None:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("SELECT v FROM docs WHERE id = :id"), {"id": 1}).one()

    read()
    with database.opened(target) as store:
        run_migration(aligner, store)
        read()
        cut_over(aligner, store)
    with pytest.raises(sqlalchemy.exc.NotSupportedError, match="cached plan must not change result type"):
        read()
    engine.dispose()
    for _ in range(READS):
        read()
    engine.dispose()


@TARGETS
def test_asyncpg(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 10)
    place = conninfo_to_dict(database.server)
    server = {"host": place["host"], "user": place["user"], "database": place["dbname"]}
    settings = {"search_path": options(database).removeprefix("-c search_path=")}
    read = "SELECT v FROM docs WHERE id = $1"

    async def application() -> None:
        pool = await asyncpg.create_pool(**server, min_size=1, max_size=1, server_settings=settings)
        try:
            await pool.fetch(read, 1)
            with database.opened(target) as store:
                run_migration(aligner, store)
                await pool.fetch(read, 1)
                cut_over(aligner, store)
            async with pool.acquire() as connection:
                with pytest.raises(asyncpg.InvalidCachedStatementError):
                    async with connection.transaction():
                        await connection.fetch(read, 1)
            for _ in range(READS):
                await pool.fetch(read, 1)
        finally:
            await pool.close()

    asyncio.run(application())


def test_statements_without_names_of_columns_and_functions_are_listed(database: Any, aligner: OnnxAligner) -> None:
    database.execute(
        f"""
        CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}));
        CREATE FUNCTION search(integer) RETURNS TABLE (id integer, v vector) LANGUAGE sql AS 'SELECT * FROM docs';
        CREATE FUNCTION other() RETURNS integer LANGUAGE sql AS 'SELECT 1 -- of docs_archive';
        """
    )
    database.fill("docs", 3)
    for target, text in (("?target=table", "COPY docs without"), ("?target=column", "INSERT and COPY without")):
        with database.opened(target) as store:
            notes = " ".join(plan_migration(aligner, store).notes)
        assert text in notes
        assert "search(integer)" in notes
        assert "other()" not in notes
    with database.opened("?target=column") as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    with pytest.raises(psycopg.Error, match="return type mismatch"):
        database.execute("SELECT * FROM search(1)")
