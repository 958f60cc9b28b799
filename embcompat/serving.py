"""Ways to serve a gallery during and after a model change, over any search function. No torch.

======================  =============================================================  ================
mode                    what is searched                                               models alive
======================  =============================================================  ================
converted gallery       converted rows, by the new query (any search, nothing to add)  new
`QueryBridge`           old rows, by the new query mapped to the old space             new
`FusedSearch`           converted rows by the new query, old rows by the old query     old and new
`fuse_vectors`          one index that holds both sides of every row                   old and new
`fold_queries`          old rows, by one vector folded from both queries               old and new
`MixedGallery`          native and converted rows while a migration runs               new
`Scorer`                any rows; scores normalized against a cohort of strangers      new
======================  =============================================================  ================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.aligners import AffineAligner
from embcompat.cohorts import Cohort
from embcompat.embeddings import Transform
from embcompat.errors import InputError

Search = Callable[[NDArray[np.float32], int], tuple[NDArray[Any], NDArray[Any]]]
"""Takes queries (q, dim) and k; returns scores (q, k), larger is closer, and ids (q, k), the best first."""

Model = Literal["old", "new"]

DEFAULT_WEIGHT = 0.5
"""Weight of the new score in fused scoring: safe where none could be chosen on held-out queries [ours]."""

DEFAULT_DEPTH = 300
"""Rows that each side of a fused search brings, where k is not larger. Enough to find nearly all of the exact ten best
where both models rank alike; the weaker the old model, the more it takes [ours]."""

_FOLDS = 5
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
        _check_weight(self.weight)

    def search(
        self, new_queries: NDArray[np.float32], old_queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return fused scores and ids (q, k).

        Raises:
            InputError: If the two sides hold another number of queries.
        """
        _check_same_queries(new_queries, old_queries)
        sides = [
            search(queries, max(k, self.depth))
            for search, queries in ((self.search_converted, new_queries), (self.search_old, old_queries))
        ]
        weights = self.weight, 1 - self.weight
        return _rows([_add(_lists(sides, query), weights) for query in range(len(new_queries))], k)


@final
@dataclass(frozen=True, eq=False)
class Scorer:
    """Normalizes the scores of new queries, so that one threshold fits them all: (s − μ) / σ.

    μ and σ are the mean and the deviation of the query's highest scores against people who are certainly others. A
    query that is close to everybody no longer matches anybody. The order of one query's candidates stays. A threshold
    on normalized scores is another number: `embcompat thresholds` transfers it. [ours, after adaptive score
    normalization, Matějka et al., 2017]

    Attributes:
        cohort: ``OnnxAligner(…).cohort().converted`` for scores against converted rows, ``.native`` for scores
            against rows that the new model embedded.
    """

    cohort: Cohort
    needs: ClassVar[tuple[Model, ...]] = ("new",)

    def normalize(self, new_queries: NDArray[np.float32], scores: ArrayLike) -> NDArray[np.float64]:
        """Return the normalized scores (q, k) of queries (q, dim) and the scores (q, k) that a search returned.

        Raises:
            InputError: If there is not one row of scores for each query, or the vectors are not of the cohort's space.

        Example:
            >>> cohort = Cohort(np.array([[0.6, 0.8], [0.0, 1.0]], dtype=np.float32), "cosine", top=2)
            >>> Scorer(cohort).normalize(np.array([[1.0, 0.0]]), [[0.9]]).round(6).tolist()
            [[2.0]]
        """
        values = np.asarray(scores, dtype=np.float64)
        if values.ndim != 2 or len(values) != len(new_queries):
            raise InputError(f"scores must have one row for each of {len(new_queries)} queries. Got {values.shape}.")
        statistics = self.cohort.statistics(new_queries)
        return np.asarray((values - statistics.mean[:, np.newaxis]) / statistics.deviation[:, np.newaxis])


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
            raise InputError(f"scale must be positive, so that the order stays. Got {self.scale}.")

    def search(self, new_queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scores and ids (q, k), merged."""
        native, converted = self.search_native(new_queries, k), self.search_converted(new_queries, k)
        moved = np.asarray(converted[0]) * self.scale + self.offset, converted[1]
        merged = []
        for query in range(len(new_queries)):
            found = {identifier: score for each in _lists([moved, native], query) for identifier, score in each.items()}
            merged.append(found)
        return _rows(merged, k)


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
    for name, given in (("native_scores", native_scores), ("converted_scores", converted_scores)):
        scores = np.asarray(given, dtype=np.float64).ravel()
        low, high = np.quantile(scores, _QUANTILES) if scores.size else (0.0, 0.0)
        if not high > low:
            raise InputError(f"{name} must hold scores that vary. Got {scores.size} with {low:.4g} to {high:.4g}.")
        ends.append((low, high))
    (native_low, native_high), (low, high) = ends
    scale = float((native_high - native_low) / (high - low))
    return scale, float(native_low - scale * low)


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
    _check_weight(weight)
    new, old = np.asarray(new_side, dtype=np.float32), np.asarray(old_side, dtype=np.float32)
    _check_same_queries(new, old)
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
    _check_weight(weight)
    new, old = np.asarray(new_queries, dtype=np.float32), np.asarray(old_queries, dtype=np.float32)
    _check_same_queries(new, old)
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
        _check_weight(weight)
    values = np.stack([np.asarray(metric(weight), dtype=np.float64) for weight in weights])
    fold = np.random.default_rng(seed).permutation(values.shape[1]) % _FOLDS
    reported = np.empty(values.shape[1])
    for number in range(_FOLDS):
        best = int(values[:, fold != number].sum(axis=1).argmax())
        reported[fold == number] = values[best, fold == number]
    return float(weights[int(values.sum(axis=1).argmax())]), reported


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise InputError(f"weight must lie between 0 (old scores only) and 1 (new scores only). Got {weight}.")


def _check_same_queries(new: NDArray[Any], old: NDArray[Any]) -> None:
    if len(new) != len(old):
        raise InputError(f"both sides must hold the same rows or queries. Got {len(new)} new and {len(old)} old.")


def _lists(sides: Sequence[tuple[NDArray[Any], NDArray[Any]]], query: int) -> list[dict[Any, float]]:
    return [
        dict(zip(np.asarray(ids)[query].tolist(), np.asarray(scores, dtype=np.float64)[query].tolist(), strict=True))
        for scores, ids in sides
    ]


def _add(lists: Sequence[dict[Any, float]], weights: Sequence[float]) -> dict[Any, float]:
    floors = [min(each.values(), default=0.0) for each in lists]
    every = dict.fromkeys(identifier for each in lists for identifier in each)
    return {
        identifier: sum(
            weight * each.get(identifier, floor) for weight, each, floor in zip(weights, lists, floors, strict=True)
        )
        for identifier in every
    }


def _rows(found: Sequence[dict[Any, float]], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sort each query's rows, ties in the order found, and cut all to k (or the fewest that any query has)."""
    width = min([k, *map(len, found)])
    ranked = [sorted(each.items(), key=lambda item: -item[1])[:width] for each in found]
    scores = np.array([[score for _, score in row] for row in ranked], dtype=np.float64).reshape(len(found), width)
    ids = np.empty((len(found), width), dtype=object)
    for number, row in enumerate(ranked):
        ids[number] = [identifier for identifier, _ in row]
    return scores, ids
