"""Search functions over other search functions: bridged, fused, mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.aligners import weigh_queries
from embcompat.embeddings import Transform
from embcompat.errors import InputError
from embcompat.serving.fusion import DEFAULT_WEIGHT, Model, check_same_queries, check_weight
from embcompat.serving.merging import merge_hits

Search = Callable[[NDArray[np.float32], int], tuple[NDArray[Any], NDArray[Any]]]
"""Takes queries (q, dim) and k; returns scores (q, k), larger is closer, and ids (q, k), the best first."""

DEFAULT_DEPTH = 300
"""Rows that each side of a fused search brings, where k is not larger. Enough to find nearly all of the exact ten best
where both models rank alike; the weaker the old model, the more it takes [ours]."""

_QUANTILES = 0.5, 0.99


@final
@dataclass(frozen=True)
class QueryBridge:
    """Searches the old gallery with new queries: not a stored vector is touched.

    Where queries and documents are embedded with different prompts, the aligner must be fitted on pairs of queries.

    Attributes:
        aligner: Maps the new space to the old one.
        search_old: Searches the old gallery.
    """

    aligner: Transform
    search_old: Search
    needs: ClassVar[tuple[Model, ...]] = ("new",)

    def search(self, new_queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scores and ids (q, k) in the old space."""
        return self.search_old(self.aligner.transform(new_queries), k)


@final
@dataclass(frozen=True, eq=False)
class WeightedSearch:
    """Searches native and converted rows together with weighted queries; no stored row is weighted.

    For galleries that were converted by what `embcompat unweight` makes of a reweighted artifact. The rows stay as they
    are, so a plain query goes on finding them, too.

    Attributes:
        weights: ``read_artifact(…).query_weights()`` of that artifact (dim, dim).
        search_target: Searches the gallery: rows of the new space, native or converted.

    Raises:
        InputError: If the weights are not a square matrix.
    """

    weights: NDArray[np.float32]
    search_target: Search
    needs: ClassVar[tuple[Model, ...]] = ("new",)

    def __post_init__(self) -> None:
        shape = np.shape(self.weights)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InputError(
                f"weights must be a matrix (dim, dim). Got {shape or self.weights!r}. An artifact has query weights "
                "where `embcompat unweight` made it of a reweighted one."
            )

    def search(self, new_queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scores and ids (q, k).

        Raises:
            InputError: If the queries are not of the weights' length.
        """
        if np.ndim(new_queries) != 2 or np.shape(new_queries)[1] != len(self.weights):
            raise InputError(f"queries must have shape (q, {len(self.weights)}). Got {np.shape(new_queries)}.")
        return self.search_target(weigh_queries(new_queries, self.weights), k)


@final
@dataclass(frozen=True)
class FusedSearch:
    """Adds the score of the new query against converted rows and of the old query against old rows.

    Each side brings its best rows. A row that one side did not bring gets the lowest score that this side brought:
    at least what it has there, so nothing good is lost. The result is exact where ``depth`` covers the gallery.

    Attributes:
        search_converted: Searches the converted gallery with new queries.
        search_old: Searches the old gallery with old queries.
        weight: w in w·new + (1 − w)·old.
        depth: Rows that each side brings.
    """

    search_converted: Search
    search_old: Search
    weight: float = DEFAULT_WEIGHT
    depth: int = DEFAULT_DEPTH
    needs: ClassVar[tuple[Model, ...]] = ("old", "new")

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def search(
        self, new_queries: NDArray[np.float32], old_queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return fused scores and ids (q, k).

        Raises:
            InputError: If the two sides hold another number of queries.
        """
        check_same_queries(new_queries, old_queries)
        sides = [
            search(queries, max(k, self.depth))
            for search, queries in ((self.search_converted, new_queries), (self.search_old, old_queries))
        ]
        floors = [
            np.asarray(scores, dtype=np.float64).min(axis=1, initial=np.inf, keepdims=True) for scores, _ in sides
        ]
        fills = [np.where(np.isposinf(floor), 0.0, floor) for floor in floors]
        return merge_hits(sides, fills, lambda new, old: self.weight * new + (1 - self.weight) * old, k)


@final
@dataclass(frozen=True)
class MixedGallery:
    """Searches a gallery of which a part is native and a part still converted.

    Scores against converted rows are on another scale than scores against native rows: they are calibrated by
    scale · score + offset before the lists are merged, as in the rank merge of Seo et al. (2023). `calibrate_scores`
    finds both numbers on held-out pairs.

    Attributes:
        search_native: Searches the rows that the new model embedded.
        search_converted: Searches the other rows.
        scale: Factor for scores against converted rows.
        offset: What is added to them.
    """

    search_native: Search
    search_converted: Search
    scale: float = 1.0
    offset: float = 0.0
    needs: ClassVar[tuple[Model, ...]] = ("new",)

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise InputError(f"scale must be positive, so that the order is preserved. Got {self.scale}.")

    def search(self, new_queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scores and ids (q, k), merged."""
        native, converted = self.search_native(new_queries, k), self.search_converted(new_queries, k)
        scaled = np.asarray(converted[0]) * self.scale + self.offset, converted[1]
        missing = np.full((len(new_queries), 1), np.nan)
        return merge_hits([scaled, native], [missing, missing], _native_first, k)


def calibrate_scores(native_scores: ArrayLike, converted_scores: ArrayLike) -> tuple[float, float]:
    """Find the scale and offset that bring scores against converted rows onto the scale of native ones.

    Both are scores of native vectors, used as queries, against *other* held-out items: against their native vectors,
    and against their converted ones. The median and the 99 % quantile of the second are brought to those of the
    first. [ours]

    Args:
        native_scores: Any array of scores against native vectors.
        converted_scores: Any array of scores against converted vectors.

    Returns:
        Scale and offset for `MixedGallery`.

    Raises:
        InputError: If there are no scores, or one side's do not vary.

    Example:
        >>> calibrate_scores([0.0, 0.5, 1.0], [0.0, 0.25, 0.5])
        (2.0, 0.0)
    """
    ends = []
    for name, values in (("native_scores", native_scores), ("converted_scores", converted_scores)):
        scores = np.asarray(values, dtype=np.float64).ravel()
        low, high = np.quantile(scores, _QUANTILES) if scores.size else (0.0, 0.0)
        if not high > low:
            raise InputError(f"{name} must hold scores that vary. Got {scores.size} with {low:.4g} to {high:.4g}.")
        ends.append((low, high))
    (native_low, native_high), (low, high) = ends
    scale = float((native_high - native_low) / (high - low))
    return scale, float(native_low - scale * low)


def _native_first(converted: NDArray[np.float64], native: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(native), converted, native)
