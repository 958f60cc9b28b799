"""Sums over pairs: all that a closed-form solver needs to know of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError

Float64 = NDArray[np.float64]

_BLOCK_ROWS = 2_048


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
            x = source[start : start + _BLOCK_ROWS].astype(np.float64)
            y = target[start : start + _BLOCK_ROWS].astype(np.float64)
            source_mean, target_mean = x.mean(axis=0), y.mean(axis=0)
            if not (np.isfinite(source_mean).all() and np.isfinite(target_mean).all()):
                finite = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
                raise InputError(f"pairs must be finite. Row {start + int(np.argmin(finite))} holds NaN or infinity.")
            x -= source_mean
            y -= target_mean
            self._shift_to(source_mean, target_mean, len(x))
            self.source_gram += x.T @ x
            self.cross_gram += x.T @ y
            self.target_square += float(np.vdot(y, y))

    def merge(self, other: GramSums) -> None:
        """Add the sums of other pairs."""
        if other.cross_gram.shape != self.cross_gram.shape:
            raise InputError(
                f"sums must be of dimensions {self.cross_gram.shape} to be merged. Got {other.cross_gram.shape}."
            )
        if other.count:
            self._shift_to(other.source_mean, other.target_mean, other.count)
            self.source_gram += other.source_gram
            self.cross_gram += other.cross_gram
            self.target_square += other.target_square

    def _shift_to(self, source_mean: Float64, target_mean: Float64, count: int) -> None:
        """Move the means to take in ``count`` more pairs with their own means; add what lies between the means."""
        share = count / (self.count + count)
        source_step, target_step = source_mean - self.source_mean, target_mean - self.target_mean
        self.source_gram += self.count * share * np.outer(source_step, source_step)
        self.cross_gram += self.count * share * np.outer(source_step, target_step)
        self.target_square += self.count * share * float(target_step @ target_step)
        self.source_mean = self.source_mean + share * source_step
        self.target_mean = self.target_mean + share * target_step
        self.count += count

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

    def squared_error(self, weight: Float64, bias: Float64) -> float:
        """Return the mean over these pairs of ‖W x + b − y‖², exactly, from the sums alone."""
        fitted = float(np.vdot(weight, weight @ self.source_gram)) - 2 * float(np.vdot(weight, self.cross_gram.T))
        offset = weight @ self.source_mean + bias - self.target_mean
        return max((fitted + self.target_square) / self.count, 0.0) + float(offset @ offset)
