from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_lite.server_manager import server_manager_instance
from pymilvus import DataType, MilvusClient

from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.company import check_changes_during_the_run
from embcompat.testing.stores.faults import check_kill_points
from embcompat.testing.stores.promises import check_late_writes

SERVER = os.environ.get("EMBCOMPAT_TEST_MILVUS_URL")
"""Address of a Milvus server to test with, such as ``http://localhost:19530``; Milvus Lite otherwise."""

STRONG = {"consistency_level": "Strong"}


class MilvusHarness(StoreHarness):
    """An application that keeps a gallery in Milvus, behind an alias; a file of Milvus Lite is for one process."""

    text_column = "note"
    many_clients = SERVER is not None
    rows = 60
    lets_go = False

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {
            "string": [f'o\'item "{number}" ü' for number in range(count)],
            "integer": [number * 7 - 50 for number in range(count)],
        }

    @contextmanager
    def client(self, url: str) -> Iterator[MilvusClient]:
        client = MilvusClient(SERVER or url.removeprefix("milvus://").partition("#")[0])
        try:
            yield client
        finally:
            client.close()
            if self.lets_go:
                server_manager_instance.release_server(url.removeprefix("milvus://").partition("#")[0])

    def create(self, gallery: Gallery) -> str:
        return self.created({"vector": gallery})

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        url = self.created({"vector": gallery, "other": other})
        return url, url.replace(".vector", ".other")

    def created(self, galleries: dict[str, Gallery]) -> str:
        path = self.fresh_path("docs.db")
        name = f"docs_{path.name.partition(' ')[0]}_{os.getpid()}"
        url = f"milvus+{SERVER}#live_{name}.vector" if SERVER else f"milvus://{path}#live_{name}.vector"
        gallery = next(iter(galleries.values()))
        dim = next(len(vector) for vector in gallery.values() if vector is not None)
        schema, indexes = MilvusClient.create_schema(enable_dynamic_field=True), MilvusClient.prepare_index_params()
        if isinstance(next(iter(gallery)), int):
            schema.add_field("id", DataType.INT64, is_primary=True)
        else:
            schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
        for field in galleries:
            schema.add_field(field, DataType.FLOAT_VECTOR, dim=dim)
            indexes.add_index(field, index_type="FLAT", metric_type="COSINE")
        with self.client(url) as client:
            client.create_collection(name, schema=schema, index_params=indexes)
            client.create_alias(name, f"live_{name}")
            self.insert(client, f"live_{name}", galleries)
        return url

    def insert(self, client: MilvusClient, name: str, galleries: dict[str, Gallery]) -> None:
        rows = [
            {"id": key, "note": f"note {key}", **{field: vectors[key] for field, vectors in galleries.items()}}
            for key in next(iter(galleries.values()))
        ]
        client.upsert(name, [{key: _plain(value) for key, value in row.items()} for row in rows])

    def names(self, url: str) -> list[str]:
        return url.partition("#")[2].split(".")

    def put(self, url: str, gallery: Gallery) -> None:
        name, field = self.names(url)
        with self.client(url) as client:
            self.insert(client, name, {field: gallery})

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        with self.client(url) as client:
            quoted = ", ".join("'" + key.replace("'", "\\'") + "'" for key in keys)
            client.delete(self.names(url)[0], filter=f"id in [{quoted}]")

    def rows_of(self, url: str) -> list[dict[str, Any]]:
        name, field = self.names(url)
        with self.client(url) as client:
            client.load_collection(client.describe_alias(name)["collection_name"])
            return list(client.query(name, filter="", output_fields=["id", field, "note"], limit=1_000, **STRONG))

    def get(self, url: str) -> Gallery:
        return {row["id"]: np.array(row[self.names(url)[1]], np.float32) for row in self.rows_of(url)}

    def notes(self, url: str) -> dict[Any, str]:
        return {row["id"]: row["note"] for row in self.rows_of(url)}

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        name, field = self.names(url)
        vectors = self.get(url)
        with self.client(url) as client:
            client.upsert(
                name, [{"id": key, "note": note, field: vectors[key].tolist()} for key, note in notes.items()]
            )

    def metric(self, url: str) -> str | None:
        name, field = self.names(url)
        with self.client(url) as client:
            collection = client.describe_alias(name)["collection_name"]
            return str(client.describe_index(collection, field)["metric_type"])

    def nearest(self, url: str, query: np.ndarray) -> Any:
        name, field = self.names(url)
        with self.client(url) as client:
            return client.search(name, data=[query.tolist()], anns_field=field, limit=1)[0][0]["id"]


class QuittingHarness(MilvusHarness):
    """An application that lets go of the file, so that another process can open it."""

    lets_go = SERVER is None


class NeighbourHarness(MilvusHarness):
    """An application that is in the process of the migration, and so may write at the same time."""

    many_clients = True


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    folder = tmp_path_factory.mktemp("milvus")
    return store_bench(MilvusHarness(folder), folder)


@pytest.mark.parametrize(
    "check", [check for check in STORE_CHECKS if check is not check_kill_points], ids=lambda check: check.__name__
)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.parametrize("check", [check_changes_during_the_run, check_late_writes], ids=lambda check: check.__name__)
def test_what_an_application_writes_meanwhile_is_seen(check: StoreCheck, bench: StoreBench, tmp_path: Path) -> None:
    check(replace(bench, harness=NeighbourHarness(tmp_path)))


def test_a_kill_during_the_cutover(bench: StoreBench, tmp_path: Path) -> None:
    bench = replace(bench, harness=QuittingHarness(tmp_path))
    check_kill_points(bench, points=("switching",))  # each child takes seconds to import pymilvus
