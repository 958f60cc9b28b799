"""Qdrant collections: the parameters of their vectors, and collections like others."""

from __future__ import annotations

from typing import Any, Final

from qdrant_client import QdrantClient, models

from embcompat.errors import InputError
from embcompat.spaces import Similarity
from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.qdrant.points import PAYLOAD_KEY
from embcompat.stores.values import Job, Obstacle

DISTANCES: Final[dict[Similarity, models.Distance]] = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "euclidean": models.Distance.EUCLID,
}


def metric_of(params: models.VectorParams) -> Similarity | None:
    """Return how vectors are compared; None for a way that no space has."""
    return {distance: similarity for similarity, distance in DISTANCES.items()}.get(params.distance)


def unconvertible(params: models.VectorParams, job: Job) -> list[Obstacle]:
    """Return what keeps vectors of a collection from being converted, or compared as they are."""
    obstacles = []
    if params.distance == models.Distance.COSINE and not job.source.normalized:
        text = (
            "This collection keeps unit vectors only (its distance is Cosine), but vectors of space "
            f"{job.source.id!r} are not normalized. Fit the aligner on normalized vectors."
        )
        obstacles.append(Obstacle(text))
    if params.multivector_config is not None:
        text = "It is a multivector: each point has many of them. Only points with one vector each can be converted."
        obstacles.append(Obstacle(text))
    if params.datatype == models.Datatype.UINT8:
        obstacles.append(Obstacle("Its vectors are stored as bytes (uint8), which converted vectors do not fit."))
    metric = metric_of(params)
    if metric is not None:
        obstacles += metric_obstacles(job, metric)
    elif job.metric is None:
        obstacles.append(Obstacle(f"It compares by {params.distance.value}. Choose another metric with --metric."))
    return obstacles


def text_obstacles(client: QdrantClient, collection: str, job: Job) -> list[Obstacle]:
    """Return an obstacle where the job names a payload key for texts and no point has a value under it."""
    if job.text_column is None:
        return []
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=job.text_column))
    if client.count(collection, models.Filter(must_not=[empty]), exact=True).count:
        return []
    return [Obstacle(f"No point has a text under the payload key {job.text_column!r}.")]


def vector_params(client: QdrantClient, collection: str, vector: str, *, where: str) -> models.VectorParams:
    """Return the parameters of a vector of a collection.

    Raises:
        InputError: If there is no such vector.
    """
    vectors = client.get_collection(collection).config.params.vectors
    named = vectors if isinstance(vectors, dict) else {"": vectors}
    params = named.get(vector)
    if not isinstance(params, models.VectorParams):
        listed = ", ".join(name or "(unnamed)" for name in named)
        raise InputError(f"{where}: there is no vector {vector or '(unnamed)'!r}. Vectors: {listed}.")
    return params


def vector_names(client: QdrantClient, collection: str) -> set[str]:
    """Return the names of the dense vectors of a collection; the unnamed one is called by the empty string."""
    vectors = client.get_collection(collection).config.params.vectors
    return set(vectors) if isinstance(vectors, dict) else {""}


def add_vector_like(
    client: QdrantClient, collection: str, source: str, target: str, *, dim: int, metric: Similarity | None
) -> None:
    """Add a named vector of a length to a collection, with the parameters of another one.

    Args:
        client: The client.
        collection: The collection.
        source: The vector to resemble.
        target: Name of the new one.
        dim: Length of its vectors.
        metric: How they are compared; as those of the other one when None.
    """
    params = vector_params(client, collection, source, where=collection)
    distance = params.distance if metric is None else DISTANCES[metric]
    dense = models.DenseVectorConfig(size=dim, distance=distance, datatype=params.datatype)
    client.create_vector_name(collection, target, models.DenseVectorNameConfig(dense=dense))
    settings = _known_fields(params, models.VectorParamsDiff)
    if settings:
        client.update_collection(collection, vectors_config={target: models.VectorParamsDiff(**settings)})


def record_of(client: QdrantClient, collection: str) -> dict[str, Any]:
    """Return what the metadata of a collection tells of migrations."""
    record: dict[str, Any] = (client.get_collection(collection).config.metadata or {}).get(PAYLOAD_KEY, {})
    return record


def create_like(
    client: QdrantClient,
    source: str,
    target: str,
    *,
    vector: str,
    params: models.VectorParams,
    metadata: dict[str, Any],
) -> None:
    """Make a collection with the configuration and metadata of another one, but for one vector."""
    config = client.get_collection(source).config
    vectors = config.params.vectors
    named: Any = {**vectors, vector: params} if isinstance(vectors, dict) else params
    client.create_collection(
        target,
        vectors_config=named,
        sparse_vectors_config=config.params.sparse_vectors,
        shard_number=config.params.shard_number,
        sharding_method=config.params.sharding_method,
        replication_factor=config.params.replication_factor,
        write_consistency_factor=config.params.write_consistency_factor,
        on_disk_payload=config.params.on_disk_payload,
        hnsw_config=models.HnswConfigDiff(**_known_fields(config.hnsw_config, models.HnswConfigDiff)),
        optimizers_config=models.OptimizersConfigDiff(
            **_known_fields(config.optimizer_config, models.OptimizersConfigDiff)
        ),
        quantization_config=config.quantization_config,
        metadata={**(config.metadata or {}), PAYLOAD_KEY: metadata},
        **({"strict_mode_config": strict} if (strict := getattr(config, "strict_mode_config", None)) else {}),
    )


def copy_payload_indexes(client: QdrantClient, source: str, target: str) -> None:
    """Give a collection every payload index that another one has, and it has not."""
    present = client.get_collection(target).payload_schema or {}
    for field, schema in (client.get_collection(source).payload_schema or {}).items():
        if field not in present:
            client.create_payload_index(target, field, schema.params or schema.data_type)


def move_alias(client: QdrantClient, alias: str, collection: str) -> None:
    """Point an alias to another collection, in one step."""
    client.update_collection_aliases(
        [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)),
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)),
        ]
    )


def _known_fields(values: Any, kind: Any) -> dict[str, Any]:
    return {name: value for name, value in values.model_dump(exclude_none=True).items() if name in kind.model_fields}
