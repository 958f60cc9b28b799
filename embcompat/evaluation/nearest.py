"""Exact nearest neighbours, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError
from embcompat.evaluation.similarity import pairwise_scores, rounding_bound, row_scores
from embcompat.spaces import Similarity

QUERY_BLOCK, GALLERY_BLOCK = 1_024, 8_192
"""Queries and gallery rows of one matrix product; 8 M scores, 32 MiB [ours]."""

RESCORE_ROWS = 1_024
"""Pairs of vectors that are gathered at once to be scored exactly."""

_POOL_FACTOR, _POOL_EXTRA = 2, 1_024
"""Candidates that a query may collect, 2 k + 1,024, before they are scored exactly and cut to k [ours]."""

_LOWEST = np.finfo(np.float32).min

_Pool = tuple[NDArray[np.float32], NDArray[np.intp]]


def search(
    queries: NDArray[Any],
    gallery: NDArray[Any],
    *,
    k: int,
    similarity: Similarity,
    exclude_self: ArrayLike | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Find the k closest gallery rows of every query, exactly.

    A float32 matrix product proposes, `row_scores` decides: whatever a block holds that rounding could lift into the
    k best is scored exactly. So neither scores nor order depend on the blocks, the threads or the other queries.
    Equal scores are ordered by gallery row, the lower first. Memory is bounded by the blocks and k·q.

    Args:
        queries: Array (q, dim).
        gallery: Array (n, dim); may be a memory map, which is read once for every 1,024 queries.
        k: How many rows to find; at most n come back.
        similarity: How to score.
        exclude_self: For each query the gallery row that is the query itself and must not be found, −1 for none.

    Returns:
        Scores, float32 (q, min(k, n)), best first; and their gallery rows. Where too few rows are left after
        exclusion, row −1 with score −inf.

    Raises:
        InputError: If the shapes do not fit or k is below 1.

    Example:
        >>> gallery = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> search(gallery[:1], gallery, k=2, similarity="cosine")[1].tolist()
        [[0, 2]]
        >>> search(gallery[:1], gallery, k=2, similarity="cosine", exclude_self=[0])[1].tolist()
        [[2, 1]]
    """
    if k < 1:
        raise InputError(f"k must be at least 1. Got {k}.")
    self_row = self_rows(exclude_self, len(queries), len(gallery))
    wide = min(k, len(gallery))
    scores = np.full((len(queries), wide), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), wide), -1, dtype=np.intp)
    for first in range(0, len(queries) if wide else 0, QUERY_BLOCK):
        part = slice(first, first + QUERY_BLOCK)
        pool = _search_block(np.asarray(queries[part]), gallery, wide, similarity, self_row[part])
        scores[part, : pool[0].shape[1]], rows[part, : pool[1].shape[1]] = pool
    return scores, rows


def self_rows(exclude_self: ArrayLike | None, queries: int, gallery: int) -> NDArray[np.intp]:
    """Check which gallery row each query is; all −1 when None.

    Raises:
        InputError: If there is not one row number, or −1, for each query.
    """
    if exclude_self is None:
        return np.full(queries, -1, dtype=np.intp)
    self_row = np.asarray(exclude_self)
    if (
        self_row.shape != (queries,)
        or self_row.dtype.kind not in "iu"
        or (self_row < -1).any()
        or (self_row >= gallery).any()
    ):
        raise InputError(
            f"exclude_self must give each of {queries} queries its gallery row, 0 to {gallery - 1}, or -1. "
            f"Got shape {self_row.shape}, dtype {self_row.dtype}."
        )
    return self_row.astype(np.intp)


def _search_block(
    queries: NDArray[Any], gallery: NDArray[Any], k: int, similarity: Similarity, self_row: NDArray[np.intp]
) -> _Pool:
    """Search for one block of queries: their k best, exactly."""
    bound = np.zeros(len(queries), dtype=np.float32)
    pool: _Pool = np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.intp)
    for start in range(0, len(gallery), GALLERY_BLOCK):
        block = np.asarray(gallery[start : start + GALLERY_BLOCK])
        np.maximum(bound, rounding_bound(queries, block, similarity), out=bound)
        scores = pairwise_scores(queries, block, similarity)
        inside = np.flatnonzero((self_row >= start) & (self_row < start + len(block)))
        scores[inside, self_row[inside] - start] = -np.inf
        pool = _merge(pool, scores, start, k, 2 * bound)
        if pool[0].shape[1] > _POOL_FACTOR * k + _POOL_EXTRA:
            pool = _settle(pool, queries, gallery, k, similarity)
    return _settle(pool, queries, gallery, k, similarity)


def _merge(pool: _Pool, scores: NDArray[np.float32], start: int, k: int, slack: NDArray[np.float32]) -> _Pool:
    """Add the scores (q, g) of gallery rows from ``start`` to the best so far, best first.

    Kept is whatever reaches the k-th best less the slack, so that rounding cannot have pushed it out.
    """
    floor = np.full(len(scores), _LOWEST)
    if pool[0].shape[1] >= k:
        floor = np.maximum(pool[0][:, k - 1] - slack, _LOWEST)
    elif scores.shape[1] > k:
        kth = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
        floor = np.maximum(kth - slack, _LOWEST)
    hits = np.flatnonzero(scores >= floor[:, np.newaxis])
    if not len(hits):
        return pool
    which, columns = np.divmod(hits, scores.shape[1])
    counts = np.bincount(which, minlength=len(scores))
    slots = np.arange(len(hits)) - (np.cumsum(counts) - counts)[which]
    shape = (len(scores), int(counts.max()))
    new_scores, new_rows = np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.intp)
    new_scores[which, slots], new_rows[which, slots] = scores.ravel()[hits], start + columns
    merged_scores, merged_rows = np.hstack([pool[0], new_scores]), np.hstack([pool[1], new_rows])
    order = np.argsort(-merged_scores, axis=1)
    merged_scores = np.take_along_axis(merged_scores, order, axis=1)
    if merged_scores.shape[1] > k:
        reached = merged_scores >= np.maximum(merged_scores[:, k - 1] - slack, _LOWEST)[:, np.newaxis]
        order = order[:, : max(k, int(np.count_nonzero(reached, axis=1).max()))]
    return merged_scores[:, : order.shape[1]], np.take_along_axis(merged_rows, order, axis=1)


def _settle(pool: _Pool, queries: NDArray[Any], gallery: NDArray[Any], k: int, similarity: Similarity) -> _Pool:
    """Score the best so far exactly and keep k of them, equal scores in the order of their rows."""
    scores, rows = pool
    which, slots = np.nonzero(rows >= 0)
    exact = np.full(scores.shape, -np.inf, dtype=np.float32)
    for first in range(0, len(which), RESCORE_ROWS):
        part = which[first : first + RESCORE_ROWS], slots[first : first + RESCORE_ROWS]
        exact[part] = row_scores(queries[part[0]], np.asarray(gallery[rows[part]]), similarity)
    order = np.lexsort((rows, -exact), axis=1)[:, :k]
    return np.take_along_axis(exact, order, axis=1), np.take_along_axis(rows, order, axis=1)
