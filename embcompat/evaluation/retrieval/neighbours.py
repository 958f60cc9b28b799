"""How much of the new model's own ranking survives: a figure that needs neither queries nor judgements."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.evaluation import search
from embcompat.spaces import Similarity

NEIGHBOURS = 10
"""How many nearest neighbours are compared [ours]."""


def neighbour_overlap(
    native: NDArray[Any], converted: NDArray[Any], similarity: Similarity, *, k: int = NEIGHBOURS
) -> NDArray[np.float64]:
    """Return, for each item, the share of its native neighbours that the converted gallery finds.

    Each native vector searches the other items twice, among their native vectors and among their converted ones. A
    perfect aligner gives 1; so it says how much of the new model's ranking is kept, and nothing about whether the new
    model is better than the old one.

    Args:
        native: Vectors of the items under the new model (n, dim).
        converted: The same items, converted (n, dim).
        similarity: How they are compared.
        k: Neighbours of each item; at most n − 1 are used.

    Returns:
        Shares (n,), between 0 and 1.

    Raises:
        InputError: If the shapes differ, or there are fewer than two items.
    """
    if native.shape != converted.shape or len(native) < 2:
        raise InputError(
            f"native and converted must be the same two or more items. Got shapes {native.shape} and {converted.shape}."
        )
    depth = min(k, len(native) - 1)
    self_row = np.arange(len(native))
    _, native_rows = search(native, native, k=depth, similarity=similarity, exclude_self=self_row)
    _, converted_rows = search(native, converted, k=depth, similarity=similarity, exclude_self=self_row)
    return np.asarray((native_rows[:, :, np.newaxis] == converted_rows[:, np.newaxis, :]).sum(axis=(1, 2)) / depth)
