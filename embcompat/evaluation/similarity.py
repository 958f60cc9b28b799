"""Scores between vectors; larger is closer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import normalize_rows
from embcompat.errors import InputError, UnknownNameError
from embcompat.spaces import Similarity

SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot", "euclidean")

_BLOCK_SCORES = 2_097_152
"""Float64 scores held at once while a block is computed: 16 MiB."""


def pairwise_scores(queries: NDArray[Any], gallery: NDArray[Any], similarity: Similarity) -> NDArray[np.float32]:
    """Score every query against every gallery row.

    Computed in float64 and rounded to float32, so that close Euclidean distances do not cancel and equal vectors get
    equal scores wherever they stand.

    Args:
        queries: Array (q, dim).
        gallery: Array (g, dim).
        similarity: ``cosine`` (a zero vector scores 0), ``dot``, or ``euclidean`` (−distance).

    Returns:
        Float32 (q, g), larger is closer.

    Raises:
        InputError: If the two are not arrays of vectors of one length.
        UnknownNameError: If there is no such similarity.

    Example:
        >>> pairwise_scores(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 0.0]]), "euclidean").tolist()
        [[-5.0, -4.0]]
    """
    _check(queries, gallery, similarity)
    scores = np.empty((len(queries), len(gallery)), dtype=np.float32)
    right = _prepared(gallery, similarity)
    squares = np.einsum("ij,ij->i", right, right)
    rows = max(1, _BLOCK_SCORES // max(1, len(gallery)))
    for start in range(0, len(queries), rows):
        left = _prepared(queries[start : start + rows], similarity)
        block = left @ right.T
        if similarity == "euclidean":
            block *= -2.0
            block += np.einsum("ij,ij->i", left, left)[:, np.newaxis]
            block += squares
            np.sqrt(np.maximum(block, 0.0, out=block), out=block)
            np.negative(block, out=block)
        scores[start : start + rows] = block
    return scores


def row_scores(left: NDArray[Any], right: NDArray[Any], similarity: Similarity) -> NDArray[np.float32]:
    """Score each row of one array against the same row of the other.

    The value depends on the two vectors alone, never on where they stand: equal pairs get equal scores.

    Args:
        left: Array (n, dim).
        right: Array (n, dim).
        similarity: As in `pairwise_scores`.

    Returns:
        Float32 (n,), computed in float64.

    Raises:
        InputError: If the two have other shapes.
        UnknownNameError: If there is no such similarity.

    Example:
        >>> row_scores(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]]), "cosine").tolist()
        [0.6000000238418579]
    """
    _check(left, right, similarity)
    if len(left) != len(right):
        raise InputError(f"left and right must have equally many rows. Got {len(left)} and {len(right)}.")
    scores = np.empty(len(left), dtype=np.float32)
    rows = max(1, _BLOCK_SCORES // max(1, left.shape[1]))
    for start in range(0, len(left), rows):
        x = _prepared(left[start : start + rows], similarity)
        y = _prepared(right[start : start + rows], similarity)
        if similarity == "euclidean":
            x = x - y
            scores[start : start + rows] = -np.sqrt(np.einsum("ij,ij->i", x, x))
        else:
            scores[start : start + rows] = np.einsum("ij,ij->i", x, y)
    return scores


def _prepared(vectors: NDArray[Any], similarity: Similarity) -> NDArray[np.float64]:
    """Return rows as float64, of unit norm for cosine."""
    rows = np.asarray(vectors, dtype=np.float64)
    return normalize_rows(rows) if similarity == "cosine" else rows


def _check(left: NDArray[Any], right: NDArray[Any], similarity: str) -> None:
    if similarity not in SIMILARITIES:
        raise UnknownNameError("similarity", similarity, SIMILARITIES)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise InputError(
            f"both sides must be arrays (n, dim) of vectors of one length. Got {left.shape} and {right.shape}."
        )
