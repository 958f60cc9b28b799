"""Points of a Qdrant collection: their ids, vectors, payload, and what tells that one changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models

from embcompat.errors import InputError, StoreError
from embcompat.spaces import Similarity
from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.values import Job, Obstacle, Rows

DISTANCES: Final[dict[Similarity, models.Distance]] = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "euclidean": models.Distance.EUCLID,
}
PAYLOAD_KEY: Final = "embcompat"
PAGE_ROWS: Final = 1_000

PointId = int | str | UUID
Point = models.Record
Change = Callable[[Point], tuple[dict[str, Any], dict[str, Any]] | None]
"""Gives vectors by name and payload that a point gets, or None to leave it as it is."""


def point_id(text: str) -> PointId:
    """Return the id of a point from its text.

    Example:
        >>> point_id("7"), point_id("00000000-0000-0000-0000-000000000007")
        (7, '00000000-0000-0000-0000-000000000007')
    """
    if text.isdecimal():
        return int(text)
    try:
        return str(UUID(text))
    except ValueError as error:
        raise StoreError(f"a Qdrant id is a number or a UUID. Got {text!r}.") from error


def vectors_of(point: Point) -> dict[str, Any]:
    """Return the vectors of a point by name; the unnamed one is called by the empty string."""
    if point.vector is None:
        return {}
    return dict(point.vector) if isinstance(point.vector, dict) else {"": point.vector}


def payload_of(point: Point) -> dict[str, Any]:
    """Return the payload of a point without what we wrote there."""
    return {key: value for key, value in (point.payload or {}).items() if key != PAYLOAD_KEY}


def provenance_of(point: Point) -> dict[str, Any]:
    """Return what we wrote in the payload of a point."""
    known = (point.payload or {}).get(PAYLOAD_KEY)
    return known if isinstance(known, dict) else {}


def rest_digest(point: Point, vector: str) -> str:
    """Return a digest of everything of a point but one vector: its payload and its other vectors."""
    others = {
        name: value.model_dump() if isinstance(value, models.SparseVector) else value
        for name, value in vectors_of(point).items()
        if name != vector
    }
    text = json.dumps([payload_of(point), others], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


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
    similarities = {distance: similarity for similarity, distance in DISTANCES.items()}
    if params.distance in similarities:
        obstacles += metric_obstacles(job, similarities[params.distance])
    elif job.metric is None:
        obstacles.append(Obstacle(f"It compares by {params.distance.value}. Choose another metric with --metric."))
    return obstacles


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


def rows_of(points: Sequence[Point], recorded: Sequence[int], vector: str, text: str | None) -> Rows:
    """Return points that all have a vector as rows, with the texts under a payload key where one is named."""
    vectors = np.array([vectors_of(point)[vector] for point in points], dtype=np.float32)
    texts = None if text is None else [text_of(point, text) for point in points]
    return Rows([str(point.id) for point in points], vectors, np.array(recorded, dtype=np.int64), texts)


def text_of(point: Point, key: str) -> str:
    """Return the text under a payload key; empty where there is none."""
    text = (point.payload or {}).get(key)
    return text if isinstance(text, str) else ""


def text_obstacles(client: QdrantClient, collection: str, job: Job) -> list[Obstacle]:
    """Return an obstacle where the job names a payload key for texts and no point has a value under it."""
    if job.text_column is None:
        return []
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=job.text_column))
    if client.count(collection, models.Filter(must_not=[empty]), exact=True).count:
        return []
    return [Obstacle(f"No point has a text under the payload key {job.text_column!r}.")]


def recorded_digest(point: Point, provenance: dict[str, Any], vector: str) -> int:
    """Return the digest on record for a source point; 0 too where anything else of the point changed."""
    return int(provenance.get("source", 0)) if provenance.get("rest") == rest_digest(point, vector) else 0


def record_of(client: QdrantClient, collection: str) -> dict[str, Any]:
    """Return what the metadata of a collection tells of migrations."""
    record: dict[str, Any] = (client.get_collection(collection).config.metadata or {}).get(PAYLOAD_KEY, {})
    return record


def pages(client: QdrantClient, collection: str, size: int, **options: Any) -> Iterator[list[Point]]:
    """Scroll through a collection in the order of the ids."""
    offset: Any = None
    while True:
        points, offset = client.scroll(collection, limit=size, offset=offset, **options)
        if points:
            yield points
        if offset is None:
            return


def retrieve(client: QdrantClient, collection: str, ids: Sequence[PointId], **options: Any) -> dict[PointId, Point]:
    """Look points up by id; those that are not there are left out."""
    found: dict[PointId, Point] = {}
    for start in range(0, len(ids), PAGE_ROWS):
        for point in client.retrieve(collection, list(ids[start : start + PAGE_ROWS]), **options):
            found[point.id if isinstance(point.id, int) else str(point.id)] = point
    return found


def copy_points(
    client: QdrantClient,
    ids: Sequence[PointId],
    *,
    source: str,
    target: str,
    change: Change,
) -> int:
    """Upsert points of one collection into another one; those that are gone are left out.

    Args:
        client: The client.
        ids: Which points.
        source: Where they are read, with all vectors and payload.
        target: Where they are written.
        change: What is written.

    Returns:
        Points written.
    """
    found = retrieve(client, source, ids, with_payload=True, with_vectors=True)
    points = []
    for point in found.values():
        if (changed := change(point)) is None:
            continue
        vectors, payload = changed
        shape: Any = vectors[""] if set(vectors) == {""} else vectors
        points.append(models.PointStruct(id=point.id, vector=shape, payload=payload))
    if points:
        client.upsert(target, points, wait=True)
    return len(points)


def create_like(
    client: QdrantClient,
    source: str,
    target: str,
    *,
    vector: str,
    params: models.VectorParams,
    metadata: dict[str, Any],
) -> None:
    """Make a collection with the configuration, payload indexes and metadata of another one, but for one vector."""
    info = client.get_collection(source)
    config = info.config
    old = config.params.vectors
    named: Any = {**old, vector: params} if isinstance(old, dict) else params
    client.create_collection(
        target,
        vectors_config=named,
        sparse_vectors_config=config.params.sparse_vectors,
        shard_number=config.params.shard_number,
        sharding_method=config.params.sharding_method,
        replication_factor=config.params.replication_factor,
        write_consistency_factor=config.params.write_consistency_factor,
        on_disk_payload=config.params.on_disk_payload,
        hnsw_config=models.HnswConfigDiff(**_given(config.hnsw_config, models.HnswConfigDiff)),
        optimizers_config=models.OptimizersConfigDiff(**_given(config.optimizer_config, models.OptimizersConfigDiff)),
        quantization_config=config.quantization_config,
        metadata={**(config.metadata or {}), PAYLOAD_KEY: metadata},
        **({"strict_mode_config": strict} if (strict := getattr(config, "strict_mode_config", None)) else {}),
    )
    for field, schema in (info.payload_schema or {}).items():
        client.create_payload_index(target, field, schema.params or schema.data_type)


def move_alias(client: QdrantClient, alias: str, collection: str) -> None:
    """Point an alias to another collection, in one step."""
    client.update_collection_aliases(
        [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)),
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)),
        ]
    )


def _given(values: Any, kind: Any) -> dict[str, Any]:
    return {name: value for name, value in values.model_dump(exclude_none=True).items() if name in kind.model_fields}
