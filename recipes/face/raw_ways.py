"""Ways to fit an aligner between raw Euclidean spaces, for raw_spaces.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import embcompat as ec
from embcompat.aligners import KernelAligner, ReweightedAligner, fit_affine, fit_kernel, match_variance, reweight
from embcompat.selection import fit_ensemble

LENGTHS = (1.0, 1.5, 2.0, 3.0, 5.0)
"""Lengths of converted vectors, in multiples of the length of native ones."""


def transport(aligner: ec.Aligner, pairs: ec.PairedEmbeddings) -> tuple[np.ndarray, np.ndarray]:
    """Return A and m of the optimal transport m + A(f − m) from the output's Gaussian to the target's.

    A = F^(−½) (F^½ T F^½)^½ F^(−½), with the covariances F of the output and T of the target. Source: Peyré and Cuturi,
    Computational Optimal Transport (2019), section 2.6.
    """
    output, target = (
        side.astype(np.float64) for side in (aligner.transform(pairs.source.vectors), pairs.target.vectors)
    )
    root = power(np.cov(output, rowvar=False), 0.5)
    inverse = power(np.cov(output, rowvar=False), -0.5)
    return inverse @ power(root @ np.cov(target, rowvar=False) @ root, 0.5) @ inverse, output.mean(axis=0)


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Raise a positive semidefinite matrix to a power."""
    values, vectors = np.linalg.eigh(matrix)
    floor = 1e-9 * values.max()
    return np.asarray((vectors * np.maximum(values, floor) ** exponent) @ vectors.T)


def moved_per_direction(aligner: KernelAligner, pairs: ec.PairedEmbeddings) -> KernelAligner:
    """Return the aligner whose output has the mean of its own and the covariance of the target."""
    matrix, mean = transport(aligner, pairs)
    return aligner.with_output_map(matrix, mean - matrix @ mean)


def lengthened(aligner: ReweightedAligner, factor: float) -> ReweightedAligner:
    """Return a reweighted aligner whose output has another length, in multiples of the native one."""
    length = (aligner.length or 0.0) * factor / 2
    return ReweightedAligner(aligner.base, aligner.weight, aligner.bias, length=length, origin=aligner.origin)


def list_ways(split: ec.PairSplit, *, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield the aligners to measure, all fitted on the training pairs and corrected on the validation pairs."""
    held_out = split.validation
    ridge, kernel = fit_affine(split.train, held_out), fit_kernel(split.train, held_out, seed=seed)
    reweighted = reweight(kernel, held_out)
    yield "ridge", ridge
    yield "kernel", kernel
    yield "kernel, stretched", match_variance(kernel, held_out)
    yield "kernel, per direction", moved_per_direction(kernel, held_out)
    only_length = {"length": reweighted.length, "origin": reweighted.origin}
    yield "kernel, one length", ReweightedAligner(kernel, np.eye(kernel.target_dim), -reweighted.origin, **only_length)
    yield "ridge, reweighted", reweight(ridge, held_out)
    yield "kernel, reweighted", reweighted


def list_networks(split: ec.PairSplit, *, seed: int, smoke: bool) -> Iterator[tuple[str, Any]]:
    """Yield a residual network, its mean with a kernel aligner, and the kernel aligner to compare with."""
    held_out = split.validation
    short: dict[str, Any] = {"epochs": 1} if smoke else {}
    network = ec.fit_neural(split.train, held_out, kind="residual", seed=seed, **short)
    yield "kernel, reweighted", reweight(fit_kernel(split.train, held_out, seed=seed), held_out)
    yield "residual", network
    yield "residual, reweighted", reweight(network, held_out)
    yield "ensemble, reweighted", reweight(fit_ensemble(split.train, held_out, network=network, seed=seed), held_out)
