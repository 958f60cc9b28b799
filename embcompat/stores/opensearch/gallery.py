"""An index behind an alias as a gallery; see `embcompat.stores.collections.gallery`."""

from __future__ import annotations

import hashlib
import re
from typing import Final, final

from embcompat.stores.collections.gallery import CollectionsGallery
from embcompat.stores.opensearch.indexes import Indexes
from embcompat.stores.opensearch.obstacles import obstacles
from embcompat.stores.values import Job, Obstacle

_PLAIN: Final = re.compile(r"[a-z0-9_.-]+")
_LONGEST: Final = 180
"""Letters of an index whose name goes on in that of another one [ours]; a name has 255 bytes at most."""


@final
class IndexGallery(CollectionsGallery):
    """A vector field of an index of OpenSearch or Elasticsearch; see `GalleryStore`."""

    def __init__(self, url: str, indexes: Indexes, name: str, vector: str) -> None:
        super().__init__(url, indexes, name, vector)
        self._indexes = indexes
        self.keeps_norms = indexes.field(name).similarity != "cosine"  # some servers store unit vectors then

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what cannot be copied, or cannot be done for the new space."""
        return obstacles(self._indexes, self._name, job, target=self._target(job))

    def _resume(self, job: Job) -> None:
        """Note what the target is, and add fields that the application has added since."""
        super()._resume(job)
        self._indexes.add_fields(self._name, self._target(job))

    def _target(self, job: Job) -> str:
        """Return the name of an index beside the one in service."""
        return f"{_short(self._indexes.own_name(self._name))}__{_short(self._vector)}__{job.suffix}"

    def _old(self, job: Job) -> str:  # noqa: ARG002
        """Return the index that the one in service was made from."""
        vectors = self._indexes.memo(self._name).get("vectors", {})
        return str(vectors.get(self._vector, {}).get("source", ""))


def _short(name: str) -> str:
    """Return a name as a part of the name of an index, which has small letters and few signs."""
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST:
        return name
    return hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
