"""FAISS index files; see `embcompat.stores.files.gallery` for how a file is migrated.

The new index is of the same kind and has the same parameters as the old one. Indexes that keep approximations of their
vectors are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import faiss
import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion
from embcompat.stores.faiss.index import build_like, contents, kind_of, read_index
from embcompat.stores.files.gallery import FileGallery
from embcompat.stores.files.layouts import Contents
from embcompat.stores.url import StoreUrl
from embcompat.stores.values import Job, Obstacle


def open_gallery(address: StoreUrl) -> FileGallery:
    """Open ``faiss:///folder/index.faiss``.

    Raises:
        InputError: If the file is not there or not an index.
    """
    if address.names or address.options:
        raise InputError(f"a FAISS gallery is written faiss:///folder/index.faiss. Got {address.public}.")
    return FileGallery(address.public, address.path, FaissLayout(address.public))


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
        return int(read_index(path).d)

    def space(self, path: Path) -> SpaceVersion | None:  # noqa: ARG002
        """Return None: an index says nothing."""
        return None

    def index_kind(self, held: Contents) -> str | None:
        """Return ``Flat``, ``HNSW`` or ``IVF``."""
        return kind_of(held.whole)

    def read(self, path: Path) -> Contents:
        """Take the vectors out of the index."""
        return contents(read_index(path), where=self._url)

    def texts(self, contents: Contents, column: str) -> None:
        """Return None: the file holds no texts."""

    def keys(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids as numbers."""
        return np.array(list(map(int, ids)), dtype=np.int64)

    def obstacles(self, job: Job, contents: Contents) -> list[Obstacle]:  # noqa: ARG002
        """Refuse a cosine space of vectors that are not normalized."""
        if job.target.similarity != "cosine" or job.target.normalized:
            return []
        text = (
            "FAISS compares by inner product or distance, which is cosine for unit vectors only, but space "
            f"{job.target.id!r} is not normalized. Use an artifact whose target is."
        )
        return [Obstacle(text)]

    def write(
        self, path: Path, like: Contents, places: NDArray[np.intp], vectors: NDArray[np.float32], job: Job
    ) -> None:
        """Build an index of the same kind."""
        faiss.write_index(build_like(like.whole, like.keys[places], vectors, job.target), str(path))
