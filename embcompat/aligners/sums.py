"""Sums over pairs: all that a closed-form solver needs to know of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError

Float64 = NDArray[np.float64]

_BLOCK_ROWS = 2_048
_CHUNK_ROWS = 128  # stays in a core's cache


class GramSums:
    """Float64 sums over pairs, from which every closed-form solver works: one pass, memory O(dim²).

    The sums are kept about the running means, so that data far from the origin lose no digits; sums of parts of the
    data, made by several workers, are added with ``merge``. Source: Chan, Golub and LeVeque, Updating formulae and a
    pairwise algorithm for computing sample variances (1979), eq. 2.1, for matrices.

    Attributes:
        count: Number of pairs.
        source_mean: Array (source_dim,).
        target_mean: Array (target_dim,).
        source_gram: Σ (x − x̄)(x − x̄)ᵀ, array (source_dim, source_dim).
        cross_gram: Σ (x − x̄)(y − ȳ)ᵀ, array (source_dim, target_dim).
        target_square: Σ ‖y − ȳ‖².
    """

    def __init__(self, source_dim: int, target_dim: int) -> None:
        self.count = 0
        self.source_mean: Float64 = np.zeros(source_dim)
        self.target_mean: Float64 = np.zeros(target_dim)
        self.source_gram: Float64 = np.zeros((source_dim, source_dim))
        self.cross_gram: Float64 = np.zeros((source_dim, target_dim))
        self.target_square = 0.0

    def add(self, source: NDArray[Any], target: NDArray[Any]) -> None:
        """Add pairs: arrays (n, source_dim) and (n, target_dim).

        Raises:
            InputError: If the arrays have another shape, or hold NaN or infinity.
        """
        expected = (len(source), len(self.source_mean)), (len(source), len(self.target_mean))
        if (source.shape, target.shape) != expected:
            raise InputError(
                f"source and target must have the shapes {expected[0]} and {expected[1]}. "
                f"Got {source.shape} and {target.shape}."
            )
        for start in range(0, len(source), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            bad = self._add_block(source[rows], target[rows])
            if bad is not None:
                raise InputError(f"pairs must be finite. Row {start + bad} holds NaN or infinity.")

    def _add_block(self, source: NDArray[Any], target: NDArray[Any]) -> int | None:
        """Add a block of pairs; add nothing and return the first row that is not finite, if there is one.

        The block is summed about the means so far, then moved to the means with it [derived from eq. 2.1].
        """
        with np.errstate(over="ignore", invalid="ignore"):
            source_mean, target_mean = self.source_mean, self.target_mean
            if self.count == 0:
                source_mean, target_mean = (side.mean(axis=0, dtype=np.float64) for side in (source, target))
            x, y = _minus(source, source_mean), _minus(target, target_mean)
            ones = np.full(len(x), 1 / len(x))
            source_step, target_step = ones @ x, ones @ y
        if not (np.isfinite(source_step).all() and np.isfinite(target_step).all()):
            finite = np.isfinite(source).all(axis=1) & np.isfinite(target).all(axis=1)
            return int(np.argmin(finite))
        share = len(x) / (self.count + len(x))
        self.source_gram += x.T @ x
        self.source_gram -= np.outer(len(x) * share * source_step, source_step)
        self.cross_gram += x.T @ y
        self.cross_gram -= np.outer(len(x) * share * source_step, target_step)
        self.target_square += float(np.vdot(y, y) - len(x) * share * (target_step @ target_step))
        self.source_mean = source_mean + share * source_step
        self.target_mean = target_mean + share * target_step
        self.count += len(x)
        return None

    def merge(self, other: GramSums) -> None:
        """Add the sums of other pairs."""
        if other.cross_gram.shape != self.cross_gram.shape:
            raise InputError(
                f"sums must be of dimensions {self.cross_gram.shape} to be merged. Got {other.cross_gram.shape}."
            )
        if other.count:
            share = other.count / (self.count + other.count)
            source_step, target_step = other.source_mean - self.source_mean, other.target_mean - self.target_mean
            self.source_gram += other.source_gram + self.count * share * np.outer(source_step, source_step)
            self.cross_gram += other.cross_gram + self.count * share * np.outer(source_step, target_step)
            self.target_square += other.target_square + self.count * share * float(target_step @ target_step)
            self.source_mean = self.source_mean + share * source_step
            self.target_mean = self.target_mean + share * target_step
            self.count += other.count

    @classmethod
    def of(cls, batches: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> GramSums:
        """Sum over batches of pairs (source rows, target rows).

        Raises:
            InputError: If there is no pair.
        """
        sums: GramSums | None = None
        for source, target in batches:
            if sums is None:
                sums = cls(source.shape[1], target.shape[1])
            sums.add(source, target)
        if sums is None or sums.count == 0:
            raise InputError("at least one pair is needed to fit an aligner. Got none.")
        return sums


def ridge_error(sums: GramSums, held_out: GramSums) -> Callable[[float], float]:
    """Return the mean of ‖W x + b − y‖² over held-out pairs, as a function of the penalty of ridge (`solve_ridge`).

    It is exact. One eigendecomposition of the source Gram Q Λ Qᵀ serves all penalties: with s the vector of
    1 / (Λ + λ), Wᵀ is Q s (QᵀC) for the cross Gram C, and each sum over the held-out pairs is a polynomial in s.
    Penalties must be positive. [derived]
    """
    values, basis = np.linalg.eigh(sums.source_gram)
    cross = basis.T @ sums.cross_gram
    linear = np.sum(cross * (basis.T @ held_out.cross_gram), axis=1)
    quadratic = (basis.T @ held_out.source_gram @ basis) * (cross @ cross.T)
    source_step = basis.T @ (held_out.source_mean - sums.source_mean)
    target_step = held_out.target_mean - sums.target_mean
    scale = float(np.trace(sums.source_gram)) / len(values)

    def error(penalty: float) -> float:
        strengths = values + penalty * scale
        inverse = np.divide(1, strengths, out=np.zeros_like(strengths), where=strengths > 0)
        fitted = float(inverse @ quadratic @ inverse) - 2 * float(linear @ inverse)
        offset = (inverse * source_step) @ cross - target_step
        return max((fitted + held_out.target_square) / held_out.count, 0.0) + float(offset @ offset)

    return error


def _minus(vectors: NDArray[Any], mean: Float64) -> Float64:
    """Return the rows less the mean, in float64."""
    result = np.empty(vectors.shape)
    for start in range(0, len(result), _CHUNK_ROWS):
        chunk = result[start : start + _CHUNK_ROWS]
        chunk[:] = vectors[start : start + _CHUNK_ROWS]
        chunk -= mean
    return result
