"""Properties of a Lance table that a migration cannot handle or cannot keep."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from embcompat.stores.lancedb.indexes import SIMILARITIES, VectorIndex
from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.values import Job, Obstacle


def obstacles_of(schema: pa.Schema, column: str, index: VectorIndex | None, job: Job) -> list[Obstacle]:
    """List what a migration of a vector column cannot do or cannot keep.

    Args:
        schema: The table's schema.
        column: The column in service.
        index: Its index, if it has one.
        job: The job.
    """
    return [*_texts(schema, job), *_embedding_functions(schema, column), *_index(index, job)]


def notes_of(column: str, job: Job) -> list[str]:
    """Say which clients see both columns of vectors, where a query cannot tell these apart by their length.

    Args:
        column: The column in service.
        job: The job.
    """
    if job.source.dim != job.target.dim:
        return []
    return [
        "The old and the new vectors are equally long. From run to drop-old, queries of LanceDB's asynchronous Python "
        f"API and of its Rust and JavaScript clients must name the column ({column!r}), because they see both."
    ]


def _texts(schema: pa.Schema, job: Job) -> list[Obstacle]:
    if job.text_column is None:
        return []
    if job.text_column not in schema.names:
        return [Obstacle(f"There is no column {job.text_column!r}. Columns: {', '.join(schema.names)}.")]
    kind = schema.field(job.text_column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return []
    return [Obstacle(f"Column {job.text_column!r} must hold texts. Its type is {kind}.")]


def _embedding_functions(schema: pa.Schema, column: str) -> list[Obstacle]:
    functions: list[dict[str, Any]] = json.loads((schema.metadata or {}).get(b"embedding_functions", b"[]"))
    return [
        Obstacle(
            f"The embedding function {function['name']!r} ({json.dumps(function.get('model', {}))}) is registered for "
            f"column {column!r}, and LanceDB cannot replace it in an existing table. After the cutover it would go on "
            "embedding text queries, and texts that are added, with the old model. Accept this only if the "
            "application embeds with the new model itself from the cutover on.",
            acceptable=True,
        )
        for function in functions
        if function.get("vector_column") == column
    ]


def _index(index: VectorIndex | None, job: Job) -> list[Obstacle]:
    if index is None:
        return []
    if not index.is_known:
        return [Obstacle(f"The index {index.name!r} is of kind {index.kind}, which cannot be built again. Drop it.")]
    return metric_obstacles(job, SIMILARITIES[index.metric])
