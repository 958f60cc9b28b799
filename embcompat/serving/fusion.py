"""Both sides in one vector or one query, and how much the new side counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.aligners import AffineAligner
from embcompat.errors import InputError

Model = Literal["old", "new"]

DEFAULT_WEIGHT = 0.5
"""Weight of the new score in fused scoring: safe where none could be chosen on held-out queries [ours]."""

_FOLDS = 5


def fuse_vectors(new_side: ArrayLike, old_side: ArrayLike, *, weight: float = DEFAULT_WEIGHT) -> NDArray[np.float32]:
    """Put both sides of each row, or of each query, into one vector: [√w·new ; √(1 − w)·old].

    Dot products of such vectors are exactly the fused scores of dot products, and so of cosines where all vectors
    have unit norm: then the result has unit norm too, and any vector index can serve it.

    Args:
        new_side: Converted rows, or new queries (n, target_dim).
        old_side: Old rows, or old queries (n, source_dim).
        weight: w, the same for rows and queries.

    Example:
        >>> rows = fuse_vectors([[1.0, 0.0]], [[0.6, 0.8]], weight=0.5)
        >>> queries = fuse_vectors([[0.0, 1.0]], [[0.6, 0.8]], weight=0.5)
        >>> round(float(rows[0] @ queries[0]), 3)
        0.5
    """
    check_weight(weight)
    new, old = np.asarray(new_side, dtype=np.float32), np.asarray(old_side, dtype=np.float32)
    check_same_queries(new, old)
    return np.hstack([np.float32(np.sqrt(weight)) * new, np.float32(np.sqrt(1 - weight)) * old])


def fold_queries(
    aligner: AffineAligner, new_queries: ArrayLike, old_queries: ArrayLike, *, weight: float = DEFAULT_WEIGHT
) -> NDArray[np.float32]:
    """Fold both queries into one that searches the *old* gallery: w·Wᵀ·new + (1 − w)·old.

    Ranks exactly as fused scoring does when scores are dot products and the aligner does not normalize, because
    w·n·(W x + b) + (1 − w)·o·x = (w·Wᵀn + (1 − w)·o)·x + a constant of the query. So it does when unit vectors are
    mapped by an isometry without bias, which has nothing to normalize. With any other normalizing aligner it ranks
    otherwise and is a mode of its own, to be measured as such.

    Args:
        aligner: Old space → new space.
        new_queries: Array (q, target_dim).
        old_queries: Array (q, source_dim).
        weight: w.

    Returns:
        Array (q, source_dim).
    """
    check_weight(weight)
    new, old = np.asarray(new_queries, dtype=np.float32), np.asarray(old_queries, dtype=np.float32)
    check_same_queries(new, old)
    return np.asarray(np.float32(weight) * (new @ aligner.weight) + np.float32(1 - weight) * old)


def choose_fusion_weight(
    metric: Callable[[float], ArrayLike], weights: Sequence[float], *, seed: int = 0
) -> tuple[float, NDArray[np.float64]]:
    """Choose the weight of fused scoring on held-out queries.

    Args:
        metric: Gives the metric of every held-out query (q,) when serving with a weight.
        weights: The weights to try.
        seed: Seed of the five folds.

    Returns:
        The weight that is best on all queries, to serve with; and the metric of each query (q,) under the weight
        that is best on the *other* folds, which is what may be reported.

    Raises:
        InputError: If there is no weight, or one is out of range.
    """
    if not weights:
        raise InputError("at least one weight is needed. Got none.")
    for weight in weights:
        check_weight(weight)
    values = np.stack([np.asarray(metric(weight), dtype=np.float64) for weight in weights])
    fold = np.random.default_rng(seed).permutation(values.shape[1]) % _FOLDS
    reported = np.empty(values.shape[1])
    for number in range(_FOLDS):
        best = int(values[:, fold != number].sum(axis=1).argmax())
        reported[fold == number] = values[best, fold == number]
    return float(weights[int(values.sum(axis=1).argmax())]), reported


def check_weight(weight: float) -> None:
    """Refuse a weight outside 0 to 1."""
    if not 0 <= weight <= 1:
        raise InputError(f"weight must lie between 0 (old scores only) and 1 (new scores only). Got {weight}.")


def check_same_queries(new: NDArray[Any], old: NDArray[Any]) -> None:
    """Refuse two sides of different length."""
    if len(new) != len(old):
        raise InputError(f"both sides must hold the same rows or queries. Got {len(new)} new and {len(old)} old.")
