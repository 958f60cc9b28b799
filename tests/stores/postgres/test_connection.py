"""What our connections set, and what they say where a server refuses."""

from __future__ import annotations

from contextlib import closing
from itertools import count
from typing import Any
from urllib.parse import urlencode

import numpy as np
import psycopg
import pytest

from embcompat.errors import StoreError
from embcompat.migration import abort, cut_over, job_of, roll_back, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store

DIM = 24
NUMBERS = count()


@pytest.mark.parametrize("query", ["", "?target=column"])
def test_row_security_never_hides_rows_from_the_migration(database: Any, aligner: OnnxAligner, query: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), tenant text DEFAULT 'a')")
    database.fill("docs", 20)
    schema, role = database.one("SELECT current_schema()"), f"owner_{next(NUMBERS)}"
    database.execute("UPDATE docs SET tenant = 'b' WHERE id >= 10")
    database.execute(f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA {schema} TO {role}")
    database.execute(f"ALTER TABLE docs OWNER TO {role}")
    database.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY; ALTER TABLE docs FORCE ROW LEVEL SECURITY")
    database.execute("CREATE POLICY own ON docs USING (tenant = 'a')")
    address = f"{psycopg.conninfo.make_conninfo(database.server, user=role)}"
    url = "postgresql://?" + urlencode(psycopg.conninfo.conninfo_to_dict(address))
    with pytest.raises(StoreError, match="BYPASSRLS"):
        open_store(f"{url}#{schema}.docs.v{query}")
    database.execute(f"ALTER ROLE {role} BYPASSRLS")
    with closing(open_store(f"{url}#{schema}.docs.v?target=column")) as store:
        assert run_migration(aligner, store).rows == 20
    assert database.one("SELECT count(v) FROM docs") == 20


def test_the_operators_of_pgvector_may_be_in_another_schema(database: Any, aligner: OnnxAligner) -> None:
    name = f"other_{next(NUMBERS)}"
    database.execute(f"CREATE DATABASE {name}")
    options = {**psycopg.conninfo.conninfo_to_dict(database.server), "dbname": name}
    try:
        with psycopg.connect(**options, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions")
            connection.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v extensions.vector({DIM}))")
            vectors = np.random.default_rng(0).standard_normal((10, DIM))
            for row, vector in enumerate(vectors):
                connection.execute("INSERT INTO docs VALUES (%s, %s)", (row, str(vector.tolist())))
            connection.execute("CREATE INDEX ON docs USING hnsw (v extensions.vector_cosine_ops)")
            for query in ("", "?target=column"):
                with closing(open_store("postgresql://?" + urlencode(options) + f"#public.docs.v{query}")) as store:
                    run_migration(aligner, store)
                    connection.execute("UPDATE docs SET v = v WHERE id = 3")
                    cut_over(aligner, store)
                    roll_back(aligner, store)
                    abort(aligner, store)
    finally:
        database.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_lost_connection_is_told_in_our_words(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 5)
    with database.opened() as store:
        store.prepare(job_of(aligner.artifact))
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        for action in (store.dim, lambda: list(store.scan(job_of(aligner.artifact), batch_size=5, missing_only=True))):
            with pytest.raises(StoreError, match="Run the same command again"):
                action()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+psycopg", "postgresql+asyncpg"])
def test_addresses_are_taken_as_other_tools_write_them(database: Any, scheme: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    url = database.server.replace("postgresql", scheme, 1)
    with closing(open_store(f"{url}#{database.one('SELECT current_schema()')}.docs.v")) as store:
        assert store.dim() == DIM
