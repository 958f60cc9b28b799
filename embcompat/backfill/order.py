"""Orders of re-embedding: one score for each row, the highest first. No torch.

===================  =================================================================================================
order                what comes first
===================  =================================================================================================
``random``           anything: what every other order must beat
``class_mean``       rows far from the mean of the others of their class (after Ricci et al., λ-orthogonality, 2025)
``predicted_error``  rows whose conversion is likely far off (after FastFill, Jaeckle et al., 2023; closed form [ours])
``convertibility``   rows far from what the aligner was fitted on [ours]
``usefulness``       rows that a sample of queries, or an access log, retrieves most [ours]
``recommended``      a weighted sum of the others' ranks, with weights that won on validation queries [ours]
===================  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.backlog import Backlog, HeldOut
from embcompat.backfill.residuals import predict_errors
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, MissingExtraError, UnknownNameError
from embcompat.evaluation import search
from embcompat.evaluation.similarity import row_scores

Float64 = NDArray[np.float64]

USEFUL_DEPTH = 100
"""How many rows each sampled query retrieves [ours]."""


def backfill_order(
    kind: str,
    old: Embeddings,
    converted: Embeddings,
    *,
    native_ids: Collection[str] = (),
    held_out: HeldOut | None = None,
    convertibility: NDArray[np.float32] | None = None,
    queries: NDArray[np.float32] | None = None,
    visits: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    seed: int = 0,
) -> NDArray[np.object_]:
    """Order converted rows for re-embedding, the most urgent first.

    Args:
        kind: One of `SCORERS`.
        old: The rows under the old model; their labels are the classes of ``class_mean``, which makes its own by
            k-means where there are none.
        converted: The same rows, converted.
        native_ids: Rows that are native already; they are left out of the order.
        held_out: For ``predicted_error``: pairs that show how far off conversions are.
        convertibility: For ``convertibility``: `OnnxAligner.convertibility` of the old vectors (n,).
        queries: For ``usefulness``: new queries (q, target_dim), disjoint from the queries of any evaluation.
        visits: For ``usefulness``: how often each row was retrieved, by id, from an access log that is disjoint in the
            same way.
        weights: For ``recommended``: `BackfillCurve.weights`; empty for a random order.
        seed: Seed of the random order, of k-means and of ties.

    Returns:
        Ids (n − native,), object strings.

    Raises:
        UnknownNameError: If there is no such order.
        InputError: If the order needs something that was not given.
        MissingExtraError: If k-means is needed and scikit-learn is not installed.

    Example:
        >>> from embcompat.spaces import SpaceVersion
        >>> space = SpaceVersion(name="x", version="1", dim=1, similarity="euclidean")
        >>> rows = Embeddings([[0.0], [1.0], [8.0]], ["a", "b", "c"], space, ["z", "z", "z"])
        >>> backfill_order("class_mean", rows, rows).tolist()  # the others' means are 4.5, 4 and 0.5
        ['c', 'a', 'b']
    """
    ids = old.ids.tolist()
    counts = None if visits is None else np.array([visits.get(each, 0.0) for each in ids], dtype=np.float64)
    backlog = Backlog(old, converted, held_out, convertibility, queries, counts, weights or {}, seed)
    native = set(native_ids)
    rows = [row for row in order_rows(score_rows(kind, backlog), seed=seed).tolist() if ids[row] not in native]
    return old.ids[rows]


def score_rows(kind: str, backlog: Backlog) -> Float64:
    """Return the score of each row (n,); larger is re-embedded first.

    Raises:
        UnknownNameError: If there is no such order.
        InputError: If the order needs something that the backlog lacks.
    """
    if kind not in SCORERS:
        raise UnknownNameError("order", kind, SCORERS)
    return SCORERS[kind](backlog)


def order_rows(scores: Float64, *, seed: int) -> NDArray[np.intp]:
    """Return row numbers (n,) by falling score; equal scores come in random order."""
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    return shuffled[np.argsort(-scores[shuffled], kind="stable")]


def available_orders(backlog: Backlog) -> list[str]:
    """Return the orders for which the backlog holds what they need, ``recommended`` apart."""
    available = {
        "predicted_error": backlog.held_out is not None,
        "convertibility": backlog.convertibility is not None,
        "usefulness": backlog.queries is not None or backlog.visits is not None,
    }
    return [kind for kind in SCORERS if kind != "recommended" and available.get(kind, True)]


def _random(backlog: Backlog) -> Float64:
    return np.random.default_rng(backlog.seed).random(len(backlog))


def _class_mean(backlog: Backlog) -> Float64:
    """Score by the distance from the mean of the class, over the converted gallery, the row itself left out.

    Ricci et al. (2025) take the mean with the row in it. In a class of two that halves the distance, and in a class of
    one it makes it zero, so large classes would come first whatever their rows are. A row that is alone in its class
    gets the mean score, because nothing is known about it. [ours]
    """
    vectors = backlog.converted.vectors
    labels = backlog.labels
    if labels is None:
        codes = pseudo_classes(vectors, seed=backlog.seed)
    else:
        codes = np.unique(labels.astype(str), return_inverse=True)[1]
    counts = np.bincount(codes)
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    several = np.flatnonzero(counts[codes] > 1)
    classes = codes[several]
    others = (sums[classes] - vectors[several]) / (counts[classes] - 1)[:, np.newaxis]
    scores = np.zeros(len(codes))
    scores[several] = -row_scores(vectors[several], others, backlog.converted.space.similarity)
    scores[counts[codes] == 1] = scores[several].mean() if len(several) else 0.0
    return scores


def pseudo_classes(vectors: NDArray[np.float32], *, seed: int) -> NDArray[np.intp]:
    """Group rows without labels into √n clusters by k-means [ours]: class codes (n,).

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        purpose = "Ordering a gallery without labels by class means"
        raise MissingExtraError("scikit-learn", "embcompat[cluster]", purpose) from error
    clusters = max(1, round(np.sqrt(len(vectors))))
    fitted = MiniBatchKMeans(clusters, random_state=seed, n_init=1, batch_size=4_096).fit(vectors)
    return np.asarray(fitted.labels_, dtype=np.intp)


