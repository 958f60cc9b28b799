"""The suite that every extractor passes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import UNIT_NORM_TOLERANCE
from embcompat.extractors import Extractor
from embcompat.spaces import SpaceVersion

FLOAT32_TOLERANCE = 1e-4


def check_extractor(extractor: Extractor, items: Sequence[Any], *, tolerance: float = FLOAT32_TOLERANCE) -> None:
    """Check an extractor: everything that the rest of embcompat relies on.

    The members of the protocol; shape and dtype; finite vectors, none all zeros; unit norm where the space says
    normalized; deterministic; one item alone = in a batch; order kept; no items; different items get different
    vectors; a fingerprint that is not empty and survives JSON.

    Args:
        extractor: The extractor.
        items: At least three items that it can embed, all different.
        tolerance: Largest ‖difference‖ / ‖expected‖ of a vector.

    Raises:
        AssertionError: If any of this does not hold; the message says which.
    """
    _require(isinstance(extractor, Extractor), "an extractor must have space, chunk_size and extract")
    _require(len(items) >= 3, f"check_extractor needs at least three items, got {len(items)}")
    _check_space(extractor.space)
    size = extractor.chunk_size
    _require(isinstance(size, int) and size > 0, f"chunk_size must be a positive integer, got {size!r}")
    vectors = extractor.extract(items)
    _check_vectors(vectors, len(items), extractor.space)
    _near(extractor.extract(items), vectors, tolerance, "the same items must give the same vectors twice")
    alone = np.concatenate([extractor.extract([item]) for item in items])
    _near(alone, vectors, tolerance, "one item alone must give what it gives in a batch")
    reverse = extractor.extract([items[row] for row in reversed(range(len(items)))])
    _near(reverse[::-1], vectors, tolerance, "row i must belong to item i: the items in reverse must give the reverse")
    empty = extractor.extract([])
    _require(
        empty.shape == (0, extractor.space.dim) and empty.dtype == np.float32,
        f"no items must give a float32 array of shape (0, {extractor.space.dim}), got {empty.dtype} {empty.shape}",
    )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _near(actual: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float, message: str) -> None:
    relative = np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)
    row = int(np.argmax(relative))
    _require(
        relative[row] <= tolerance,
        f"{message}; item {row} differs by {relative[row]:.3g} of its length, allowed {tolerance:.3g}",
    )


def _check_space(space: SpaceVersion) -> None:
    _require(isinstance(space, SpaceVersion), f"space must be a SpaceVersion, got {type(space).__name__}")
    _require(bool(space.fingerprint), "the fingerprint must not be empty: it tells models apart that share a name")
    again = SpaceVersion.from_json(json.dumps(json.loads(space.to_json())))
    _require(not space.differences(again), "the space must survive JSON")


def _check_vectors(vectors: NDArray[np.float32], count: int, space: SpaceVersion) -> None:
    _require(isinstance(vectors, np.ndarray), f"extract must return a numpy array, got {type(vectors).__name__}")
    _require(
        vectors.shape == (count, space.dim), f"extract must return shape {(count, space.dim)}, got {vectors.shape}"
    )
    _require(vectors.dtype == np.float32, f"extract must return float32, got {vectors.dtype}")
    _require(bool(np.isfinite(vectors).all()), "extract must return finite numbers")
    norms = np.linalg.norm(vectors, axis=1)
    _require(bool((norms > 0).all()), "extract must not return zeros: an item that cannot be embedded is an error")
    if space.normalized:
        worst = float(np.abs(norms - 1).max())
        _require(worst <= UNIT_NORM_TOLERANCE, f"the space says normalized, but a norm is off 1 by {worst:.3g}")
    distinct = len(np.unique(vectors, axis=0))
    _require(distinct == count, f"different items must get different vectors: {count} items got {distinct}")
