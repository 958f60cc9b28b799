"""Hits of two searches by id, in scores of which the larger is closer: what the integrations with two stores share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.serving import Search

Scores = Literal["similarity", "cosine_distance", "squared_distance"]
"""What a store returns as scores: ``similarity`` (larger is closer: cosines, inner products), ``cosine_distance``
(1 − cosine), or ``squared_distance`` between unit vectors (2 − 2 cosine)."""

LAZY_DEPTH: Final = 20
"""Candidates of a query that are embedded with the new model [ours]."""

QUERY: Final = np.zeros((1, 1), dtype=np.float32)
"""Stands for the query where the stores have been asked already."""

T = TypeVar("T")
Hits = dict[str, tuple[T, float]]
"""What was found, by id, the best first, with scores of which the larger is closer."""


def read_hits(results: Iterable[tuple[str, T, float]], scores: Scores, store: str) -> Hits[T]:
    """Turn ids, items and a store's own scores into hits.

    Raises:
        InputError: If the scores are not in the order that such scores have.
    """
    hits = {name: (item, _similarity(score, scores)) for name, item, score in results}
    if any(later > score + 1e-6 for score, later in pairwise(score for _, score in hits.values())):
        raise InputError(
            f"scores of {store} must fall from hit to hit as {scores!r}. They rise. "
            "Pass scores='squared_distance', 'cosine_distance' or 'similarity', as the store returns them."
        )
    return hits


def as_search(hits: Hits[T]) -> Search:
    """Return a search whose hits are there already."""
    scores = np.array([[score for _, score in hits.values()]], dtype=np.float64).reshape(1, len(hits))
    ids = np.array(list(hits), dtype=object).reshape(1, len(hits))
    return lambda _queries, _k: (scores, ids)


def rank(sides: Sequence[Hits[T]], merged: tuple[NDArray[np.float32], NDArray[np.object_]]) -> list[tuple[T, float]]:
    """Return items with scores, the best first, from the merged scores and ids (1, k) of one query."""
    items = {name: item for side in reversed(sides) for name, (item, _) in side.items()}
    scores, ids = merged
    return [(items[name], float(score)) for name, score in zip(ids[0], scores[0], strict=True)]


def check_depth(depth: int, *, name: str = "depth") -> None:
    """Refuse to look at nothing.

    Raises:
        InputError: If the depth is below 1.
    """
    if depth < 1:
        raise InputError(f"{name} must be at least 1. Got {depth}.")


def _similarity(score: float, scores: Scores) -> float:
    if scores == "similarity":
        return score
    return 1 - score if scores == "cosine_distance" else 1 - score / 2