def _predicted_error(backlog: Backlog) -> Float64:
    if backlog.held_out is None:
        raise InputError("the order 'predicted_error' needs held-out pairs. Pass held_out=….")
    return predict_errors(backlog.old.vectors, backlog.held_out, seed=backlog.seed)


def _convertibility(backlog: Backlog) -> Float64:
    if backlog.convertibility is None:
        raise InputError(
            "the order 'convertibility' needs OnnxAligner.convertibility of the old vectors. Pass convertibility=…."
        )
    return backlog.convertibility.astype(np.float64)


def _usefulness(backlog: Backlog) -> Float64:
    """Score by how often a row is retrieved; a retrieval at rank r counts 1 / log2(r + 1), as in nDCG."""
    if backlog.visits is not None:
        return backlog.visits
    if backlog.queries is None:
        raise InputError("the order 'usefulness' needs a sample of queries or an access log. Pass queries= or visits=.")
    converted = backlog.converted
    rows = search(backlog.queries, converted.vectors, k=USEFUL_DEPTH, similarity=converted.space.similarity)[1]
    gains = np.broadcast_to(1 / np.log2(np.arange(rows.shape[1]) + 2), rows.shape)
    return np.bincount(rows.ravel(), weights=gains.ravel(), minlength=len(backlog)).astype(np.float64)


def _recommended(backlog: Backlog) -> Float64:
    """Add the ranks of the weighted orders, each from 0 (last) to 1 (first)."""
    total = np.zeros(len(backlog))
    for kind, weight in backlog.weights.items():
        total += weight * standardize(score_rows(kind, backlog))
    return total


def standardize(scores: Float64) -> Float64:
    """Return ranks (n,) from 0 to 1, equal scores sharing their mean rank, so that scores of any scale can be added.

    Example:
        >>> standardize(np.array([5.0, 900.0, 5.0])).tolist()
        [0.25, 1.0, 0.25]
    """
    _, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(((ends - (counts + 1) / 2) / max(len(scores) - 1, 1))[codes])


SCORERS: dict[str, Callable[[Backlog], Float64]] = {
    "random": _random,
    "class_mean": _class_mean,
    "predicted_error": _predicted_error,
    "convertibility": _convertibility,
    "usefulness": _usefulness,
    "recommended": _recommended,
}
"""The orders by name."""
