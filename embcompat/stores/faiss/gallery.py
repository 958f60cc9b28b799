"""FAISS index files; see `embcompat.stores.files.gallery` for how a file is migrated.

The new index is of the same kind and has the same metric and parameters as the old one. Indexes that keep only
approximations of their vectors are refused. A folder stands for its ``index.faiss``, as LangChain saves it; ids are
positions there, so the docstore beside it stays right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import faiss
import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError, StoreError
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.faiss.index import (
    METRICS,
    build_like,
    contents,
    empty_like,
    kind_of,
    layers_of,
    metric_of,
    read_index,
)
from embcompat.stores.files.gallery import FileGallery
from embcompat.stores.files.layouts import Contents
from embcompat.stores.metrics import kept_metric, metric_obstacles
from embcompat.stores.url import StoreUrl
from embcompat.stores.values import Job, Obstacle


def open_gallery(address: StoreUrl) -> FileGallery:
    """Open ``faiss:///folder/index.faiss``, or ``faiss:///folder`` where that holds an ``index.faiss``.

    Raises:
        InputError: If the file is not there or not an index.
    """
    if address.names or address.options:
        raise InputError(
            f"the address of a FAISS gallery has the form faiss:///folder/index.faiss. Got {address.public}."
        )
    path = address.path
    if path.is_dir():
        path = path / "index.faiss"
    return FileGallery(address.public, path, FaissLayout(address.public))


@final
class FaissLayout:
    """FAISS index files; see `embcompat.stores.files.layouts.FileLayout`.

    Args:
        url: What to call the gallery in errors.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def dim(self, path: Path) -> int:
        """Return the length of the vectors."""
        return int(read_index(path, mapped=True).d)

    def space(self, path: Path) -> SpaceVersion | None:  # noqa: ARG002
        """Return None: an index says nothing."""
        return None

    def index_kind(self, contents: Contents) -> str | None:
        """Return ``Flat``, ``HNSW`` or ``IVF``."""
        return kind_of(contents.whole)

    def metric(self, path: Path, job: Job) -> Similarity | None:
        """Return the metric of an index: cosine and dot product are the same one to FAISS."""
        current = metric_of(read_index(path, mapped=True))
        same = job.metric is not None and current is not None and METRICS[job.metric] == METRICS[current]
        return job.metric if same else current

    def read(self, path: Path, *, mapped: bool = False) -> Contents:
        """Take the vectors out of the index."""
        return contents(read_index(path, mapped=mapped), where=self._url)

    def texts(self, contents: Contents, column: str) -> None:
        """Return None: the file holds no texts."""

    def keys(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids as numbers."""
        return np.fromiter(map(int, ids), dtype=np.int64, count=len(ids))

    def obstacles(self, job: Job, contents: Contents) -> list[Obstacle]:
        """List what an index of this kind and metric cannot hold of the new space."""
        index, target = contents.whole, job.target
        normalizes = "L2norm" in layers_of(index).wrappers
        obstacles = []
        if normalizes and not job.source.normalized:
            text = f"The index keeps unit vectors only, but vectors of space {job.source.id!r} are not normalized."
            obstacles.append(Obstacle(f"{text} Fit the aligner on normalized vectors."))
        if target.similarity == "cosine" and not target.normalized and not normalizes:
            text = (
                f"FAISS compares by cosine only where vectors are normalized, and those of space {target.id!r} are not."
            )
            return [
                *obstacles,
                Obstacle(f"{text} Use an artifact whose target is, or an index that begins with L2norm."),
            ]
        metric = metric_of(index)
        if metric is None and job.metric is None:
            text = "The index has a metric that no space uses."
            return [*obstacles, Obstacle(f"{text} Pass --metric {target.similarity} to change it.")]
        if metric is not None and not normalizes:
            obstacles += metric_obstacles(job, metric)
        try:
            empty_like(index, target.dim, self._metric(index, job), rows=len(contents.keys))
        except RuntimeError as error:
            text = f"There is no index of this kind for vectors of length {target.dim}: {str(error).splitlines()[-1]}"
            obstacles.append(Obstacle(text))
        return obstacles

    def write(
        self, path: Path, like: Contents, places: NDArray[np.intp], vectors: NDArray[np.float32], job: Job
    ) -> None:
        """Build an index of the same kind and metric.

        Raises:
            StoreError: If it cannot be written, for instance because the disk is full.
        """
        index = build_like(like.whole, like.keys[places], vectors, self._metric(like.whole, job))
        try:
            faiss.write_index(index, str(path))
        except RuntimeError as error:
            raise StoreError(f"{self._url}: the new index cannot be written. {str(error).splitlines()[-1]}") from error

    def _metric(self, index: Any, job: Job) -> Similarity:
        return kept_metric(job, metric_of(index) or job.target.similarity)
