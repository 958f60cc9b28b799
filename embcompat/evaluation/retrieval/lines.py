"""The lines of a retrieval evaluation: which queries search which gallery, and the ranks of the relevant items."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Relevance
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.results import Line
from embcompat.spaces import require_space

Lines = dict[Line, list[ScoreTerm]]
"""How each line scores."""

_FOLDS = 5
"""Parts of the queries for cross-fitting [ours]."""

_NESTED = (1 / 9, 1 / 3, 1.0)
"""Nested galleries: fractions of the items that answer no query, beside all that do [ours]."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Queries and gallery under both models, and the gallery as the aligner converts it.

    Attributes:
        old_queries: Queries under the old model.
        new_queries: The same queries under the new model.
        old_gallery: Items under the old model.
        new_gallery: The same items under the new model.
        converted: The same items, converted.
        mixable: The same items, converted so that native rows may stand among them (`embcompat.aligners.unweight`);
            None where native rows may stand among those of ``converted``. Where it is given, ``converted`` is served
            without native rows.
        weighted_queries: The new queries as ``converted`` is searched, where they are weighted
            (`embcompat.aligners.query_weights`); None where ``new_queries`` search it. A full reindex is always
            searched by ``new_queries``.

    Raises:
        InputError: If queries or galleries are not the same items row by row.
        SpaceMismatchError: If ``converted`` is not in the space of ``new_gallery``, or queries and gallery of one
            model are not comparable.
    """

    old_queries: Embeddings
    new_queries: Embeddings
    old_gallery: Embeddings
    new_gallery: Embeddings
    converted: Embeddings
    mixable: Embeddings | None = None
    weighted_queries: Embeddings | None = None

    def __post_init__(self) -> None:
        _require_same_items("new_queries", self.new_queries, "old_queries", self.old_queries)
        _require_same_items("new_gallery", self.new_gallery, "old_gallery", self.old_gallery)
        for name, side in (("converted", self.converted), ("mixable", self.mixable)):
            if side is not None:
                _require_same_items(name, side, "old_gallery", self.old_gallery)
                require_space(side.space, self.new_gallery.space, what="The converted gallery")
        if self.weighted_queries is not None:
            _require_same_items("weighted_queries", self.weighted_queries, "new_queries", self.new_queries)
            require_space(self.weighted_queries.space, self.new_queries.space, what="The weighted queries")
        _require_one_model("old", self.old_queries, self.old_gallery)
        _require_one_model("new", self.new_queries, self.new_gallery)

    @property
    def mixed(self) -> Sides:
        """The same sides, converted so that native rows may stand among converted ones."""
        return self if self.mixable is None else replace(self, converted=self.mixable, mixable=None)

    @property
    def target_queries(self) -> NDArray[np.float32]:
        """The queries that search the converted gallery (q, target_dim)."""
        return (self.new_queries if self.weighted_queries is None else self.weighted_queries).vectors

    def native_rows(self, native_ids: Collection[str]) -> NDArray[np.bool_]:
        """Say which gallery items are among the given ids: a mask (n,)."""
        names = set(native_ids)
        return np.fromiter((item in names for item in self.old_gallery.ids.tolist()), bool, len(self.old_gallery))

    def lines(self, native: NDArray[np.bool_]) -> Lines:
        """Return how each line scores, ``fused`` apart; without ``naive_swap`` where the dimensions differ."""
        old, new = self.old_gallery.space, self.new_gallery.space
        queries = self.new_queries.vectors
        terms: dict[Line, ScoreTerm] = {
            "status_quo": ScoreTerm(self.old_queries.vectors, self.old_gallery.vectors, old.similarity),
            "naive_swap": ScoreTerm(queries, self.old_gallery.vectors, old.similarity),
            "converted": ScoreTerm(self.target_queries, self._gallery(native), new.similarity),
            "full_reindex": ScoreTerm(queries, self.new_gallery.vectors, new.similarity),
        }
        if old.dim != new.dim:
            del terms["naive_swap"]
        return {line: [term] for line, term in terms.items()}

    def _gallery(self, native: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the gallery as it would serve: native rows in their places, where they may stand there."""
        if self.mixable is not None or not native.any():
            return self.converted.vectors
        gallery = self.converted.vectors.copy()
        gallery[native] = self.new_gallery.vectors[native]
        return gallery


