"""Indexes of a Lance table: their settings, building one like another, and keeping them up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any, Final

import lancedb
import lancedb.index
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.spaces import Similarity
from embcompat.stores.growth import IndexEstimate, extrapolate, time_builds
from embcompat.stores.lancedb.columns import quoted, storage_type, to_column
from embcompat.stores.lancedb.commits import is_conflict

METRICS: Final[dict[Similarity, str]] = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}

SIMILARITIES: Final = {metric: similarity for similarity, metric in METRICS.items()}

_VECTOR_KINDS: Final = ("IvfFlat", "IvfPq", "IvfSq", "IvfRq", "IvfHnswFlat", "IvfHnswPq", "IvfHnswSq")
_SCALAR_KINDS: Final = {"BTree": "BTree", "Bitmap": "Bitmap", "LabelList": "LabelList"}
_TEXT_OPTIONS: Final = (
    "base_tokenizer",
    "language",
    "with_position",
    "max_token_length",
    "lower_case",
    "stem",
    "remove_stop_words",
    "ascii_folding",
    "prefix_only",
)
_TRAINING_ROWS: Final = 256
"""Rows that a product quantization needs at least."""

_OPTIMIZE_ATTEMPTS: Final = 3
_KEEP_ALL_VERSIONS: Final = timedelta(days=36_500)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VectorIndex:
    """The index of a vector column.

    Attributes:
        name: Its name.
        kind: Its class in ``lancedb.index`` ("IvfPq").
        metric: How it compares ("l2", "cosine", "dot").
        details: What Lance tells of its parameters.
        unindexed: Rows that it does not hold yet.
    """

    name: str
    kind: str
    metric: str
    details: dict[str, Any]
    unindexed: int

    @property
    def is_known(self) -> bool:
        """Whether one like it can be built."""
        return self.kind in _VECTOR_KINDS

    def config(self, dim: int, metric: str) -> Any:
        """Return what builds an index like this one on vectors of a length.

        The number of partitions is not on record; LanceDB derives it from the number of rows. The number of
        sub-vectors of a product quantization is kept where it divides the length.
        """
        options: dict[str, Any] = {"distance_type": metric}
        compression, graph = self.details.get("compression", {}), self.details.get("hnsw", {})
        if compression.get("type") in ("pq", "rq"):
            options["num_bits"] = compression["num_bits"]
        if "num_sub_vectors" in compression and dim % compression["num_sub_vectors"] == 0:
            options["num_sub_vectors"] = compression["num_sub_vectors"]
        if graph:
            options |= {"m": graph["max_connections"], "ef_construction": graph["construction_ef"]}
        return getattr(lancedb.index, self.kind)(**options)


def vector_index(table: Any, column: str) -> VectorIndex | None:
    """Return the index of a vector column, or None."""
    for index in table.list_indices():
        if index.columns == [column]:
            stats = table.index_stats(index.name)
            details = index.index_details or {}
            return VectorIndex(
                index.name, index.index_type, stats.distance_type or "l2", details, stats.num_unindexed_rows
            )
    return None


def bring_up_to_date(open_table: Callable[[], Any]) -> None:
    """Put rows that were written since into every index of a table.

    `optimize` does it in small steps, but it also compacts, and steady deletes and updates are faster than that. Then
    each index is built anew, which no other writer hinders. Old versions of the table stay.
    """
    for _ in range(_OPTIMIZE_ATTEMPTS):
        try:
            open_table().optimize(cleanup_older_than=_KEEP_ALL_VERSIONS)
            return
        except RuntimeError as error:
            if not is_conflict(error):
                raise
    table = open_table()
    for index in table.list_indices():
        if len(index.columns) == 1 and index.num_unindexed_rows and (config := _config_like(table, index)) is not None:
            try:
                table.create_index(index.columns[0], config=config, name=index.name, replace=True)
            except RuntimeError as error:  # rows that no index holds are still searched, only slower
                _LOG.warning("index %s was not brought up to date: %s", index.name, error)


def _config_like(table: Any, index: Any) -> Any:
    """Return what builds an index anew as it is; None where its parameters are not on record."""
    details = index.index_details or {}
    if index.index_type in _SCALAR_KINDS:
        return getattr(lancedb.index, _SCALAR_KINDS[index.index_type])()
    if index.index_type == "FTS":
        options = {name: details[name] for name in _TEXT_OPTIONS if name in details}
        grams = {f"ngram_{end}_length": details[f"{end}_ngram_length"] for end in ("min", "max") if details}
        return lancedb.index.FTS(**options, **grams) if details and not details.get("custom_stop_words") else None
    vectors = vector_index(table, index.columns[0])
    if vectors is None or not vectors.is_known:
        return None
    return vectors.config(storage_type(table.schema.field(index.columns[0]).type).list_size, vectors.metric)


def estimate_indexes(
    table: Any, column: str, vectors: NDArray[np.float32], metric: Similarity | None
) -> list[IndexEstimate]:
    """Estimate what an index like a column's takes over other vectors, from builds in a temporary folder.

    Args:
        table: The table.
        column: The vector column.
        vectors: Array (n, target_dim).
        metric: How the new index compares; as the old one where None.
    """
    index = vector_index(table, column)
    if index is None:
        return []
    rows = table.count_rows(f"{quoted(column)} IS NOT NULL")
    kind = pa.list_(storage_type(table.schema.field(column).type).value_type, vectors.shape[1])
    data = pa.table({"vector": to_column(vectors, kind)})
    config = index.config(vectors.shape[1], index.metric if metric is None else METRICS[metric])
    with TemporaryDirectory() as folder:
        database = lancedb.connect(folder)

        def build(count: int) -> float:
            trial = database.create_table(f"trial{count}", data.slice(0, count))
            start = time.perf_counter()
            trial.create_index("vector", config=config)
            return time.perf_counter() - start

        try:
            samples = time_builds(build, len(vectors), least=_TRAINING_ROWS)
        except Exception as error:  # lancedb has no class of its own
            return [IndexEstimate(index.kind, rows, remark=f"LanceDB refused to build it over a sample: {error}")]
    return [extrapolate(index.kind, samples, rows)]
