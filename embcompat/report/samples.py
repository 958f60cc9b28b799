"""Make pictures' data from vectors and scores, small enough to live in a result file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.errors import InputError

POINTS = 250
"""Items shown in a projection [ours]."""

BINS = 60
"""Bins of a score histogram [ours]."""


def project(
    old: NDArray[Any], new: NDArray[Any], converted: NDArray[Any], *, points: int = POINTS, seed: int = 0
) -> dict[str, JsonValue]:
    """Project vectors of the same items on two principal components, as in FC-Aligner's figure 3.

    The components are those of all native new vectors given. Old vectors are left out where their dimension differs:
    they cannot be drawn in the new space.

    Args:
        old: Array (n, source_dim).
        new: Array (n, target_dim).
        converted: Array (n, target_dim).
        points: Number of items to draw.
        seed: Seed of the choice of items.

    Returns:
        A `embcompat.results.Projection` as JSON, four significant digits.

    Raises:
        InputError: If the arrays differ in rows or converted and new in dimension, or there are fewer than 3 rows.
    """
    if not len(old) == len(new) == len(converted) or new.shape != converted.shape or len(new) < 3:
        raise InputError(
            "a projection needs old, new and converted vectors of the same 3 or more items. "
            f"Got shapes {old.shape}, {new.shape} and {converted.shape}."
        )
    native = np.asarray(new, dtype=np.float64)
    mean = native.mean(axis=0)
    _, singular, components = np.linalg.svd(native - mean, full_matrices=False)
    axes = np.zeros((2, native.shape[1]))
    axes[: min(2, len(components))] = components[:2]
    axes *= np.where(axes.sum(axis=1) < 0, -1.0, 1.0)[:, np.newaxis]  # the sign of a component is arbitrary
    rows = np.sort(np.random.default_rng(seed).permutation(len(native))[:points])
    variance = singular**2 / max(float((singular**2).sum()), np.finfo(np.float64).tiny)
    sides = {"new": native, "converted": converted} | ({"old": old} if old.shape[1] == native.shape[1] else {})
    placed: dict[str, JsonValue] = {
        name: _rounded((np.asarray(vectors, dtype=np.float64)[rows] - mean) @ axes.T) for name, vectors in sides.items()
    }
    return placed | {"explained": _rounded(np.resize(np.append(variance, 0.0)[:2], 2))}


def count_scores(
    name: str,
    genuine: ArrayLike,
    impostor: ArrayLike,
    *,
    threshold: float | None = None,
    transferred: float | None = None,
    bins: int = BINS,
) -> dict[str, JsonValue]:
    """Count genuine and impostor scores in common bins.

    Args:
        name: The two sides that are compared ("new with converted").
        genuine: Scores (n,), larger is closer.
        impostor: Scores (m,).
        threshold: The old threshold, in the score's unit.
        transferred: The threshold transferred to these scores.
        bins: Number of bins over the range of both.

    Returns:
        A `embcompat.results.Histogram` as JSON, four significant digits.

    Raises:
        InputError: If a side has no score.

    Example:
        >>> counted = count_scores("new with new", [0.75, 1.0], [0.0, 0.25], bins=2)
        >>> counted["edges"], counted["genuine"], counted["impostor"]
        ([0.0, 0.5, 1.0], [0.0, 1.0], [1.0, 0.0])
    """
    sides = {"genuine": np.asarray(genuine, dtype=np.float64), "impostor": np.asarray(impostor, dtype=np.float64)}
    for side, scores in sides.items():
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise InputError(f"{side} must be a list of at least one finite score. Got shape {scores.shape}.")
    edges = np.histogram_bin_edges(np.concatenate(list(sides.values())), bins=bins)
    shares = {side: _rounded(np.histogram(scores, edges)[0] / len(scores)) for side, scores in sides.items()}
    thresholds = {"threshold": threshold, "transferred": transferred}
    return {"name": name, "edges": _rounded(edges), **shares, **thresholds}


def _rounded(values: NDArray[np.float64]) -> Any:
    """Return an array as lists of numbers with four significant digits."""
    flat = [float(f"{value:.4g}") for value in values.ravel()]
    return np.array(flat).reshape(values.shape).tolist()
