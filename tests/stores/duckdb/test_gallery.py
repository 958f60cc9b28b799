from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import duckdb
import duckdb_extension_vss
import numpy as np
import pyarrow as pa
import pytest

from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_random_kills

VSS = next(Path(duckdb_extension_vss.__file__).parent.glob("extensions/*/vss.duckdb_extension"))
NAMESPACE = UUID(int=7)


def load_vss(database: duckdb.DuckDBPyConnection) -> None:
    """Do what an application with HNSW indexes in a file does first."""
    database.execute(f"LOAD '{VSS}'")
    database.execute("SET hnsw_enable_experimental_persistence = true")


class DuckHarness(StoreHarness):
    """An application that keeps a gallery in a DuckDB table."""

    holds_nulls = True
    text_column = "note"
    rows = 60

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.open = duckdb.connect()

    def opened(self, url: str) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(self.path(url))

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {
            "string": [f"o'item {number} ü" for number in range(count)],
            "integer": [number * 7 - 50 for number in range(count)],
            "uuid": [uuid5(NAMESPACE, str(number)) for number in range(count)],
            "composite": [(f"part {number % 3}", number) for number in range(count)],
        }

    def create(self, gallery: Gallery) -> str:
        return self.created({"vector": gallery})

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        url = self.created({"vector": gallery, "other": other})
        return url, url.replace(".vector", ".other")

    def created(self, galleries: dict[str, Gallery]) -> str:
        path = self.fresh_path("docs.db")
        gallery = next(iter(galleries.values()))
        kinds = {int: "BIGINT", str: "VARCHAR", UUID: "UUID"}
        first = next(iter(gallery))
        parts = first if isinstance(first, tuple) else (first,)
        keys = [f"k{place}" for place in range(len(parts))]
        columns = [f"{name} {kinds[type(part)]}" for name, part in zip(keys, parts, strict=True)]
        dim = next(len(vector) for vector in gallery.values() if vector is not None)
        columns += [f"{name} FLOAT[{dim}]" for name in galleries]
        with duckdb.connect(str(path)) as database:
            declared = ", ".join([*columns, "note VARCHAR DEFAULT 'none'", f"PRIMARY KEY ({', '.join(keys)})"])
            database.execute(f"CREATE TABLE docs ({declared})")
            self.insert(database, galleries)
        return f"duckdb://{path}#docs.vector"

    def insert(self, database: duckdb.DuckDBPyConnection, galleries: dict[str, Gallery]) -> None:
        vectors = list(galleries.values())
        parts = list(zip(*map(self.parts, vectors[0]), strict=True))
        columns = {f"k{place}": pa.array(list(map(str, values))) for place, values in enumerate(parts)}
        for name, gallery in galleries.items():
            values = [None if vector is None else vector.tolist() for vector in gallery.values()]
            columns[name] = pa.array(values, pa.list_(pa.float32()))
        database.register("batch", pa.table({**columns, "note": [f"note {key}" for key in vectors[0]]}))
        kinds = ", ".join(f"k{n}::{'BIGINT' if isinstance(p[0], int) else 'VARCHAR'}" for n, p in enumerate(parts))
        names = ", ".join([*columns, "note"])
        database.execute(
            f"INSERT OR REPLACE INTO docs ({names}) SELECT {kinds}, {', '.join(galleries)}, note FROM batch"
        )
        database.unregister("batch")

    def parts(self, key: Any) -> tuple[Any, ...]:
        return key if isinstance(key, tuple) else (key,)

    def path(self, url: str) -> str:
        return url.removeprefix("duckdb://").partition("#")[0]

    def put(self, url: str, gallery: Gallery) -> None:
        with self.opened(url) as database:
            self.insert(database, {"vector": gallery})

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        with self.opened(url) as database:
            condition = " AND ".join(f"k{n} = ?" for n in range(len(self.parts(keys[0]))))
            database.executemany(f"DELETE FROM docs WHERE {condition}", [list(self.parts(key)) for key in keys])

    def column(self, url: str, column: str) -> dict[Any, Any]:
        with self.opened(url) as database:
            rows = database.execute(f"SELECT COLUMNS('k\\d'), {column} FROM docs").fetchall()
        return {row[0] if len(row) == 2 else row[:-1]: row[-1] for row in rows}

    def get(self, url: str) -> Gallery:
        rows = self.column(url, url.rpartition(".")[2])
        return {key: None if vector is None else np.array(vector, np.float32) for key, vector in rows.items()}

    def notes(self, url: str) -> dict[Any, str]:
        return self.column(url, "note")

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        with self.opened(url) as database:
            database.executemany("UPDATE docs SET note = ? WHERE k0 = ?", [[note, key] for key, note in notes.items()])

    def build_index(self, url: str) -> None:
        self.open = duckdb.connect(self.path(url))  # an application that stays: to load the extension takes long
        load_vss(self.open)
        self.open.execute("CREATE INDEX nearest ON docs USING HNSW (vector) WITH (metric = 'cosine')")

    def metric(self, url: str) -> str | None:
        with self.opened(url) as database:
            (metric,) = database.execute("SELECT metric FROM pragma_hnsw_index_info()").fetchone() or [None]
        return metric

    def nearest(self, url: str, query: np.ndarray) -> Any:
        statement = f"SELECT k0 FROM docs ORDER BY array_cosine_distance(vector, ?::FLOAT[{len(query)}]) LIMIT 1"
        with self.opened(url) as database:
            return database.execute(statement, [query.tolist()]).fetchone()[0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    folder = tmp_path_factory.mktemp("duckdb")
    return store_bench(DuckHarness(folder), folder)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)
