"""A vector column of a vec0 table as a gallery; see `embcompat.stores.collections.gallery`."""

from __future__ import annotations

from typing import final

from embcompat.stores.collections.gallery import CollectionsGallery
from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.sqlite.definition import METRICS
from embcompat.stores.sqlite.tables import SqliteTables
from embcompat.stores.values import Job, Obstacle


@final
class SqliteGallery(CollectionsGallery):
    """A vector column of a vec0 table; see `GalleryStore`."""

    def __init__(self, url: str, tables: SqliteTables, table: str, column: str) -> None:
        super().__init__(url, tables, table, column)
        self._tables = tables

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what a vec0 table cannot do for the new space."""
        definition = self._tables.definition(self._name)
        obstacles = []
        if job.text_column is not None and job.text_column.lower() not in map(str.lower, definition.others):
            listed = ", ".join(definition.others) or "none"
            obstacles.append(Obstacle(f"There is no column {job.text_column!r}. Other columns: {listed}."))
        metric = self._tables.metric(self._name)
        if job.metric is not None and job.metric not in METRICS:
            obstacles.append(Obstacle(f"vec0 tables compare by {' or '.join(METRICS)}, not by {job.metric}."))
        elif metric is not None:
            obstacles += metric_obstacles(job, metric)
        elif job.metric is None:
            text = f"It compares by {definition.metric.upper()}, which no space uses. Choose --metric."
            obstacles.append(Obstacle(text))
        return obstacles