def nested_gallery(relevance: Relevance, count: int, *, seed: int) -> tuple[NDArray[np.intp], list[int]]:
    """Order gallery rows so that nested galleries are its beginnings, each with every relevant item.

    Returns:
        The order (count,), and three ascending sizes, the last being the whole gallery; fewer where there are not
        enough other items.
    """
    answering = np.unique(relevance.rows)
    others = np.setdiff1d(np.arange(count), answering)
    order = np.concatenate([answering, np.random.default_rng(seed).permutation(others)])
    return order, sorted({len(answering) + round(fraction * len(others)) for fraction in _NESTED})


def rank_lines(
    lines: Lines,
    fused_weights: Sequence[float],
    relevance: Relevance,
    metric: str,
    *,
    order: NDArray[np.intp] | None = None,
    sizes: Sequence[int] | None = None,
    seed: int,
) -> tuple[dict[Line, NDArray[np.int64]], float | None]:
    """Rank the relevant items on each line, and on the fused line if there are weights for it.

    Args:
        lines: How each line scores.
        fused_weights: Weights to choose from by cross-fitting; one is used as it is.
        relevance: The queries and their relevant items.
        metric: What the best weight is best at.
        order: See `rank_relevant`.
        sizes: See `rank_relevant`.
        seed: Seed of the folds.

    Returns:
        Ranks (sizes, nnz) by line, and the fused weight to use from now on.
    """
    ranks = {line: rank_relevant(terms, relevance, order=order, sizes=sizes) for line, terms in lines.items()}
    if not fused_weights:
        return ranks, None
    (new,), (old,) = lines["converted"], lines["status_quo"]
    candidates = [
        rank_relevant(
            [replace(new, weight=weight), replace(old, weight=1 - weight)], relevance, order=order, sizes=sizes
        )
        for weight in fused_weights
    ]
    best, ranks["fused"] = cross_fit(candidates, relevance, metric, seed=seed)
    return ranks, fused_weights[best]


def cross_fit(
    candidates: Sequence[NDArray[np.int64]], relevance: Relevance, metric: str, *, seed: int
) -> tuple[int, NDArray[np.int64]]:
    """Choose among rankings without letting a query choose its own.

    Args:
        candidates: Ranks (sizes, nnz) that each candidate gives.
        relevance: The queries and their relevant items.
        metric: What is best, in the whole gallery.
        seed: Seed of the folds.

    Returns:
        The best candidate on all queries, to be used from now on; and ranks (sizes, nnz) where each query takes the
        candidate that is best on the other folds.
    """
    values = np.stack([metric_per_query(metric, ranks[-1], relevance) for ranks in candidates])
    fold = np.random.default_rng(seed).permutation(len(relevance)) % _FOLDS
    chosen = np.empty(len(relevance), dtype=np.intp)
    for number in range(_FOLDS):
        chosen[fold == number] = values[:, fold != number].sum(axis=1).argmax()
    choice = chosen[relevance.numbers]
    ranks = np.stack(candidates)[choice, :, np.arange(len(choice))].T
    return int(values.sum(axis=1).argmax()), ranks


def _require_same_items(name: str, items: Embeddings, other_name: str, other: Embeddings) -> None:
    if len(items) != len(other):
        raise InputError(f"{name} must hold the items of {other_name}. Got {len(items)} and {len(other)} rows.")
    if (different := items.ids != other.ids).any():
        row = int(np.argmax(different))
        raise InputError(
            f"{name} must hold the items of {other_name}, row by row. Row {row} is {items.ids[row]!r} and "
            f"{other.ids[row]!r}. pair_embeddings joins two sides by id."
        )


def _require_one_model(side: str, queries: Embeddings, gallery: Embeddings) -> None:
    """Refuse to compare two models; queries may be embedded with another prompt, so fingerprints may differ."""
    left, right = queries.space, gallery.space
    if (left.id, left.dim, left.similarity) != (right.id, right.dim, right.similarity):
        raise SpaceMismatchError(
            f"{side}_queries and {side}_gallery must be of one model. Got {left.id!r} ({left.dim}, {left.similarity}) "
            f"and {right.id!r} ({right.dim}, {right.similarity}). Embed the queries with the gallery's model."
        )
