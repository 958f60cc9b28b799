"""A real PostgreSQL server with pgvector, for as long as the tests run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import psycopg
import pytest
from psycopg import sql

from embcompat.aligners import AffineAligner
from embcompat.embeddings import split_pairs
from embcompat.export import save_artifact
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.testing import make_pairs

NUMBERS = itertools.count()


class Database(psycopg.Connection):
    """A connection of an application, whose tables are in a schema of their own."""

    server: str

    def fill(self, table: str, rows: int) -> np.ndarray:
        """Insert rows with the keys 0 … and random vectors; return these."""
        vectors = np.random.default_rng(rows).standard_normal((rows, 24)).astype(np.float32)
        with self.cursor() as cursor:
            cursor.executemany(
                sql.SQL("INSERT INTO {} (id, v) VALUES (%s, %s)").format(sql.Identifier(table)),
                [(row, str(vector.tolist())) for row, vector in enumerate(vectors)],
            )
        return vectors

    def one(self, query: str) -> object:
        """Return the only value of a query."""
        row = self.execute(query).fetchone()
        return None if row is None else row[0]

    def opened(self, query: str = "", *, table: str = "docs") -> closing[GalleryStore]:
        """Open the column ``v`` of a table as a gallery."""
        return closing(open_store(f"{self.server}#{self.one('SELECT current_schema()')}.{table}.v{query}"))


@pytest.fixture
def database(postgres: str) -> Iterator[Database]:
    """A connection to a fresh schema."""
    with Database.connect(postgres, autocommit=True) as connection:
        connection.server = postgres
        name = f"schema_{next(NUMBERS)}"
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("SET search_path = {}, public").format(sql.Identifier(name)))
        yield connection


@pytest.fixture(scope="session")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    """24 → 16 dimensions."""
    synthetic = make_pairs(200, source_dim=24, target_dim=16)
    artifact = save_artifact(
        AffineAligner(synthetic.matrix, synthetic.offset),
        tmp_path_factory.mktemp("artifact") / "old-to-new",
        source=synthetic.pairs.source.space,
        target=synthetic.pairs.target.space,
        split=split_pairs(synthetic.pairs),
    )
    return OnnxAligner(artifact, threads=1)
