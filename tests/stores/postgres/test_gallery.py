from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest

from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_random_kills

NUMBERS = itertools.count()


class PostgresHarness(StoreHarness):
    """An application that keeps a gallery in PostgreSQL."""

    holds_nulls = True
    refuses_old_writes = True
    many_clients = True
    keeps_norms = True
    rows = 300
    tolerance = 1e-4
    text_column = "note"

    def __init__(self, server: str, target: str) -> None:
        self.server, self.target = server, target

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {
            "string": [f"o'item {number} ü%s" for number in range(count)],
            "integer": [number * 7 - 50 for number in range(count)],
            "uuid": [UUID(int=number * 12345678901234567890) for number in range(count)],
            "composite": [(f"tenant, {number % 3}", number) for number in range(count)],
        }

    def create(self, gallery: Gallery) -> str:
        name = f'Docs "{next(NUMBERS)}"'
        key = next(iter(gallery))
        kind = {str: "text", int: "bigint", UUID: "uuid"}.get(type(key))
        keys = f"id {kind} PRIMARY KEY"
        if kind is None:
            keys = "tenant varchar(20), number integer, PRIMARY KEY (tenant, number)"
        dim = next(len(vector) for vector in gallery.values() if vector is not None)
        with psycopg.connect(self.server, autocommit=True) as connection:
            quoted = name.replace('"', '""')
            connection.execute(
                f'CREATE TABLE "{quoted}" ({keys}, vector vector({dim}), other vector({dim}), note text)'
            )
        url = self.server + "#public." + name.replace('"', "%22") + f".vector?target={self.target}"
        self.put(url, gallery)
        return url

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        first = self.create(gallery).replace("target=table", "target=column")  # a table has one copy beside it
        second = first.replace(".vector?target=column", f".other?target={self.target}")
        self.put(second, other)
        return first, second

    def column_of(self, url: str) -> psycopg.sql.Identifier:
        return psycopg.sql.Identifier(url.partition("#")[2].partition("?")[0].rpartition(".")[2])

    def build_index(self, url: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            statement = psycopg.sql.SQL("CREATE INDEX ON {} USING hnsw ({} vector_cosine_ops)")
            connection.execute(statement.format(self.table(url), self.column_of(url)))

    def metric(self, url: str) -> str | None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            row = connection.execute(
                "SELECT opcname FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am m ON m.oid = c.relam "
                "JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = indkey[0] "
                "JOIN pg_opclass o ON o.oid = indclass[0] "
                "WHERE indrelid = %s::regclass AND amname = 'hnsw' AND a.attname = %s AND indisvalid",
                (self.table(url).as_string(connection), self.column_of(url).as_string(connection).strip('"')),
            ).fetchone()
        return None if row is None else row[0]

    def nearest(self, url: str, query: np.ndarray) -> Any:
        with psycopg.connect(self.server, autocommit=True) as connection:
            statement = psycopg.sql.SQL("SELECT id FROM {} ORDER BY {} <=> %s::vector LIMIT 1")
            row = connection.execute(
                statement.format(self.table(url), self.column_of(url)), (str(query.tolist()),)
            ).fetchone()
        return None if row is None else row[0]

    def table(self, url: str) -> psycopg.sql.Identifier:
        return psycopg.sql.Identifier("public", url.partition("#")[2].split(".")[1].replace("%22", '"'))

    def put(self, url: str, gallery: Gallery) -> None:
        composite = isinstance(next(iter(gallery)), tuple)
        columns = "tenant, number" if composite else "id"
        statement = psycopg.sql.SQL(
            "INSERT INTO {0} ("
            + columns
            + ", {1}, note) VALUES ("
            + ("%s, %s" if composite else "%s")
            + ", %s, %s) ON CONFLICT ("
            + columns
            + ") DO UPDATE SET {1} = excluded.{1}, note = excluded.note"
        ).format(self.table(url), self.column_of(url))
        rows = [
            (*(key if composite else (key,)), None if vector is None else str(vector.tolist()), f"note {key}")
            for key, vector in gallery.items()
        ]
        with psycopg.connect(self.server, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(
                psycopg.sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self.table(url)), (list(keys),)
            )

    def column(self, url: str, name: str) -> dict[Any, Any]:
        with psycopg.connect(self.server, autocommit=True) as connection:
            cursor = connection.execute(psycopg.sql.SQL("SELECT * FROM {}").format(self.table(url)))
            names = [description.name for description in cursor.description or ()]
            keys = ["tenant", "number"] if "tenant" in names else ["id"]
            result = [dict(zip(names, row, strict=True)) for row in cursor]
        return {tuple(row[key] for key in keys) if len(keys) > 1 else row["id"]: row[name] for row in result}

    def get(self, url: str) -> Gallery:
        texts = self.column(url, self.column_of(url).as_string(None).strip('"'))
        return {key: None if text is None else np.array(json.loads(text), np.float32) for key, text in texts.items()}

    def notes(self, url: str) -> dict[Any, str]:
        return self.column(url, "note")

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection, connection.cursor() as cursor:
            statement = psycopg.sql.SQL("UPDATE {} SET note = %s WHERE id = %s").format(self.table(url))
            cursor.executemany(statement, [(note, key) for key, note in notes.items()])


@pytest.fixture(scope="module", params=["table", "column"])
def bench(request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    return store_bench(PostgresHarness(postgres, request.param), tmp_path_factory.mktemp("pgvector"))


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)
