from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """An application that keeps a gallery in Qdrant, and lets the vectors be converted into a new collection."""

    holds_nulls = True
    many_clients = SERVER is not None
    keeps_norms = False
    rows = 70
    text_column = "note"

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

    def collection(self, galleries: dict[str, Gallery]) -> str:
        """Make a collection behind an alias, whose points have vectors of these names; return the alias' address."""
        folder = self.fresh_path("docs")
        name = f"{folder.name.replace(' ', '-')}-{os.getpid()}"
        url = f"qdrant+{SERVER}#live-{name}" if SERVER else f"qdrant+local://{folder}#live-{name}"
        folder.mkdir()
        dim = next(len(vector) for vector in next(iter(galleries.values())).values() if vector is not None)
        params = models.VectorParams(size=dim, distance=models.Distance.COSINE)
        with self.client(url) as client:
            client.create_collection(name, vectors_config=dict.fromkeys(galleries, params))
            alias = models.CreateAlias(collection_name=name, alias_name=f"live-{name}")
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
            client.upsert(name, self.structs(galleries), wait=True)
        return url

    def structs(self, galleries: dict[str, Gallery]) -> list[models.PointStruct]:
        return [
            models.PointStruct(
                id=key if isinstance(key, int) else str(key),
                vector={
                    name: vector.tolist() for name, gallery in galleries.items() if (vector := gallery[key]) is not None
                },
                payload={"note": f"note {key}"},
            )
            for key in next(iter(galleries.values()))
        ]

    def create(self, gallery: Gallery) -> str:
        return f"{self.collection({'v': gallery})}.v"

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        url = self.collection({"v": gallery, "w": other})
        return f"{url}.v", f"{url}.w"

    def names(self, url: str) -> tuple[str, str]:
        """Return the alias, and the name of the vector that the application was written with."""
        alias, _, vector = url.partition("#")[2].partition("?")[0].partition(".")
        return alias, vector

    def served(self, client: QdrantClient, url: str) -> str:
        """Return the name of the vector that the application asks for now."""
        del client
        return self.names(url)[1]

    def put(self, url: str, gallery: Gallery) -> None:
        alias, vector = self.names(url)
        with self.client(url) as client:
            client.upsert(alias, self.structs({vector: gallery}), wait=True)

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        with self.client(url) as client:
            client.delete(self.names(url)[0], models.PointIdsList(points=list(keys)), wait=True)

    def get(self, url: str) -> Gallery:
        with self.client(url) as client:
            points, _ = client.scroll(self.names(url)[0], limit=10_000, with_vectors=True)
            vector = self.served(client, url)
        return {
            key_of(point): None if (values := point.vector.get(vector)) is None else np.array(values, np.float32)
            for point in points
        }

    def notes(self, url: str) -> dict[Any, str]:
        with self.client(url) as client:
            points, _ = client.scroll(self.names(url)[0], limit=10_000)
        return {key_of(point): point.payload["note"] for point in points}

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        with self.client(url) as client:
            for key, note in notes.items():
                client.set_payload(self.names(url)[0], {"note": note}, points=[key])

    def metric(self, url: str) -> str:
        with self.client(url) as client:
            vectors = client.get_collection(self.names(url)[0]).config.params.vectors
            return str(vectors[self.served(client, url)].distance)

    def nearest(self, url: str, query: np.ndarray) -> Any:
        with self.client(url) as client:
            using = self.served(client, url)
            return key_of(client.query_points(self.names(url)[0], query.tolist(), using=using, limit=1).points[0])


class QdrantVectorHarness(QdrantHarness):
    """The same with a new vector in the same collection; the application switches by what the metadata tells."""

    def create(self, gallery: Gallery) -> str:
        return f"{super().create(gallery)}?target=vector"

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        first, second = super().create_two(gallery, other)
        return f"{first}?target=vector", f"{second}?target=vector"

    def put(self, url: str, gallery: Gallery) -> None:
        """Write whole points again with all that they hold: what an upsert leaves out is lost."""
        name, vector = self.names(url)
        with self.client(url) as client:
            structs = {struct.id: struct for struct in self.structs({vector: gallery})}
            for point in client.retrieve(name, list(structs), with_vectors=True):
                struct = structs[point.id]
                others = {other: values for other, values in point.vector.items() if other != vector}
                struct.vector, struct.payload = {**others, **struct.vector}, {**point.payload, **struct.payload}
            client.upsert(name, list(structs.values()), wait=True)

    def served(self, client: QdrantClient, url: str) -> str:
        name, vector = self.names(url)
        metadata = client.get_collection(name).config.metadata or {}
        vector_name: str = metadata.get("embcompat", {}).get("serving", {}).get(vector, vector)
        return vector_name


def key_of(point: models.Record | models.ScoredPoint) -> Any:
    return point.id if isinstance(point.id, int) else UUID(str(point.id))


@pytest.fixture(scope="module", params=[QdrantHarness, QdrantVectorHarness], ids=["collection", "vector"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    return store_bench(request.param(tmp_path_factory.mktemp("points")), tmp_path_factory.mktemp("qdrant"))


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)
