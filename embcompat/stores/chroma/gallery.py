"""A Chroma collection as a gallery; see `embcompat.stores.collections.gallery`."""

from __future__ import annotations

from typing import Final, final

from embcompat.stores.chroma.collections import ChromaCollections
from embcompat.stores.collections.gallery import CollectionsGallery
from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.values import Job, Obstacle

_DEFAULT_FUNCTION_DIM: Final = 384
"""Length of the vectors of the embedding function that Chroma notes where an application names none."""


@final
class ChromaGallery(CollectionsGallery):
    """A Chroma collection; see `GalleryStore`."""

    def __init__(self, url: str, collections: ChromaCollections, name: str) -> None:
        super().__init__(url, collections, name)
        self._chroma = collections

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what Chroma cannot do for the new space."""
        configuration = self._chroma.configuration(self._name)
        metric = self._chroma.metric(self._name)
        obstacles = self._embedding_function(configuration.get("embedding_function"))
        if metric is None:
            return [*obstacles, Obstacle("Its index is not HNSW, so it cannot be made again.")]
        return [*obstacles, *metric_obstacles(job, metric)]

    def notes(self, job: Job) -> list[str]:  # noqa: ARG002
        """Say what a process sees that holds a collection in its hands."""
        return [
            "A process that opened the collection before the cutover goes on reading and writing the old one: restart "
            "applications right after it. For some milliseconds, there is no collection of this name."
        ]

    def _embedding_function(self, function: dict[str, object] | None) -> list[Obstacle]:
        name = (function or {}).get("name")
        if name is None or (name == "default" and self.dim() != _DEFAULT_FUNCTION_DIM):
            return []
        text = (
            f"The embedding function {name!r} is noted in the collection, and the new one keeps it. After the cutover "
            "it would embed texts with the old model. Accept this only if the application embeds with the new model "
            "itself, or passes another embedding function, from the cutover on."
        )
        return [Obstacle(text, acceptable=True)]
