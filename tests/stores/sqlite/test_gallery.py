from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlite_vec

from embcompat.stores.sqlite.connection import driver
from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_random_kills


@contextmanager
def connection(path: Path | str) -> Iterator[Any]:
    """A connection of an application: its changes are one transaction."""
    connection = driver().connect(str(path), timeout=60)
    try:
        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
        with connection:
            yield connection
    finally:
        connection.close()


class SqliteHarness(StoreHarness):
    """An application that keeps a gallery in a vec0 table."""

    text_column = "note"
    rows = 60

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {
            "string": [f"o'item {number} ü" for number in range(count)],
            "integer": [number * 7 - 50 for number in range(count)],
        }

    def create(self, gallery: Gallery) -> str:
        return self.created({"vector": gallery})

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        url = self.created({"vector": gallery, "other": other})
        return url, url.replace(".vector", ".other")

    def created(self, galleries: dict[str, Gallery]) -> str:
        path = self.fresh_path("docs.db")
        gallery = next(iter(galleries.values()))
        kind = "integer" if isinstance(next(iter(gallery)), int) else "text"
        dim = next(len(vector) for vector in gallery.values() if vector is not None)
        columns = ", ".join(f"{name} float[{dim}] distance_metric=cosine" for name in galleries)
        with connection(path) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(
                f"CREATE VIRTUAL TABLE docs USING vec0(id {kind} primary key, tenant text partition key, {columns}, "
                "lang text, +note text, chunk_size=64)"
            )
            for key in gallery:
                vectors = [vectors[key] for vectors in galleries.values()]
                self.insert(database, key, vectors)
        return f"sqlite://{path}#docs.vector"

    def insert(self, database: Any, key: Any, vectors: Sequence[Any]) -> None:
        blobs = [vector.tobytes() for vector in vectors]
        values = (key, f"tenant {hash(key) % 3}", *blobs, "en", f"note {key}")
        database.execute(f"INSERT INTO docs VALUES ({', '.join('?' * len(values))})", values)

    def path(self, url: str) -> str:
        return url.removeprefix("sqlite://").partition("#")[0]

    def put(self, url: str, gallery: Gallery) -> None:
        with connection(self.path(url)) as database:
            database.execute("BEGIN IMMEDIATE")
            for key, vector in gallery.items():
                database.execute("DELETE FROM docs WHERE id = ?", (key,))
                self.insert(database, key, [vector])

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        with connection(self.path(url)) as database:
            database.executemany("DELETE FROM docs WHERE id = ?", [(key,) for key in keys])

    def get(self, url: str) -> Gallery:
        column = url.rpartition(".")[2]
        with connection(self.path(url)) as database:
            rows = database.execute(f"SELECT id, {column} FROM docs").fetchall()
        return {key: np.frombuffer(vector, np.float32) for key, vector in rows}

    def notes(self, url: str) -> dict[Any, str]:
        with connection(self.path(url)) as database:
            rows = database.execute("SELECT id, note, lang FROM docs").fetchall()
        return {key: note for key, note, lang in rows if lang == "en"}

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        with connection(self.path(url)) as database:
            database.executemany("UPDATE docs SET note = ? WHERE id = ?", [(note, key) for key, note in notes.items()])

    def metric(self, url: str) -> str | None:
        with connection(self.path(url)) as database:
            (statement,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'docs'").fetchone()
        return str(statement.partition("distance_metric=")[2].partition(",")[0])

    def nearest(self, url: str, query: np.ndarray) -> Any:
        with connection(self.path(url)) as database:
            statement = "SELECT id FROM docs WHERE vector MATCH ? AND k = 1"
            return database.execute(statement, (query.astype(np.float32).tobytes(),)).fetchone()[0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    folder = tmp_path_factory.mktemp("sqlite")
    return store_bench(SqliteHarness(folder), folder)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)
