"""Collections of Milvus like others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pymilvus import DataType, MilvusClient

from embcompat.similarities import Similarity

PROVENANCE: Final = "embcompat"
"""Name of the field, or of the key among the dynamic fields, that holds the provenance of a record."""

METRICS: Final[dict[Similarity, str]] = {"cosine": "COSINE", "dot": "IP", "euclidean": "L2"}
"""How Milvus names the metrics."""

_INDEX_NAMES: Final = {"field_name", "index_name", "index_type", "metric_type"}
_INDEX_STATE: Final = {"total_rows", "indexed_rows", "pending_index_rows", "state", "index_state_fail_reason"}
_FIELD_SETTINGS: Final = ("is_primary", "nullable", "is_partition_key", "is_clustering_key", "element_type")


def create_like(
    client: Any, source: Mapping[str, Any], target: str, *, vector: str, dim: int, metric: Similarity | None
) -> None:
    """Make a collection with the fields, partitions, indexes and properties of another one.

    Args:
        client: The client.
        source: The description of the collection to resemble.
        target: Name of the new one.
        vector: The vector field whose vectors have another length.
        dim: That length.
        metric: How they are compared; as those of the other one when None.
    """
    schema = MilvusClient.create_schema(enable_dynamic_field=source["enable_dynamic_field"])
    for field in source["fields"]:
        settings = {name: field[name] for name in _FIELD_SETTINGS if field.get(name)}
        parameters = {**field["params"], "dim": dim} if field["name"] == vector else field["params"]
        if "default_value" in field:
            settings["default_value"] = _plain(field["default_value"])
        schema.add_field(field["name"], field["type"], description=field["description"], **parameters, **settings)
    if not source["enable_dynamic_field"] and PROVENANCE not in {field["name"] for field in source["fields"]}:
        schema.add_field(PROVENANCE, DataType.JSON, nullable=True)
    options = {"num_partitions": source["num_partitions"]} if has_partition_key(source) else {}
    client.create_collection(
        target,
        schema=schema,
        index_params=_indexes(client, source["collection_name"], vector, metric),
        properties={name: value for name, value in source["properties"].items() if name != PROVENANCE},
        consistency_level=source["consistency_level_name"],
        num_shards=source["num_shards"],
        description=source["description"],
        **options,
    )
    for partition in partitions(client, source):
        if partition and not client.has_partition(target, partition):
            client.create_partition(target, partition)


def partitions(client: Any, description: Mapping[str, Any]) -> list[str]:
    """Return the names of the partitions that records are put into; only "" where Milvus or nobody chooses them."""
    if has_partition_key(description):
        return [""]
    names: list[str] = client.list_partitions(description["collection_name"])
    return names if len(names) > 1 else [""]


def has_partition_key(description: Mapping[str, Any]) -> bool:
    """Return whether a field decides into which partition a record goes."""
    return any(field.get("is_partition_key") for field in description["fields"])


def _indexes(client: Any, collection: str, vector: str, metric: Similarity | None) -> Any:
    indexes = MilvusClient.prepare_index_params()
    for name in client.list_indexes(collection):
        index = {key: value for key, value in client.describe_index(collection, name).items() if value != "NONE"}
        if index["field_name"] == vector and metric is not None:
            index["metric_type"] = METRICS[metric]
        known = {
            key: index.pop(key) for key in ("field_name", "index_name", "index_type", "metric_type") if key in index
        }
        indexes.add_index(**known, params={key: value for key, value in index.items() if key not in _INDEX_STATE})
    return indexes


def _plain(value: Any) -> Any:
    """Return a default value as it was declared; Milvus describes it by a message of its protocol."""
    return getattr(value, value.WhichOneof("data"))
