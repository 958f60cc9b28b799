"""Find rows of another space, among those that a migration would convert and among those written after it.

A store knows the length of its vectors, not their model: if a column holds rows of several models of one length, all of
them would be converted without an error. The held-out vectors that an artifact carries, its canary, show which
directions its source space uses; rows of another model point anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embcompat.artifact import Artifact
from embcompat.embeddings import normalize_rows
from embcompat.stores.base import GalleryStore
from embcompat.stores.values import Job, Obstacle

SAMPLED_ROWS: Final = 512
"""Rows of a gallery that are judged [ours]."""

ALLOWED_SHARE: Final = 0.02
"""Share of rows, beyond twice the false alarms, that may look like another space, because unusual items exist
[ours]."""

_STRUCTURELESS_SHARE = 0.9
"""A row is foreign if its distance is at least this share of that of a vector without any structure [ours]."""

_FALSE_ALARMS = 0.05
_SIMULATED_ROWS = 1_000
_EXAMPLES = 3


def foreign_rows(known: NDArray[np.float32], vectors: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float] | None:
    """Find the rows that point in other directions than the known vectors of a space.

    The distance of a unit vector x is xᵀ(M + I/d)⁻¹x / d, where M is the second moment of the known unit vectors: a
    Mahalanobis distance of directions, shrunk towards a space without structure. Vectors of a model whose space has no
    preferred directions cannot be told from others. [ours]

    Args:
        known: Array (n, dim): vectors of the space.
        vectors: Array (m, dim): the rows to judge, finite and not zero.

    Returns:
        A mask of the foreign rows (m,), and the share of the known vectors that would be foreign, each judged by the
        others; None if the known vectors do not tell their space from vectors without structure.
    """
    directions = normalize_rows(known).astype(np.float64)
    count, dim = directions.shape
    inverse = np.linalg.inv(directions @ directions.T + count / dim * np.eye(count))

    def distances(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        products = normalize_rows(rows).astype(np.float64) @ directions.T
        return np.asarray(1.0 - np.einsum("ij,jk,ik->i", products, inverse, products))

    noise = np.random.default_rng(0).standard_normal((_SIMULATED_ROWS, dim)).astype(np.float32)
    threshold = _STRUCTURELESS_SHARE * float(np.median(distances(noise)))
    # Each known vector is judged by the others (Sherman and Morrison, 1950).
    self_distances = distances(known)
    held_out = self_distances / (1.0 - self_distances * dim / count)
    alarms = float((held_out > threshold).mean())
    if alarms > _FALSE_ALARMS:
        return None
    return distances(vectors) > threshold, alarms


def foreign_obstacle(artifact: Artifact, store: GalleryStore, job: Job) -> Obstacle | None:
    """Judge a sample of a gallery by the artifact's canary.

    Returns:
        What to tell the user if there are more rows of another space than chance explains; None if not, if the artifact
        carries no canary or one that cannot tell, or if drawing a sample would read the whole store.
    """
    canary = artifact.canary()
    if canary is None or not store.draws_directly:
        return None
    rows, _ = store.draw(job, SAMPLED_ROWS, seed=0)
    norms = np.linalg.norm(rows.vectors, axis=1)
    rows = rows.select(np.isfinite(norms) & (norms > 0))
    judgement = foreign_rows(canary[0], rows.vectors) if len(rows) else None
    if judgement is None:
        return None
    foreign, alarms = judgement
    if foreign.mean() <= ALLOWED_SHARE + 2 * alarms:
        return None
    examples = ", ".join(repr(rows.ids[row]) for row in np.flatnonzero(foreign)[:_EXAMPLES])
    return Obstacle(
        f"{foreign.sum()} of {len(rows)} sampled rows do not look like vectors of {artifact.source.id}, and would be "
        f"converted as if they were; the first are {examples}. Find out what they are (embcompat doctor), leave them "
        "out, or accept this if they are vectors of the same model for unusual content.",
        acceptable=True,
    )


def foreign_written_ids(artifact: Artifact, store: GalleryStore, job: Job) -> Iterator[str]:
    """Find rows that an application wrote after the cutover and that do not look like vectors of the new space.

    Such an application declared the new space, or another client did so on its connection, but it writes vectors of
    another model. Nothing is yielded if there are no more such rows than chance explains, or if the artifact carries no
    canary or one that cannot tell.
    """
    canary = artifact.canary()
    if canary is None:
        return
    ids: list[str] = []
    count, alarms = 0, 0.0
    for rows in store.written_rows(job):
        places = np.flatnonzero(rows.vectors.any(axis=1))
        judgement = foreign_rows(canary[1], rows.vectors[places]) if len(places) else None
        if judgement is None:
            continue
        foreign, alarms = judgement
        count += len(places)
        ids += [rows.ids[place] for place in places[foreign]]
    if len(ids) > (ALLOWED_SHARE + 2 * alarms) * count:
        yield from ids
