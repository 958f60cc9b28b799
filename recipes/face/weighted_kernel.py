"""Kernel aligners that were tried and are not in the zoo: rows weighed, or other targets."""

from __future__ import annotations

import numpy as np

import embcompat as ec
from embcompat.aligners import KernelAligner, fit_kernel
from embcompat.embeddings import normalize_rows

PENALTY = 0.2


def fit_weighted_kernel(train: ec.PairedEmbeddings, validation: ec.PairedEmbeddings, what: str) -> KernelAligner:
    """Fit a kernel aligner as `fit_kernel` does, with other weights or targets.

    Args:
        train: Pairs to fit on, labelled.
        validation: Held-out pairs.
        what: ``robust`` (rows that a first fit misses count less), ``per_person`` (a person of many images counts as
            the square root of them), or ``class_mean_A`` (targets are moved to the mean of their person by A).
    """
    people, counts = np.unique(np.asarray(train.labels).astype(str), return_inverse=True, return_counts=True)[1:]
    target = train.target.vectors.astype(np.float64)
    weights = np.ones(len(train))
    plain = fit_kernel(train, validation)
    if what == "robust":
        missed = np.linalg.norm(target - plain.transform(train.source.vectors), axis=1)
        weights = np.median(missed) / np.maximum(missed, 0.3 * np.median(missed))
    elif what == "per_person":
        weights = 1 / np.sqrt(counts[people])
    else:
        share = float(what.removeprefix("class_mean_"))
        means = np.zeros((len(counts), target.shape[1]))
        np.add.at(means, people, target)
        target = normalize_rows((1 - share) * target + share * (means / counts[:, np.newaxis])[people])
    return _refit(plain, train.source.vectors.astype(np.float64), target, weights)


def _refit(plain: KernelAligner, source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> KernelAligner:
    """Solve for the coefficients again."""

    def similarities(units: np.ndarray) -> np.ndarray:
        return np.exp((units @ plain.landmarks.T - 1) * 2 / plain.bandwidth)

    kernel = similarities(normalize_rows(source - plain.mean))
    residual = target - (source @ plain.weight.T + plain.bias)
    gram = (kernel * weights[:, np.newaxis]).T @ kernel + PENALTY * similarities(plain.landmarks)
    gram[np.diag_indices_from(gram)] += 1e-3 + 2e-6 * gram.diagonal().max()
    coefficients = np.linalg.solve(gram, (kernel * weights[:, np.newaxis]).T @ residual).T
    arrays = plain.state() | {"coefficients": coefficients.astype(np.float32)}
    return KernelAligner.from_state(plain.config(), arrays)
