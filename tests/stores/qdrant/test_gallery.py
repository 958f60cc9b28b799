from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_random_kills

SERVER = os.environ.get("EMBCOMPAT_TEST_QDRANT_URL")
"""Address of a Qdrant server to test with, such as ``http://localhost:6333``; the client's local mode otherwise."""


class QdrantHarness(StoreHarness):
    """An application that keeps a gallery in Qdrant."""

    holds_nulls = True
    refuses_old_writes = False
    follows_late_writes = False
    many_clients = SERVER is not None
    keeps_norms = False
    rows = 70
    tolerance = 1e-4
    text_column = "note"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count()

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {
            "integer": [number * 7 for number in range(count)],
            "uuid": [UUID(int=number * 12345678901234567890) for number in range(count)],
        }

    @contextmanager
    def client(self, url: str) -> Iterator[QdrantClient]:
        where = url.partition("#")[0]
        client = QdrantClient(url=SERVER) if SERVER else QdrantClient(path=where.removeprefix("qdrant+local://"))
        try:
            yield client
        finally:
            client.close()

    def create(self, gallery: Gallery) -> str:
        name = f"docs{next(self.numbers)}-{os.getpid()}"
        dim = next(len(vector) for vector in gallery.values() if vector is not None)
        where = f"qdrant+{SERVER}" if SERVER else f"qdrant+local://{self.folder / name}"
        url = f"{where}#live-{name}.v"
        (self.folder / name).mkdir()
        with self.client(url) as client:
            client.create_collection(
                name, vectors_config={"v": models.VectorParams(size=dim, distance=models.Distance.COSINE)}
            )
            alias = models.CreateAlias(collection_name=name, alias_name=f"live-{name}")
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        self.put(url, gallery)
        return url

    def alias(self, url: str) -> str:
        return url.partition("#")[2].removesuffix(".v")

    def put(self, url: str, gallery: Gallery) -> None:
        points = [
            models.PointStruct(
                id=key if isinstance(key, int) else str(key),
                vector={} if vector is None else {"v": vector.tolist()},
                payload={"note": f"note {key}"},
            )
            for key, vector in gallery.items()
        ]
        with self.client(url) as client:
            client.upsert(self.alias(url), points, wait=True)

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        with self.client(url) as client:
            client.delete(self.alias(url), models.PointIdsList(points=list(keys)), wait=True)

    def points(self, url: str) -> dict[Any, models.Record]:
        with self.client(url) as client:
            points, _ = client.scroll(self.alias(url), limit=10_000, with_vectors=True)
        return {point.id if isinstance(point.id, int) else UUID(str(point.id)): point for point in points}

    def get(self, url: str) -> Gallery:
        found = {key: point.vector.get("v") for key, point in self.points(url).items()}
        return {key: None if vector is None else np.array(vector, np.float32) for key, vector in found.items()}

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        with self.client(url) as client:
            for key, note in notes.items():
                client.set_payload(self.alias(url), {"note": note}, points=[key])

    def notes(self, url: str) -> dict[Any, str]:
        return {key: point.payload["note"] for key, point in self.points(url).items()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    return store_bench(QdrantHarness(tmp_path_factory.mktemp("points")), tmp_path_factory.mktemp("qdrant"))


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)
