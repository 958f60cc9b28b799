"""What both ways of migrating a Qdrant collection share; see `embcompat.stores.qdrant.opening` for the addresses."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from qdrant_client import QdrantClient, models

from embcompat.stores.base import GalleryStore
from embcompat.stores.qdrant.configuration import text_obstacles, unconvertible, vector_params
from embcompat.stores.qdrant.draws import draw_ids, look_up_points
from embcompat.stores.qdrant.points import PAGE_ROWS, point_id
from embcompat.stores.values import Job, Obstacle, Rows

_BATCH_BYTES: Final = 4 << 20
_POLL_SECONDS: Final = 0.5
_HALF_TOLERANCE: Final = 2e-3


class QdrantGallery(GalleryStore):
    """A vector of the points of a Qdrant collection.

    Collections that compare by cosine keep unit vectors only, so vectors are read back as directions.

    Args:
        url: Where it is.
        client: A client that raises our errors.
        name: Alias or collection.
        vector: Name of the vector; empty for the unnamed one.

    Attributes:
        url: As given.
        batch_size: Points of one request.
        keeps_norms: Not where vectors are compared by cosine, so it is never promised.
        tolerance: Vectors are stored as float32, or float16 where the collection says so.
    """

    keeps_norms = False
    reads_texts = True
    draws_directly = True

    def __init__(self, url: str, client: QdrantClient, name: str, vector: str = "") -> None:
        self.url = url
        self._client, self._name, self._vector = client, name, vector
        params = self._params(*self._current())
        self.batch_size = max(100, min(PAGE_ROWS, _BATCH_BYTES // (4 * params.size)))
        self.tolerance = _HALF_TOLERANCE if params.datatype == models.Datatype.FLOAT16 else 1e-4

    @abstractmethod
    def _current(self) -> tuple[str, str]:
        """Return the collection and the name of the vector in service."""

    @abstractmethod
    def _old_side(self, job: Job) -> tuple[str, str]:
        """Return the collection and the name of the vector that a job converts."""

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return int(self._params(*self._current()).size)

    def obstacles(self, job: Job) -> list[Obstacle]:
        """Return what keeps the vectors from being converted, or compared as they are."""
        collection, vector = self._old_side(job)
        return [*unconvertible(self._params(collection, vector), job), *text_obstacles(self._client, collection, job)]

    def draw(
        self, _job: Job, count: int | None, *, seed: int, columns: Sequence[str] = (), where: str | None = None
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Choose ids first, and read the vectors of the chosen points alone; ``where`` is a filter as JSON."""
        collection, vector = self._current()
        ids = draw_ids(self._client, collection, vector, count, seed=seed, where=where, url=self.url)
        return look_up_points(self._client, collection, vector, ids, columns=columns, dim=self.dim())

    def look_up(
        self, _job: Job, ids: Sequence[str], *, columns: Sequence[str] = ()
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Retrieve the points with the given ids."""
        collection, vector = self._current()
        return look_up_points(
            self._client, collection, vector, list(map(point_id, ids)), columns=columns, dim=self.dim()
        )

    def index_kind(self) -> str | None:
        """Return HNSW where a server builds one by itself, from its own threshold on."""
        is_server = getattr(self._client, "init_options", {}).get("path") is None
        return "HNSW" if is_server else None

    def close(self) -> None:
        """Close the connection, or let go of the folder."""
        self._client.close()

    def _wait_for_index(self, collection: str) -> None:
        """Wait until the server has built the indexes of a collection."""
        while self._client.get_collection(collection).status != models.CollectionStatus.GREEN:
            time.sleep(_POLL_SECONDS)

    def _params(self, collection: str, vector: str) -> models.VectorParams:
        return vector_params(self._client, collection, vector, where=self.url)
