"""What a migration of an index cannot do, or cannot keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.opensearch.connection import RequestError
from embcompat.stores.opensearch.creating import template_sentence
from embcompat.stores.opensearch.indexes import Indexes
from embcompat.stores.opensearch.mappings import VectorField, fields_of
from embcompat.stores.values import Job, Obstacle

_EMBEDDING: Final = ("inference", "ml_inference", "text_embedding", "text_image_embedding", "text_chunking")
"""Processors of ingest pipelines that may make vectors."""


def obstacles(indexes: Indexes, name: str, job: Job, *, target: str) -> list[Obstacle]:
    """List what hinders a job on the index in service.

    Args:
        indexes: The indexes of the server.
        name: The alias, or the index.
        job: The job.
        target: Name of the new index.
    """
    index, field = indexes.index(name), indexes.field(name)
    return [
        *_of_the_alias(indexes, name, target),
        *_of_settings(indexes, index["settings"], field),
        *_of_the_source(indexes, name, index["mappings"]),
        *_of_pipelines(indexes, index["settings"]),
        *_of_fields(index["mappings"], job),
        *_of_the_metric(field, job),
    ]


def _of_the_alias(indexes: Indexes, name: str, target: str) -> Iterator[Obstacle]:
    if indexes.own_name(name) == name:
        yield Obstacle(
            f"{name!r} is an index, and an alias can take its name only when the index is deleted: then there is no "
            "way back. Make an alias for the index, let applications use it, and name it here."
        )
    if not indexes.exists(target) and (aliases := indexes.template_aliases(target)):
        yield Obstacle(template_sentence(target, aliases))


def _of_settings(indexes: Indexes, settings: Mapping[str, Any], field: VectorField) -> Iterator[Obstacle]:
    blocks = [name for name, value in settings.items() if name.startswith("index.blocks.") and value == "true"]
    if blocks:
        yield Obstacle(f"It is blocked ({', '.join(blocks)}), and an index like it takes no documents. Lift the block.")
    if field.definition.get("method", {}).get("engine") == "nmslib" and indexes.version >= (3, 0):
        yield Obstacle(
            "It was made with the engine nmslib, with which OpenSearch 3 makes no index. The new one gets faiss.",
            acceptable=True,
        )


def _of_the_source(indexes: Indexes, name: str, mappings: Mapping[str, Any]) -> Iterator[Obstacle]:
    source = mappings.get("_source", {})
    if source.get("enabled") is False or source.get("excludes") or source.get("includes"):
        yield Obstacle("Its documents are not stored whole (_source), so they cannot be copied.")
    elif (first := next(indexes.ids(name), [])[:1]) and not indexes.read(name, first):
        yield Obstacle("The server does not give the vectors of its documents (_source), so they cannot be converted.")


def _of_pipelines(indexes: Indexes, settings: Mapping[str, Any]) -> Iterator[Obstacle]:
    final = settings.get("index.final_pipeline", "_none")
    if final != "_none":
        yield Obstacle(
            f"The final ingest pipeline {final!r} runs over copies of documents, too, because no request can leave it "
            "out. If it changes documents that have passed it before, set index.final_pipeline to _none for the "
            "duration of the migration.",
            acceptable=True,
        )
    default = settings.get("index.default_pipeline", "_none")
    if default != "_none":
        yield from _of_the_default_pipeline(indexes, default)
    search = settings.get("index.search.default_pipeline", "_none")
    if search != "_none":
        yield Obstacle(
            f"The default search pipeline {search!r} stays. If it embeds queries, change its model at the cutover.",
            acceptable=True,
        )


def _of_the_default_pipeline(indexes: Indexes, name: str) -> Iterator[Obstacle]:
    try:
        makers = sorted(set(_processors(indexes.pipeline(name))) & set(_EMBEDDING))
    except RequestError as error:
        if error.status != 403:
            raise
        makers = ["this user may not read it"]
    if makers:
        yield Obstacle(
            f"The default ingest pipeline {name!r} may embed documents ({', '.join(makers)}). Copies do not pass it, "
            "but after the cutover it still makes vectors of the old model. Change its model at the cutover.",
            acceptable=True,
        )


def _of_fields(mappings: Mapping[str, Any], job: Job) -> Iterator[Obstacle]:
    semantic = fields_of(mappings, "semantic_text", "semantic")
    if semantic:
        yield Obstacle(
            f"The server embeds the field {', '.join(semantic)} of each copy again, which takes time, "
            "and may cost money.",
            acceptable=True,
        )
    names = {name for name, _ in _leaves(mappings)}
    if job.text_column is not None and job.text_column not in names:
        yield Obstacle(f"There is no field {job.text_column!r}. Fields: {', '.join(sorted(names))}.")


def _of_the_metric(field: VectorField, job: Job) -> Iterator[Obstacle]:
    if field.metric is None:
        return
    if field.similarity is None:
        if job.metric is None:
            yield Obstacle(f"It compares by {field.metric}. Pass --metric to choose another metric for the new index.")
        return
    yield from metric_obstacles(job, field.similarity)
    if field.metric == "dot_product" and job.metric is None and not job.target.normalized:
        yield Obstacle(
            "It compares by dot_product, which takes unit vectors only, and those of the new space have other lengths. "
            "Pass --metric dot to compare by max_inner_product: the order is the same, the scores are not."
        )


def _leaves(mappings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, definition in mappings.get("properties", {}).items():
        yield prefix + name, definition
        yield from _leaves(definition, f"{prefix}{name}.")


def _processors(pipeline: Mapping[str, Any]) -> Iterator[str]:
    """Return the names of the processors of a pipeline, those inside others too."""
    for entry in pipeline.get("processors", []):
        for name, options in entry.items():
            yield name
            if isinstance(options, dict):
                inner = [*options.get("on_failure", []), *([options["processor"]] if "processor" in options else [])]
                yield from _processors({"processors": inner})
