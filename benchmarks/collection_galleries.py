"""Galleries for `stores.py` in stores that convert into a second collection or table; see `store_galleries.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store_galleries import DIM, BareGallery, chunks

from embcompat.files.vectors import vectors_to_arrow

_PAGE_ROWS = 1_000
_DUCK_ROWS = 65_536


class SqliteBare(BareGallery):
    """A vec0 table of sqlite-vec; what is written becomes another one."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "docs.db"
        self.url = f"sqlite://{self.path}#docs.vector"

    @contextmanager
    def connection(self) -> Iterator[Any]:
        import sqlite_vec

        from embcompat.stores.sqlite.connection import driver

        connection = driver().connect(str(self.path))
        try:
            connection.enable_load_extension(True)
            sqlite_vec.load(connection)
            yield connection
        finally:
            connection.close()

    def create(self, rows: int) -> None:
        for path in self.folder.glob("docs.db*"):
            path.unlink()
        with self.connection() as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"CREATE VIRTUAL TABLE docs USING vec0(id INTEGER PRIMARY KEY, vector float[{DIM}])")
            for start, vectors in chunks(rows):
                connection.executemany(
                    "INSERT INTO docs VALUES (?, ?)", [(key, v.tobytes()) for key, v in enumerate(vectors, start)]
                )

    def read_and_write(self) -> None:
        with self.connection() as reading, self.connection() as writing:
            writing.execute("DROP TABLE IF EXISTS copied")
            writing.execute(f"CREATE VIRTUAL TABLE copied USING vec0(id INTEGER PRIMARY KEY, vector float[{DIM}])")
            writing.commit()
            cursor = reading.execute("SELECT id, vector FROM docs")
            while rows := cursor.fetchmany(_PAGE_ROWS):
                writing.executemany("INSERT INTO copied VALUES (?, ?)", rows)
                writing.commit()


class ChromaBare(BareGallery):
    """A Chroma collection in a folder; what is written becomes another one."""

    name = "chroma"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"chroma://{folder}/db#docs"

    @contextmanager
    def client(self) -> Iterator[Any]:
        import chromadb
        from chromadb.config import Settings

        path = str(self.folder / "db")
        with chromadb.PersistentClient(path, settings=Settings(anonymized_telemetry=False)) as client:
            yield client

    def create(self, rows: int) -> None:
        with self.client() as client:
            for collection in client.list_collections():
                client.delete_collection(collection.name)
            docs = client.create_collection("docs", metadata={"hnsw:space": "cosine"}, embedding_function=None)
            for start, vectors in chunks(rows):
                for first in range(0, len(vectors), _PAGE_ROWS):
                    page = vectors[first : first + _PAGE_ROWS]
                    docs.add(ids=[str(start + first + row) for row in range(len(page))], embeddings=page)

    def read_and_write(self) -> None:
        with self.client() as client:
            if "copied" in [collection.name for collection in client.list_collections()]:
                client.delete_collection("copied")
            copied = client.create_collection("copied", metadata={"hnsw:space": "cosine"}, embedding_function=None)
            docs = client.get_collection("docs", embedding_function=None)
            ids = docs.get(include=[])["ids"]
            for start in range(0, len(ids), _PAGE_ROWS):
                rows = docs.get(ids=ids[start : start + _PAGE_ROWS], include=["embeddings"])
                copied.upsert(ids=rows["ids"], embeddings=rows["embeddings"])


class MilvusBare(BareGallery):
    """A collection in a file of Milvus Lite; what is written becomes another one."""

    name = "milvus"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"milvus://{folder}/docs.db#live.vector"

    @contextmanager
    def client(self) -> Iterator[Any]:
        from pymilvus import MilvusClient

        client = MilvusClient(str(self.folder / "docs.db"))
        try:
            yield client
        finally:
            client.close()

    def collection(self, client: Any, name: str) -> None:
        from pymilvus import DataType

        schema, indexes = client.create_schema(), client.prepare_index_params()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
        indexes.add_index("vector", index_type="FLAT", metric_type="COSINE")
        client.create_collection(name, schema=schema, index_params=indexes)

    def create(self, rows: int) -> None:
        with self.client() as client:
            for name in client.list_collections():
                for alias in client.list_aliases(name)["aliases"]:
                    client.drop_alias(alias)
                client.drop_collection(name)
            self.collection(client, "docs")
            client.create_alias("docs", "live")
            for start, vectors in chunks(rows):
                for first in range(0, len(vectors), _PAGE_ROWS):
                    page = vectors[first : first + _PAGE_ROWS].tolist()
                    client.insert("docs", [{"id": key, "vector": v} for key, v in enumerate(page, start + first)])

    def read_and_write(self) -> None:
        with self.client() as client:
            client.drop_collection("copied")
            self.collection(client, "copied")
            keys = [row["id"] for row in client.query("docs", filter="", output_fields=["id"])]
            for start in range(0, len(keys), _PAGE_ROWS):
                condition = f"id in {keys[start : start + _PAGE_ROWS]}"
                client.upsert("copied", list(client.query("docs", filter=condition, output_fields=["id", "vector"])))


class DuckBare(BareGallery):
    """A DuckDB table; what is written becomes another one, a page at a time as a client would that converts."""

    name = "duckdb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "docs.duckdb"
        self.url = f"duckdb://{self.path}#docs.vector"

    def create(self, rows: int) -> None:
        import duckdb
        import pyarrow as pa

        for path in self.folder.glob("docs.duckdb*"):
            path.unlink()
        with duckdb.connect(str(self.path)) as connection:
            connection.execute(f"CREATE TABLE docs (id INTEGER PRIMARY KEY, vector FLOAT[{DIM}])")
            for start, vectors in chunks(rows):
                keys = pa.array(range(start, start + len(vectors)))
                connection.register("page", pa.table({"id": keys, "vector": vectors_to_arrow(vectors)}))
                connection.execute("INSERT INTO docs FROM page")

    def read_and_write(self) -> None:
        import duckdb
        import pyarrow as pa

        with duckdb.connect(str(self.path)) as writing, writing.cursor() as reading:
            writing.execute(f"CREATE OR REPLACE TABLE copied (id INTEGER PRIMARY KEY, vector FLOAT[{DIM}])")
            for batch in reading.execute("FROM docs").to_arrow_reader(_DUCK_ROWS):
                writing.register("page", pa.Table.from_batches([batch]))
                writing.execute("INSERT INTO copied FROM page")


COLLECTION_GALLERIES: dict[str, type[BareGallery]] = {
    each.name: each for each in (ChromaBare, MilvusBare, SqliteBare, DuckBare)
}
