"""Canonical correlation analysis: maps both spaces into a common one. numpy only."""

from __future__ import annotations

import numpy as np

from embcompat.aligners.affine import AffineAligner
from embcompat.aligners.base import AlignerPair
from embcompat.aligners.sums import Float64, GramSums
from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import InputError


def fit_canonical(train: PairedEmbeddings, *, power: float = 0.5, penalty: float = 0.5) -> AlignerPair:
    """Fit affine maps of both sides into the space of their canonical directions.

    Each side is whitened with its regularized covariance, Σ + λI with λ = ``penalty`` times the mean diagonal of Σ; the
    singular value decomposition U diag(ρ) Vᵀ of the whitened cross-covariance gives the canonical directions, and each
    is multiplied by ρ^``power``, so that what the two models do not share counts for less. The result is a third
    space (`shared_space`): new vectors are moved as well, and what the new model was worth must be measured again
    there. Source: Hotelling, Relations between two sets of variates (1936); the ridge of Vinod, Canonical ridge and
    econometrics of joint production (1976); the weighting and both defaults are ours.

    Args:
        train: Pairs to fit on.
        power: Exponent of the correlations; 0 counts every direction alike.
        penalty: Regularization of both covariances. With a large one whitening does nothing, and directions of large
            variance count most.

    Returns:
        Two affine aligners into min(source_dim, target_dim) dimensions, normalizing where the target space is
        normalized.

    Raises:
        InputError: If there are no pairs, or an option is out of range.
    """
    if power < 0 or penalty <= 0:
        raise InputError(f"power must be 0 or more and penalty positive. Got {power} and {penalty}.")
    source, target = train.source.vectors, train.target.vectors
    sums = GramSums.of([(source, target)])
    target_gram = GramSums.of([(target, target[:, :0])]).source_gram
    whiten_source = _inverse_root(sums.source_gram / sums.count, penalty)
    whiten_target = _inverse_root(target_gram / sums.count, penalty)
    left, correlations, right = np.linalg.svd(
        whiten_source @ (sums.cross_gram / sums.count) @ whiten_target, full_matrices=False
    )
    weights = correlations**power
    normalize = train.target.space.normalized
    forward = (left * weights).T @ whiten_source
    backward = weights[:, np.newaxis] * right @ whiten_target
    return AlignerPair(
        AffineAligner(forward, -forward @ sums.source_mean, normalize=normalize, solver="canonical"),
        AffineAligner(backward, -backward @ sums.target_mean, normalize=normalize, solver="canonical"),
    )


def _inverse_root(covariance: Float64, penalty: float) -> Float64:
    """Return (Σ + λI)^(−1/2), symmetric."""
    values, vectors = np.linalg.eigh(covariance)
    level = penalty * max(float(values.mean()), 1e-12)
    return np.asarray((vectors / np.sqrt(np.maximum(values, 0) + level)) @ vectors.T)
