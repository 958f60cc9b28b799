"""Pairs from plain arrays, for a fit without files, ids or spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import UNIT_NORM_TOLERANCE, Embeddings, PairedEmbeddings, split_pairs
from embcompat.errors import InputError
from embcompat.files.validation import as_array
from embcompat.similarities import Similarity
from embcompat.spaces import SpaceVersion


def split_arrays(
    source: Any, target: Any, *, validation: float = 0.175, similarity: Similarity = "cosine", seed: int = 0
) -> tuple[PairedEmbeddings, PairedEmbeddings]:
    """Pair two arrays row by row and split them.

    Args:
        source: Old vectors (n, source_dim): an array, nested lists or a tensor.
        target: New vectors (n, target_dim) of the same items in the same order.
        validation: Share of the rows to hold out, on which a fit chooses its penalties or when to stop.
        similarity: How the vectors are compared.
        seed: Seed of the split.

    Returns:
        The pairs to fit on, and the held-out pairs.

    Raises:
        InputError: If the two differ in their number of rows, or hold anything but finite numbers.
    """
    old, new = (_as_array(values, what) for values, what in ((source, "source"), (target, "target")))
    if len(old) != len(new):
        raise InputError(f"source and target must hold the same items, row by row. Got {len(old)} and {len(new)} rows.")
    ids = [str(row) for row in range(len(old))]
    sides = [
        Embeddings(vectors, ids, _space_of(vectors, name, similarity), row_numbers=True)
        for vectors, name in ((old, "source"), (new, "target"))
    ]
    split = split_pairs(PairedEmbeddings(*sides), validation=validation, test=0.0, seed=seed)
    return split.train, split.validation


def _as_array(values: Any, what: str) -> NDArray[np.float32]:
    array = as_array(values, what=what)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} must be an array of numbers. Got dtype {array.dtype}.")
    array = array.astype(np.float32, copy=False)
    if array.ndim != 2:
        raise InputError(f"{what} must have shape (n, dim). Got {array.shape}.")
    return array


def _space_of(vectors: NDArray[np.float32], name: str, similarity: Similarity) -> SpaceVersion:
    norms = np.linalg.norm(vectors, axis=1)
    normalized = len(vectors) > 0 and bool((np.abs(norms - 1) <= UNIT_NORM_TOLERANCE).all())
    return SpaceVersion(name=name, version="0", dim=vectors.shape[1], similarity=similarity, normalized=normalized)
