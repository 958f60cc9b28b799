"""A uniform sample of a collection: ids first, then the vectors of the chosen points; and points by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError
from qdrant_client import QdrantClient, models

from embcompat.errors import InputError
from embcompat.stores.qdrant.points import PointId, pages, retrieve, rows_of, vectors_of
from embcompat.stores.values import Rows

_IDS_PAGE = 10_000


def draw_ids(
    client: QdrantClient, collection: str, vector: str, count: int | None, *, seed: int, where: str | None, url: str
) -> list[PointId]:
    """Return ids of up to ``count`` points with a vector, each with the same chance; no vector is read.

    Args:
        client: The client.
        collection: The collection.
        vector: Name of the vector.
        count: Most points; all when None.
        seed: Seed of the draw.
        where: A filter of Qdrant as JSON, or None.
        url: What to call the gallery in errors.

    Raises:
        InputError: If the filter is none.
    """
    conditions: list[Any] = [models.HasVectorCondition(has_vector=vector)]
    if where is not None:
        conditions.append(_filter(where, url))
    chosen = models.Filter(must=conditions)
    options: dict[str, Any] = {"scroll_filter": chosen, "with_payload": False, "with_vectors": False}
    ids = [point.id for page in pages(client, collection, _IDS_PAGE, **options) for point in page]
    places = np.random.default_rng(seed).permutation(len(ids))[:count]
    return [ids[place] for place in places]


def look_up_points(
    client: QdrantClient, collection: str, vector: str, ids: Sequence[PointId], *, columns: Sequence[str], dim: int
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Read the given points that have a vector, and fields of their payload; None where a point lacks one."""
    options: dict[str, Any] = {"with_payload": list(columns) or False, "with_vectors": [vector] if vector else True}
    points = retrieve(client, collection, ids, **options).values()
    present = [point for point in points if vector in vectors_of(point)]
    if not present:
        return Rows([], np.empty((0, dim), np.float32), np.empty(0, np.int64)), {name: [] for name in columns}
    values: dict[str, Sequence[Any]] = {
        name: [(point.payload or {}).get(name) for point in present] for name in columns
    }
    return rows_of(present, [0] * len(present), vector, None), values


def _filter(text: str, url: str) -> models.Filter:
    try:
        return models.Filter.model_validate_json(text)
    except ValidationError as error:
        example = '{"must": [{"key": "lang", "match": {"value": "en"}}]}'
        raise InputError(f"{url} takes a filter of Qdrant as JSON, for instance {example}. Got {text!r}.") from error
