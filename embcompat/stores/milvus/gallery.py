"""A Milvus collection behind an alias as a gallery; see `embcompat.stores.collections.gallery`."""

from __future__ import annotations

from typing import final

from embcompat.stores.collections.gallery import CollectionsGallery
from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.milvus.collections import MilvusCollections
from embcompat.stores.values import Job, Obstacle


@final
class MilvusGallery(CollectionsGallery):
    """A vector field of a Milvus collection behind an alias; see `GalleryStore`."""

    def __init__(self, url: str, collections: MilvusCollections, alias: str, vector: str) -> None:
        super().__init__(url, collections, alias, vector)
        self._milvus = collections

    def obstacles(self, job: Job) -> list[Obstacle]:
        """List what Milvus cannot copy, or cannot do for the new space."""
        description, metric = self._milvus.description(self._name), self._milvus.metric(self._name)
        obstacles = []
        if description["auto_id"]:
            text = "Milvus makes its keys (auto_id), so copies of records would get others."
            obstacles.append(Obstacle(text))
        if description.get("functions"):
            obstacles.append(Obstacle("It computes fields by functions, such as BM25, which are not copied."))
        if description.get("struct_array_fields"):
            obstacles.append(Obstacle("It has arrays of structs, which are not copied."))
        vectors = [
            field["name"] for field in description["fields"] if "dim" in field["params"] and field.get("nullable")
        ]
        if self._vector in vectors:
            text = "may be NULL (nullable), and a record without a vector cannot be converted"
            obstacles.append(Obstacle(f"Field {self._vector!r} {text}. Use a field that is not nullable."))
        elif vectors and self._milvus.lite:
            names = ", ".join(vectors)
            text = f"Vectors of {names} may be NULL, which Milvus Lite reads as zeros. Copies would differ."
            obstacles.append(Obstacle(text))
        fields = [field["name"] for field in description["fields"]]
        if job.text_column is not None and not description["enable_dynamic_field"] and job.text_column not in fields:
            obstacles.append(Obstacle(f"There is no field {job.text_column!r}. Fields: {', '.join(fields)}."))
        if metric is None:
            obstacles.append(Obstacle(f"Field {self._vector!r} has no index. Milvus needs one to serve queries."))
        else:
            obstacles += metric_obstacles(job, metric)
        return obstacles

    def _target(self, job: Job) -> str:
        """Return the name of a collection beside the one that the alias points to."""
        return f"{self._milvus.own_name(self._name)}__{self._prefix}{job.suffix}"

    def _old(self, job: Job) -> str:  # noqa: ARG002
        """Return the collection that the one in service was made from."""
        vectors = self._milvus.memo(self._name).get("vectors", {})
        return str(vectors.get(self._vector, {}).get("source", ""))
