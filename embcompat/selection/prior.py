"""Fits of maps that read vectors of the new model's words: shrunk towards those vectors instead of towards zero."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import KernelAligner, fit_affine
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.spaces import SpaceVersion

FitKernel = Callable[..., KernelAligner]


def fit_towards_words(
    train: PairedEmbeddings, validation: PairedEmbeddings, *, fit: FitKernel, features: int, refit: bool
) -> KernelAligner:
    """Fit a kernel aligner of [old vector ; words ; pairs of words], shrunk towards what the words say by themselves.

    The features u_j are vectors of the new model's own space already, so a good first guess of a target is a part of
    each and a part of what ridge makes of the old vector, b W x + Σ a_j u_j. A ridge that shrinks its map to zero has
    to learn that from the pairs, which short texts and few pairs do not teach. Here ridge and kernel fit what the guess
    leaves over. The result is a `KernelAligner` like any other, the guess in its weight. [ours]

    Args:
        train: Pairs to fit on, the features beside the source vectors.
        validation: Held-out pairs for the penalties, likewise.
        fit: Fits a kernel aligner, see `fit_kernel`.
        features: How many of the last dimensions of the source are features.
        refit: As in `fit_kernel`.
    """
    prior = first_guess(train, validation, features)
    space = train.target.space
    leftover = SpaceVersion(name="leftover", version="1", dim=space.dim, similarity="dot")
    parts = [
        PairedEmbeddings(
            pairs.source,
            Embeddings.trusted(
                pairs.target.vectors - pairs.source.vectors @ prior.T, pairs.ids, leftover, pairs.labels
            ),
        )
        for pairs in (train, validation)
    ]
    fitted = fit(*parts, refit=refit)
    arrays = fitted.state()
    weight = arrays.pop("weight") + prior
    return KernelAligner(weight, **arrays, bandwidth=fitted.bandwidth, normalize=space.normalized)


def first_guess(train: PairedEmbeddings, validation: PairedEmbeddings, features: int) -> NDArray[np.float32]:
    """Return the map (target_dim, source_dim) [b W, a_1 I, a_2 I].

    W is ridge of the old vectors alone, fitted on the training pairs; its part b and those of the features are the ones
    with the least squared error about the means on the held-out pairs, which W was not fitted on. Zero where the
    features are not vectors of the target's length.

    Args:
        train: As in `fit_towards_words`.
        validation: As there.
        features: As there.
    """
    width, old = train.target.space.dim, train.source.space.dim - features
    guess = np.zeros((width, old + features), dtype=np.float32)
    if features % width:
        return guess
    ridge = fit_affine(*(_old_vectors(pairs, old) for pairs in (train, validation)))
    maps = [np.hstack([ridge.weight, guess[:, old:]])]
    for start in range(old, old + features, width):
        maps.append(guess.copy())
        np.fill_diagonal(maps[-1][:, start : start + width], 1)
    blocks = [validation.source.vectors.astype(np.float64) @ each.T for each in maps]
    target = validation.target.vectors.astype(np.float64)
    columns = np.stack([_deviations(block) for block in blocks], axis=1)
    parts = np.linalg.lstsq(columns, _deviations(target), rcond=None)[0]
    return np.asarray(sum(part * each for part, each in zip(parts, maps, strict=True)), dtype=np.float32)


def _old_vectors(pairs: PairedEmbeddings, dim: int) -> PairedEmbeddings:
    space = SpaceVersion(name="old-vectors", version="1", dim=dim, similarity="dot")
    vectors = np.ascontiguousarray(pairs.source.vectors[:, :dim])
    return PairedEmbeddings(Embeddings.trusted(vectors, pairs.ids, space, pairs.labels), pairs.target)


def _deviations(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors - vectors.mean(axis=0)).ravel()
