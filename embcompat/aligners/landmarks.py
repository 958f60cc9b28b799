"""Similarities to landmarks, and their sums over pairs: all that a kernel fit needs to know of the data. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners.affine import AffineAligner
from embcompat.aligners.sums import Float64
from embcompat.embeddings import normalize_rows

Float32 = NDArray[np.float32]

_BLOCK_BYTES = 32 << 20
"""Memory that similarities to the landmarks may take at a time."""

_BLOCK_ROWS = 4_096
"""Most rows of a block: float32 products over more of them would lose digits."""


def similarities(units: NDArray[Any], landmarks: NDArray[Any], bandwidth: float) -> NDArray[Any]:
    """Return k (n, landmarks) of unit rows (n, source_dim), in the dtype they have: exp((u·c − 1) · 2/β).

    Args:
        units: Unit rows u.
        landmarks: Landmarks c, unit vectors (landmarks, source_dim).
        bandwidth: β.
    """
    result = units @ landmarks.T
    result -= 1
    result *= 2 / bandwidth
    return np.asarray(np.exp(result, out=result))


def block_rows(landmarks: int) -> int:
    """Return how many rows of float32 similarities are computed at a time."""
    return min(_BLOCK_ROWS, max(1, _BLOCK_BYTES // (4 * landmarks)))


def median_bandwidth(landmarks: Float32) -> float:
    """Return the median squared distance between landmarks, unit vectors in random order (landmarks, source_dim).

    The first 1,000 stand for all [ours]. One landmark, or all in one place, has no distances; the value is then without
    consequence.
    """
    part = landmarks[:1_000]
    squared = 2.0 - 2.0 * (part @ part.T)[np.triu_indices(len(part), 1)]
    return max(float(np.median(squared)), 1e-3) if squared.size else 1.0


class LandmarkSums:
    """Sums over pairs from which the kernel part follows, for any linear part and any penalty.

    One pass over the pairs serves the choice of a penalty and the fit. The products are those of float32 blocks, added
    in float64. Similarities are all far above 0, and differ little; they are summed about their means among the
    landmarks, and vectors about theirs, so that float32 keeps the digits of the differences. [ours]

    Args:
        source_mean: Array m (source_dim,), from which the directions of the source vectors are taken.
        target_mean: Array (target_dim,).
        landmarks: Landmarks, unit vectors in random order (landmarks, source_dim).
        bandwidth: β.
    """

    def __init__(self, source_mean: Float64, target_mean: Float64, landmarks: Float32, bandwidth: float) -> None:
        self.source_mean, self.target_mean = source_mean, target_mean
        self.landmarks, self.bandwidth = landmarks, bandwidth
        self._among = similarities(landmarks, landmarks, bandwidth)
        self._offset: Float64 = self._among.mean(axis=0, dtype=np.float64)
        # The last feature is 1: its products are the sums of the others.
        self._gram: Float64 = np.zeros((len(landmarks) + 1, len(landmarks) + 1))
        self._cross: Float64 = np.zeros((len(landmarks) + 1, len(source_mean) + len(target_mean)))

    def add(self, source: NDArray[np.float32], target: NDArray[np.float32], rows: NDArray[np.intp]) -> None:
        """Add some rows of source vectors (n, source_dim) and target vectors (n, target_dim)."""
        means = self.source_mean.astype(np.float32), self.target_mean.astype(np.float32)
        offset = self._offset.astype(np.float32)
        step = block_rows(len(offset))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            deviations = np.hstack([source[block] - means[0], target[block] - means[1]])
            features = np.ones((len(block), len(offset) + 1), dtype=np.float32)
            units = normalize_rows(deviations[:, : len(means[0])])
            np.subtract(similarities(units, self.landmarks, self.bandwidth), offset, out=features[:, :-1])
            self._gram += features.T @ features
            self._cross += features.T @ deviations

    def solve(self, linear: AffineAligner, penalty: float, landmarks: int) -> Float64:
        """Return the coefficients A (target_dim, landmarks) of the first landmarks.

        They minimize Σ‖r − A k(x)‖² + λ tr(A K Aᵀ), where r is what the linear part leaves over.

        Args:
            linear: The linear part.
            penalty: λ.
            landmarks: How many of the landmarks to use.
        """
        weight = linear.weight.astype(np.float64)
        constant = linear.bias + weight @ self.source_mean - self.target_mean
        from_source, from_target = np.split(self._cross, [len(self.source_mean)], axis=1)
        residual = from_target - from_source @ weight.T - np.outer(self._gram[:, -1], constant)
        part = slice(landmarks)
        offset, sums = self._offset[part], self._gram[part, -1]
        gram = self._gram[part, part] + penalty * self._among[part, part]
        gram += np.stack([offset, sums], axis=1) @ np.stack([sums + self._gram[-1, -1] * offset, offset])
        gram[np.diag_indices_from(gram)] += 1e-3 + 2e-6 * float(gram.diagonal().max())
        cross = residual[part] + np.outer(offset, residual[-1])
        return np.asarray(np.linalg.solve(gram, cross).T, dtype=np.float64)
