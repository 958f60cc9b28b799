"""A Lance table with other writers: its newest version, commits to it, and its indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.spaces import Similarity
from embcompat.stores.lancedb.columns import family, quoted
from embcompat.stores.lancedb.commits import commit
from embcompat.stores.lancedb.indexes import METRICS, SIMILARITIES, bring_up_to_date, vector_index
from embcompat.stores.lancedb.rows import LanceKeys
from embcompat.stores.lancedb.writes import write_side

_UNINDEXED_SHARE = 0.1
"""Share of the rows that may be written before the indexes in service are brought up to date [ours]."""

_Result = TypeVar("_Result")


@final
class LanceTable:
    """A table by its name.

    Attributes:
        url: Where it is, for errors.
        unindexed: Rows written since the indexes were brought up to date.
    """

    def __init__(self, url: str, database: Any, name: str) -> None:
        self.url, self.unindexed = url, 0
        self._database, self._name = database, name

    def latest(self) -> Any:
        """Open the newest version."""
        return self._database.open_table(self._name)

    def commit(self, change: Callable[[Any], _Result]) -> _Result:
        """Make a change to the newest version, again where another writer was faster; see `commits.commit`."""
        return commit(self.latest, change, where=self.url)

    def write(
        self,
        keys: LanceKeys,
        side: str,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        values: dict[str, pa.Array],
        *,
        where: str,
        ahead: pa.RecordBatch | None = None,
    ) -> int:
        """Write one side of rows; see `writes.write_side`. The indexes in service are kept up at intervals."""

        def write(_table: Any) -> int:
            return write_side(self.latest, keys, side, ids, vectors, values, where=where, ahead=ahead)

        written = self.commit(write)
        self.unindexed += written
        if self.unindexed > _UNINDEXED_SHARE * self.latest().count_rows():
            self.update_indexes()
        return written

    def build_index_like(self, source: str, target: str, dim: int, metric: Similarity | None) -> None:
        """Give a vector column of a length an index like another one's, comparing by ``metric`` where it is given."""
        table = self.latest()
        index, present = vector_index(table, source), vector_index(table, target)
        if index is None or not table.count_rows(f"{quoted(target)} IS NOT NULL"):
            return
        if present is None or present.unindexed:
            comparison = (present or index).metric if metric is None else METRICS[metric]
            options = {"config": index.config(dim, comparison), "name": f"{target}_idx", "replace": True}
            self.commit(lambda table: table.create_index(target, **options))
        self.update_indexes()

    def index_kind(self, column: str) -> str | None:
        """Return the kind of a vector column's index; None where there is none."""
        table = self.latest()
        index = vector_index(table, column)
        return None if index is None else str(table.index_stats(index.name).index_type)

    def metric(self, column: str) -> Similarity | None:
        """Return the metric of a vector column's index; None where there is none."""
        index = vector_index(self.latest(), column)
        return None if index is None else SIMILARITIES[index.metric]

    def update_indexes(self) -> None:
        """Put all rows into the indexes."""
        if self.latest().list_indices():
            bring_up_to_date(self.latest)
        self.unindexed = 0

    def clear(self, column: str, where: str) -> None:
        """Set a vector column and its provenance to NULL in some rows."""
        values = dict.fromkeys(family(column))
        self.commit(lambda table: table.update(where=where, values=values))

    def drop(self, column: str) -> None:
        """Drop a vector column and its provenance in one commit."""
        names = self.family(column)
        self.commit(lambda table: table.drop_columns(names))

    def family(self, column: str) -> list[str]:
        """Return which columns are there of a vector column and its provenance."""
        return [name for name in self.latest().schema.names if name in family(column)]

    def metadata(self, column: str) -> dict[bytes, bytes]:
        """Return the metadata of a column."""
        return self.latest().schema.field(column).metadata or {}
