"""Fields of vectors, and indexes like others, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion
from embcompat.stores.opensearch.connection import Server
from embcompat.stores.opensearch.mappings import index_like, new_fields, vector_field
from embcompat.stores.opensearch.obstacles import obstacles
from embcompat.stores.values import Job

OWN = {"index.uuid": "u", "index.creation_date": "7", "index.version.created": "1", "index.provided_name": "docs"}


def server(product: Any, number: str) -> Server:
    info = {"version": {"number": number, "distribution": product}}
    return Server(lambda *_: info, product, lambda: None, where="x")


def index(field: dict[str, Any], **settings: str) -> dict[str, Any]:
    return {"mappings": {"properties": {"a": {"properties": {"v": field}}}}, "settings": {**OWN, **settings}}


@pytest.mark.parametrize(
    ("definition", "settings", "metric", "similarity"),
    [
        ({"method": {"name": "hnsw", "space_type": "innerproduct"}}, {}, "innerproduct", "dot"),
        ({"space_type": "cosinesimil"}, {}, "cosinesimil", "cosine"),
        ({}, {"index.knn.space_type": "cosinesimil"}, "cosinesimil", "cosine"),
        ({}, {}, "l2", "euclidean"),
        ({"method": {"name": "hnsw", "space_type": "l1"}}, {}, "l1", None),
    ],
)
def test_opensearch_tells_the_metric_in_three_places(
    definition: dict[str, Any], settings: dict[str, str], metric: str, similarity: str | None
) -> None:
    known = index({"type": "knn_vector", "dimension": 3, **definition}, **settings)
    field = vector_field(known, ("a", "v"), "opensearch", where="x")
    assert (field.dim, field.metric, field.similarity) == (3, metric, similarity)


@pytest.mark.parametrize(
    ("definition", "metric", "similarity", "method"),
    [
        ({}, "cosine", "cosine", "hnsw"),
        ({"similarity": "dot_product", "index_options": {"type": "bbq_hnsw"}}, "dot_product", "dot", "bbq_hnsw"),
        ({"similarity": "l2_norm"}, "l2_norm", "euclidean", "hnsw"),
        ({"index": False}, None, None, None),
    ],
)
def test_elasticsearch_compares_as_the_mapping_says(
    definition: dict[str, Any], metric: str | None, similarity: str | None, method: str | None
) -> None:
    known = index({"type": "dense_vector", "dims": 3, **definition})
    field = vector_field(known, ("a", "v"), "elasticsearch", where="x")
    assert (field.metric, field.similarity, field.method) == (metric, similarity, method)


@pytest.mark.parametrize(
    ("product", "definition", "message"),
    [
        ("opensearch", {"type": "knn_vector", "dimension": 8, "data_type": "byte"}, "of float. It holds byte"),
        ("opensearch", {"type": "knn_vector", "model_id": "m"}, "trained model"),
        ("elasticsearch", {"type": "dense_vector", "dims": 8, "element_type": "bit"}, "of float. It holds bit"),
        ("elasticsearch", {"type": "dense_vector"}, "has no vectors yet"),
        ("elasticsearch", {"type": "semantic_text"}, "no dense_vector field 'a.v'. Fields of this type: none"),
        ("opensearch", {"type": "dense_vector", "dims": 8}, "no knn_vector field 'a.v'"),
    ],
)
def test_fields_that_cannot_be_converted(product: Any, definition: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        vector_field(index(definition), ("a", "v"), product, where="x")


def test_vectors_in_nested_objects_are_several_of_a_document() -> None:
    known = index({"type": "knn_vector", "dimension": 3})
    known["mappings"]["properties"]["a"]["type"] = "nested"
    with pytest.raises(InputError, match="in nested objects, so a document has several vectors"):
        vector_field(known, ("a", "v"), "opensearch", where="x")


def test_a_field_may_have_dots_in_its_name() -> None:
    known = {"mappings": {"properties": {"a.v": {"type": "dense_vector", "dims": 3}}}, "settings": OWN}
    assert vector_field(known, ("a", "v"), "elasticsearch", where="x").dim == 3


def test_an_index_like_another_one_has_other_dimensions_and_nothing_of_the_server() -> None:
    field = {
        "type": "knn_vector",
        "dimension": 3,
        "method": {"engine": "nmslib", "space_type": "l2", "parameters": {"m": 9}},
    }
    known = index(field, **{"index.knn": "true", "index.analysis.analyzer.x.type": "keyword"})
    known["mappings"]["_meta"] = {"mine": 1, "embcompat": {"old": 1}}
    body = index_like(known, ("a", "v"), server("opensearch", "2.19.1"), dim=5, metric="cosine")
    method = {"engine": "nmslib", "space_type": "cosinesimil", "parameters": {"m": 9}}
    assert body == {
        "mappings": {
            "properties": {
                "a": {"properties": {"v": {"type": "knn_vector", "dimension": 5, "method": method}}},
                "embcompat": {"type": "object", "enabled": False},
            },
            "_meta": {"mine": 1},
        },
        "settings": {"index.knn": "true", "index.analysis.analyzer.x.type": "keyword"},
    }
    later = index_like(known, ("a", "v"), server("opensearch", "3.0.0"), dim=5, metric=None)
    assert later["mappings"]["properties"]["a"]["properties"]["v"]["method"] == {
        **method,
        "engine": "faiss",
        "space_type": "l2",
    }
    assert field["dimension"] == 3


def test_a_lifecycle_counts_from_the_creation_of_the_old_index() -> None:
    known = index({"type": "dense_vector", "dims": 3}, **{"index.lifecycle.name": "hot"})
    settings = index_like(known, ("a", "v"), server("elasticsearch", "9.5.1"), dim=3, metric=None)["settings"]
    assert settings == {"index.lifecycle.name": "hot", "index.lifecycle.origination_date": "7"}


def test_fields_that_another_mapping_lacks() -> None:
    source = {
        "properties": {"a": {"properties": {"b": {"type": "long"}, "c": {"type": "text"}}}, "d": {"type": "date"}}
    }
    target = {"properties": {"a": {"properties": {"b": {"type": "long"}}}, "embcompat": {}}}
    assert new_fields(source, target) == {"a": {"properties": {"c": {"type": "text"}}}, "d": {"type": "date"}}
    assert new_fields(target, source) == {}


class OneIndex:
    """What obstacles ask of the indexes of a server."""

    version = (9, 5)

    def __init__(self, definition: dict[str, Any]) -> None:
        self.known = index(definition)

    def index(self, _: str) -> dict[str, Any]:
        return self.known

    def field(self, _: str) -> Any:
        return vector_field(self.known, ("a", "v"), "elasticsearch", where="x")

    def own_name(self, name: str) -> str:
        return f"{name}-1"

    def exists(self, _: str) -> bool:
        return True

    def ids(self, _: str) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("definition", "target", "metric", "message"),
    [
        ({"similarity": "dot_product"}, {"similarity": "dot", "normalized": False}, None, "takes unit vectors only"),
        ({"similarity": "dot_product"}, {"similarity": "dot", "normalized": False}, "dot", None),
        ({"similarity": "dot_product"}, {"similarity": "cosine", "normalized": True}, None, None),
        ({"similarity": "l2_norm"}, {"similarity": "dot", "normalized": False}, None, "compares by euclidean"),
        ({"index": False}, {"similarity": "dot", "normalized": False}, None, None),
    ],
)
def test_metrics_that_do_not_rank_as_the_new_space(
    definition: dict[str, Any], target: dict[str, Any], metric: Any, message: str | None
) -> None:
    old, new = (SpaceVersion(name=name, version="1", dim=3, **target) for name in ("old", "new"))
    indexes: Any = OneIndex({"type": "dense_vector", "dims": 3, **definition})
    listed = [entry.text for entry in obstacles(indexes, "docs", Job("0" * 64, old, new, metric=metric), target="t")]
    assert len(listed) == (message is not None)
    assert message is None or message in listed[0]
