"""The suite of every store, by the official clients on a loopback double, or on a server that the environment names."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from opensearchpy import OpenSearch

from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_kill_points
from embcompat.testing.stores.promises import check_late_writes
from tests.stores.opensearch.server import running

VERSIONS = {"opensearch": (3, 2), "elasticsearch": (9, 5)}
IN_BOTH = STORE_CHECKS if "EMBCOMPAT_TEST_ELASTICSEARCH_URL" in os.environ else [check_late_writes]
NUMBERS = itertools.count()


class SearchHarness(StoreHarness):
    """An application that keeps a gallery in an index behind an alias, by the product's own client."""

    text_column = "note"
    keeps_norms = False
    rows = 60

    def __init__(self, folder: Path, product: str, address: str) -> None:
        super().__init__(folder)
        self.product, self.address = product, address
        self.client: Any = OpenSearch(address) if product == "opensearch" else Elasticsearch(address)

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {
            "string": [f'o\'item "{number}" / [ü]' for number in range(count)],
            "array": [f"[{n}" for n in range(count)],
        }

    def field(self, dim: int) -> dict[str, Any]:
        if self.product == "elasticsearch":
            return {
                "type": "dense_vector",
                "dims": dim,
                "similarity": "l2_norm",
                "index_options": {"type": "int8_hnsw"},
            }
        method = {"name": "hnsw", "engine": "faiss", "space_type": "l2", "parameters": {"m": 8, "ef_construction": 64}}
        return {"type": "knn_vector", "dimension": dim, "method": method}

    def create(self, gallery: Gallery) -> str:
        return self.created({"vector": gallery})

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        url = self.created({"vector": gallery, "deep.other": other})
        return url, url.replace(".vector", ".deep.other")

    def created(self, galleries: dict[str, Gallery]) -> str:
        name = f"docs-{os.getpid()}-{next(NUMBERS)}"
        dim = next(len(vector) for gallery in galleries.values() for vector in gallery.values() if vector is not None)
        properties: dict[str, Any] = {"note": {"type": "keyword"}, "vector": self.field(dim)}
        if "deep.other" in galleries:
            properties["deep"] = {"properties": {"other": self.field(dim)}}
        settings: dict[str, Any] = {"index.number_of_shards": 1, "index.number_of_replicas": 0}
        if self.product == "opensearch":
            settings["index.knn"] = True
        body = {
            "mappings": {"dynamic": "strict", "properties": properties},
            "settings": settings,
            "aliases": {f"live-{name}": {}},
        }
        self.request("PUT", f"/{name}", body)
        url = f"{self.product}+{self.address}#live-{name}.vector"
        self.save(
            url,
            [
                self.document(key, {field: vectors[key] for field, vectors in galleries.items()})
                for key in galleries["vector"]
            ],
        )
        return url

    def document(self, key: Any, vectors: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        document: dict[str, Any] = {"note": f"note {key}", "vector": vectors["vector"].tolist()}
        if "deep.other" in vectors:
            document["deep"] = {"other": vectors["deep.other"].tolist()}
        return key, document

    def request(self, method: str, path: str, body: Any = None, **parameters: str) -> Any:
        if self.product == "opensearch":
            return self.client.transport.perform_request(method, path, params=parameters, body=body)
        kind = "application/x-ndjson" if isinstance(body, list) else "application/json"
        headers = {"accept": "application/json", "content-type": kind}
        return self.client.perform_request(method, path, params=parameters, headers=headers, body=body).body

    def bulk(self, url: str, lines: list[Any]) -> None:
        if lines:
            answer = (
                self.client.bulk(index=self.alias(url), body=lines, refresh=True)
                if self.product == "opensearch"
                else (self.client.bulk(index=self.alias(url), operations=lines, refresh=True))
            )
            assert not answer["errors"], answer

    def alias(self, url: str) -> str:
        return url.partition("#")[2].partition(".")[0]

    def path(self, url: str) -> list[str]:
        return url.partition("#")[2].split(".")[1:]

    def save(self, url: str, documents: Sequence[tuple[Any, dict[str, Any]]]) -> None:
        self.bulk(url, [line for key, document in documents for line in ({"index": {"_id": key}}, document)])

    def put(self, url: str, gallery: Gallery) -> None:
        self.save(url, [self.document(key, {"vector": vector}) for key, vector in gallery.items()])

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        lines = [line for key, note in notes.items() for line in ({"update": {"_id": key}}, {"doc": {"note": note}})]
        self.bulk(url, lines)

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        self.bulk(url, [{"delete": {"_id": key}} for key in keys])

    def documents(self, url: str) -> dict[Any, dict[str, Any]]:
        source: Any = {"exclude_vectors": False} if self.product == "elasticsearch" else True
        self.request("POST", f"/{self.alias(url)}/_refresh")
        body = {"size": 1_000, "query": {"match_all": {}}, "_source": source}
        answer = self.request("POST", f"/{self.alias(url)}/_search", body)
        return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}

    def get(self, url: str) -> Gallery:
        gallery: Gallery = {}
        for key, document in self.documents(url).items():
            value: Any = document
            for part in self.path(url):
                value = value[part]
            gallery[key] = np.array(value, np.float32)
        return gallery

    def notes(self, url: str) -> dict[Any, str]:
        return {key: document["note"] for key, document in self.documents(url).items()}

    def metric(self, url: str) -> str | None:
        answer = self.request("GET", f"/{self.alias(url)}/_mapping")
        ((_, known),) = answer.items()
        definition = known["mappings"]["properties"]["vector"]
        return str(definition.get("similarity") or definition["method"]["space_type"])

    def nearest(self, url: str, query: np.ndarray) -> Any:
        vector = query.tolist()
        if self.product == "opensearch":
            body: dict[str, Any] = {"size": 1, "query": {"knn": {"vector": {"vector": vector, "k": 1}}}}
        else:
            body = {"size": 1, "knn": {"field": "vector", "query_vector": vector, "k": 1, "num_candidates": 50}}
        return self.request("POST", f"/{self.alias(url)}/_search", body)["hits"]["hits"][0]["_id"]


@contextmanager
def benched(product: str, folder: Path) -> Iterator[StoreBench]:
    if address := os.environ.get(f"EMBCOMPAT_TEST_{product.upper()}_URL"):
        harness = SearchHarness(folder, product, address)
        yield store_bench(harness, folder)
        harness.client.close()
        return
    with running(product, VERSIONS[product]) as double:
        harness = SearchHarness(folder, product, double.address)
        yield store_bench(harness, folder)
        harness.client.close()


@pytest.fixture(scope="module")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreBench]:
    with benched("opensearch", tmp_path_factory.mktemp("opensearch")) as bench:
        yield bench


@pytest.fixture(scope="module")
def elasticsearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreBench]:
    with benched("elasticsearch", tmp_path_factory.mktemp("elasticsearch")) as bench:
        yield bench


@pytest.mark.parametrize(
    "check", [check for check in STORE_CHECKS if check is not check_kill_points], ids=lambda check: check.__name__
)
def test_the_suite_of_every_store(check: StoreCheck, opensearch: StoreBench) -> None:
    check(opensearch)


def test_a_kill_during_the_cutover(opensearch: StoreBench) -> None:
    check_kill_points(opensearch, points=("switching",))  # a child takes seconds to start


@pytest.mark.parametrize("check", IN_BOTH, ids=lambda check: check.__name__)
def test_what_the_other_product_answers_otherwise(check: StoreCheck, elasticsearch: StoreBench) -> None:
    check(elasticsearch)
