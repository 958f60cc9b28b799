"""Who may write vectors after a cutover, and how an application says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from embcompat.migration import cut_over, run_migration
from embcompat.runtime import OnnxAligner

DIM = 24
WRITE = f"INSERT INTO docs (id, v) VALUES (%s, '{[0.5] * 16}')"


@contextmanager
def application(database: Any, **options: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.server, autocommit=True, **options) as connection:
        connection.execute(f"SET search_path = {database.one('SELECT current_schema()')}, public")
        yield connection


@pytest.mark.parametrize("target", ["?target=table", "?target=column"])
def test_an_application_may_name_its_space_in_its_address_role_or_transaction(
    database: Any, aligner: OnnxAligner, target: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 5)
    with database.opened(target) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    schema = database.one("SELECT current_schema()")
    database.execute(
        "DROP ROLE IF EXISTS writing_app; CREATE ROLE writing_app LOGIN; "
        f"GRANT USAGE ON SCHEMA {schema} TO writing_app; GRANT SELECT, INSERT ON docs TO writing_app; "
        "ALTER ROLE writing_app SET embcompat.space = 'made-new@1'"
    )
    try:
        with application(database, options="-c embcompat.space=made-new@1") as connection:
            connection.execute(WRITE, (101,))
        with application(database, user="writing_app") as connection:
            connection.execute(WRITE, (102,))
        with application(database) as connection:
            with connection.transaction():
                connection.execute("SET LOCAL embcompat.space = 'made-new@1'")
                connection.execute(WRITE, (103,))
            with pytest.raises(psycopg.errors.CheckViolation, match="vectors must be in space made-new@1"):
                connection.execute(WRITE, (104,))
    finally:
        database.execute("DROP OWNED BY writing_app; DROP ROLE writing_app")
    assert database.one("SELECT array_agg(id ORDER BY id) FROM docs WHERE id > 100") == [101, 102, 103]
