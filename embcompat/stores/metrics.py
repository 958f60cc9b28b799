"""The metric of a gallery: a migration keeps it wherever the new space allows that."""

from __future__ import annotations

from embcompat.spaces import Similarity
from embcompat.stores.values import Job, Obstacle


def kept_metric(job: Job, current: Similarity) -> Similarity:
    """Return the metric of the target side: the one that the user chose, or the one in service.

    Args:
        job: The job.
        current: The metric in service.
    """
    return job.metric or current


def metric_obstacles(job: Job, current: Similarity) -> list[Obstacle]:
    """Return an obstacle where the metric in service does not rank as the new space does, and the user chose none.

    Unit vectors are ranked the same by cosine, dot product and Euclidean distance; others are not.

    Args:
        job: The job.
        current: The metric in service.

    Example:
        >>> from embcompat.spaces import SpaceVersion
        >>> old = SpaceVersion(name="old", version="1", dim=2, similarity="euclidean", normalized=False)
        >>> new = SpaceVersion(name="new", version="1", dim=2, similarity="dot", normalized=False)
        >>> [entry.acceptable for entry in metric_obstacles(Job("0" * 64, old, new), "euclidean")]
        [False]
    """
    if job.metric is not None or job.target.normalized or job.target.similarity == current:
        return []
    text = (
        f"It compares by {current}, but vectors of space {job.target.id!r} are not normalized and are compared by "
        f"{job.target.similarity}. Pass --metric {job.target.similarity} to change the metric, or --metric {current} "
        "to keep it."
    )
    return [Obstacle(text)]
