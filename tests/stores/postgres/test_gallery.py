from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
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
            connection.execute(f'CREATE TABLE "{quoted}" ({keys}, vector vector({dim}), note text)')
        url = self.server + "#public." + name.replace('"', "%22") + f".vector?target={self.target}"
        self.put(url, gallery)
        return url

    def table(self, url: str) -> psycopg.sql.Identifier:
        return psycopg.sql.Identifier("public", url.partition("#")[2].split(".")[1].replace("%22", '"'))

    def put(self, url: str, gallery: Gallery) -> None:
        composite = isinstance(next(iter(gallery)), tuple)
        columns = "tenant, number" if composite else "id"
        statement = psycopg.sql.SQL(
            "INSERT INTO {} ("
            + columns
            + ", vector, note) VALUES ("
            + ("%s, %s" if composite else "%s")
            + ", %s, %s) ON CONFLICT ("
            + columns
            + ") DO UPDATE SET vector = excluded.vector, note = excluded.note"
        ).format(self.table(url))
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
            found = [dict(zip(names, row, strict=True)) for row in cursor]
        return {tuple(row[key] for key in keys) if len(keys) > 1 else row["id"]: row[name] for row in found}

    def get(self, url: str) -> Gallery:
        found = self.column(url, "vector")
        return {key: None if text is None else np.array(json.loads(text), np.float32) for key, text in found.items()}

    def notes(self, url: str) -> dict[Any, str]:
        return self.column(url, "note")


@pytest.fixture(scope="module", params=["table", "column"])
def bench(request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    return store_bench(PostgresHarness(postgres, request.param), tmp_path_factory.mktemp("pgvector"))


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)
