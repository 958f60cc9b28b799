from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from chromadb.errors import NotFoundError

from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.company import check_changes_during_the_run
from embcompat.testing.stores.faults import check_kill_points, check_random_kills
from embcompat.testing.stores.promises import check_late_writes

SERVER = os.environ.get("EMBCOMPAT_TEST_CHROMA_URL")
"""Address of a Chroma server to test with, such as ``http://localhost:8000``; a folder otherwise."""


class ChromaHarness(StoreHarness):
    """An application that keeps a gallery in Chroma; a folder is for one process alone."""

    text_column = "document"
    many_clients = SERVER is not None
    rows = 60

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {"string": [f"o'item {number} ü" for number in range(count)]}

    @contextmanager
    def client(self, url: str) -> Iterator[Any]:
        settings = Settings(anonymized_telemetry=False)
        if SERVER:
            host, _, port = SERVER.partition("//")[2].partition(":")
            client = chromadb.HttpClient(host=host, port=int(port), settings=settings)
        else:
            client = chromadb.PersistentClient(url.removeprefix("chroma://").partition("#")[0], settings=settings)
        with client:
            yield client

    @contextmanager
    def collection(self, url: str) -> Iterator[Any]:
        with self.client(url) as client:
            yield self.found(client, url.partition("#")[2])

    def found(self, client: Any, name: str) -> Any:
        """Look a collection up as a client does that knows of the moment without one."""
        for _ in range(50):
            with suppress(NotFoundError):
                return client.get_collection(name, embedding_function=None)
            time.sleep(0.05)
        raise AssertionError(f"there is no collection {name}")

    def create(self, gallery: Gallery) -> str:
        folder = self.fresh_path("docs")
        name = f"docs-{folder.name.partition(' ')[0]}-{os.getpid()}"
        url = f"chroma+{SERVER}#{name}" if SERVER else f"chroma://{folder}#{name}"
        with self.client(url) as client:
            client.create_collection(name, metadata={"hnsw:space": "cosine"}, embedding_function=None)
        self.put(url, gallery)
        return url

    def put(self, url: str, gallery: Gallery) -> None:
        with self.collection(url) as collection:
            collection.upsert(
                ids=list(gallery),
                embeddings=list(gallery.values()),
                documents=[f"note {key}" for key in gallery],
                metadatas=[{"lang": "en", "size": len(key)} for key in gallery],
            )

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        with self.collection(url) as collection:
            collection.delete(ids=list(keys))

    def get(self, url: str) -> Gallery:
        with self.collection(url) as collection:
            rows = collection.get(include=["embeddings"])
        return {key: np.asarray(v, np.float32) for key, v in zip(rows["ids"], rows["embeddings"], strict=True)}

    def notes(self, url: str) -> dict[Any, str]:
        with self.collection(url) as collection:
            rows = collection.get()
        for key, metadata in zip(rows["ids"], rows["metadatas"], strict=True):
            assert {**metadata, "embcompat": ""} == {"lang": "en", "size": len(key), "embcompat": ""}
        return dict(zip(rows["ids"], rows["documents"], strict=True))

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        with self.collection(url) as collection:
            vectors = collection.get(ids=list(notes), include=["embeddings"])
            known = dict(zip(vectors["ids"], vectors["embeddings"], strict=True))
            collection.update(
                ids=list(notes), documents=list(notes.values()), embeddings=[known[key] for key in notes]
            )  # without vectors, Chroma would embed the documents itself

    def metric(self, url: str) -> str | None:
        with self.collection(url) as collection:
            return str(collection.configuration_json["hnsw"]["space"])

    def nearest(self, url: str, query: np.ndarray) -> Any:
        with self.collection(url) as collection:
            return collection.query(query_embeddings=[query], n_results=1)["ids"][0][0]


class NeighbourHarness(ChromaHarness):
    """An application that is in the process of the migration, and so may write at the same time."""

    many_clients = True


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    folder = tmp_path_factory.mktemp("chroma")
    return store_bench(ChromaHarness(folder), folder)


@pytest.mark.parametrize(
    "check", [check for check in STORE_CHECKS if check is not check_kill_points], ids=lambda check: check.__name__
)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.parametrize("check", [check_changes_during_the_run, check_late_writes], ids=lambda check: check.__name__)
def test_what_an_application_writes_meanwhile_is_seen(check: StoreCheck, bench: StoreBench, tmp_path: Path) -> None:
    check(replace(bench, harness=NeighbourHarness(tmp_path)))


def test_a_kill_between_the_renames(bench: StoreBench) -> None:
    check_kill_points(bench, points=("switching",))  # each child takes seconds to import Chroma


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)
