"""The kernel aligner: a linear map plus a sum of Gaussian kernels around landmarks. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.affine import AffineAligner, fit_affine, least_error
from embcompat.aligners.base import Config, State, check_source
from embcompat.aligners.sums import Float64
from embcompat.embeddings import PairedEmbeddings, normalize_rows, stack_pairs
from embcompat.errors import InputError

DEFAULT_LANDMARKS = 2_500
"""Landmarks of a fit [ours]; more gain little and cost time with every vector."""

PENALTIES = (0.02, 0.2)
"""Kernel penalties that are tried [ours]; from some hundred pairs on the first is the best on text."""

_BLOCK_BYTES = 32 << 20
"""Memory that similarities to the landmarks may take at a time."""


@final
class KernelAligner:
    """y = W x + b + A k(x), scaled to unit norm where the target space is normalized.

    The similarities to the landmarks c_j, which are unit vectors, are

        k_j(x) = exp(−‖u − c_j‖² / β) = exp((u·c_j − 1) · 2/β),   u = (x − m) / ‖x − m‖.

    As a graph that is: subtract m, normalize, one product, one exp, one product, added to the linear part.

    Args:
        weight: Array W (target_dim, source_dim).
        bias: Array b (target_dim,).
        mean: Array m (source_dim,), the mean of the source vectors.
        landmarks: Array of the c_j (landmarks, source_dim).
        coefficients: Array A (target_dim, landmarks).
        bandwidth: β, a squared distance.
        normalize: Whether to scale the output to unit norm.
    """

    kind: ClassVar[str] = "kernel"

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike,
        mean: ArrayLike,
        landmarks: ArrayLike,
        coefficients: ArrayLike,
        *,
        bandwidth: float,
        normalize: bool = False,
    ) -> None:
        self.weight = np.ascontiguousarray(weight, dtype=np.float32)
        self.bias = np.ascontiguousarray(bias, dtype=np.float32)
        self.mean = np.ascontiguousarray(mean, dtype=np.float32)
        self.landmarks = np.ascontiguousarray(landmarks, dtype=np.float32)
        self.coefficients = np.ascontiguousarray(coefficients, dtype=np.float32)
        self.bandwidth = bandwidth
        self._normalize = normalize
        target_dim, source_dim = self.weight.shape
        shapes = self.bias.shape, self.mean.shape, self.landmarks.shape, self.coefficients.shape
        count = len(self.landmarks)
        if shapes != ((target_dim,), (source_dim,), (count, source_dim), (target_dim, count)):
            raise InputError(
                "bias, mean, landmarks and coefficients must have the shapes (target_dim,), (source_dim,), "
                f"(landmarks, source_dim) and (target_dim, landmarks) for weight {self.weight.shape}. Got {shapes}."
            )
        if not bandwidth > 0:
            raise InputError(f"bandwidth must be positive. Got {bandwidth}.")

    def __repr__(self) -> str:
        dims = f"source_dim={self.source_dim}, target_dim={self.target_dim}"
        return f"KernelAligner({dims}, landmarks={len(self.landmarks)})"

    @property
    def source_dim(self) -> int:
        """Length of the vectors that go in."""
        return int(self.weight.shape[1])

    @property
    def target_dim(self) -> int:
        """Length of the vectors that come out."""
        return int(self.weight.shape[0])

    @property
    def normalize(self) -> bool:
        """Whether the output is scaled to unit norm."""
        return self._normalize

    def config(self) -> Config:
        """Return the options as JSON."""
        return {"bandwidth": self.bandwidth, "normalize": self._normalize}

    def state(self) -> State:
        """Return ``weight``, ``bias``, ``mean``, ``landmarks`` and ``coefficients``."""
        return {name: getattr(self, name) for name in ("weight", "bias", "mean", "landmarks", "coefficients")}

    @classmethod
    def from_state(cls, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the aligner again from `config` and `state`."""
        return cls(**state, bandwidth=float(str(config["bandwidth"])), normalize=bool(config["normalize"]))

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) to float32 (n, target_dim), in blocks of bounded memory."""
        rows = check_source(vectors, self.source_dim)
        mapped = rows @ self.weight.T
        mapped += self.bias
        step = _block_rows(len(self.landmarks), 4)
        for start in range(0, len(rows), step):
            units = normalize_rows(rows[start : start + step] - self.mean)
            mapped[start : start + step] += _similarities(units, self.landmarks, self.bandwidth) @ self.coefficients.T
        return normalize_rows(mapped) if self._normalize else mapped

    def with_output_map(self, matrix: NDArray[Any], offset: NDArray[Any]) -> Self:
        """Return the aligner followed by an affine map, folded into weight, bias and coefficients."""
        factor = np.asarray(matrix, dtype=np.float64)
        return type(self)(
            factor @ self.weight,
            factor @ self.bias + offset,
            self.mean,
            self.landmarks,
            factor @ self.coefficients,
            bandwidth=self.bandwidth,
            normalize=self._normalize,
        )


def fit_kernel(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    landmarks: int = DEFAULT_LANDMARKS,
    penalty: float | None = None,
    refit: bool = False,
    seed: int = 0,
) -> KernelAligner:
    """Fit ridge, then kernel ridge on what ridge leaves over, in seconds and in closed form.

    Minimizes Σ‖r_i − A k(x_i)‖² + λ tr(A K Aᵀ) over A, where r are the residuals of ridge on the training pairs and K
    the similarities of the landmarks among themselves: the Nyström approximation of kernel ridge regression. The
    landmarks are random training rows, and the bandwidth is the median squared distance between them. Source: Williams
    and Seeger, Using the Nyström method to speed up kernel machines (2001); the centring, the bandwidth, the penalty
    and fitting the residual are ours.

    Args:
        train: Pairs to fit on. Memory beside them is that of two float64 arrays (landmarks, landmarks) and a block.
        validation: Held-out pairs on which the penalties of ridge and kernel are chosen.
        landmarks: Number of landmarks; at most one for each pair.
        penalty: λ; the one of `PENALTIES` with the least squared error of the output on ``validation`` when None.
        refit: Whether to fit on the validation pairs too, once they have chosen the penalties.
        seed: Seed of the choice of landmarks.

    Raises:
        InputError: If there are no pairs, or an option is out of range.
    """
    if landmarks < 1 or (penalty is not None and penalty < 0):
        raise InputError(f"landmarks must be 1 or more and penalty 0 or more. Got {landmarks} and {penalty}.")
    equations = _Equations.of(train, fit_affine(train, validation), landmarks, seed)
    if penalty is None:
        penalty = least_error(PENALTIES, lambda value: _error(equations.solve(value), validation), len(validation))
    if refit:
        linear = fit_affine(train, validation, refit=True)
        equations = _Equations.of(stack_pairs(train, validation), linear, landmarks, seed)
    return equations.solve(penalty)


@dataclass(frozen=True, eq=False)
class _Equations:
    """The normal equations of the kernel part, ready to be solved under any penalty.

    Attributes:
        linear: The linear part.
        mean: Array (source_dim,), the mean of the source vectors.
        centres: The landmarks, unit vectors (landmarks, source_dim).
        bandwidth: β.
        gram: KᵀK (landmarks, landmarks).
        cross: Kᵀ·residual (landmarks, target_dim).
    """

    linear: AffineAligner
    mean: Float64
    centres: Float64
    bandwidth: float
    gram: Float64
    cross: Float64

    @classmethod
    def of(cls, train: PairedEmbeddings, linear: AffineAligner, landmarks: int, seed: int) -> _Equations:
        """Choose landmarks among the training pairs and sum over all of them, block by block."""
        mean = train.source.vectors.mean(axis=0, dtype=np.float64)
        chosen = np.random.default_rng(seed).permutation(len(train))[:landmarks]
        centres = normalize_rows(train.source.vectors[np.sort(chosen)] - mean)
        squared = 2.0 - 2.0 * (centres @ centres.T)[np.triu_indices(len(centres), 1)]
        # One landmark, or all in one place, has no distances; the value is then without consequence.
        bandwidth = max(float(np.median(squared)), 1e-3) if squared.size else 1.0
        gram = np.zeros((len(centres), len(centres)))
        cross = np.zeros((len(centres), linear.target_dim))
        step = _block_rows(len(centres), 8)
        for start in range(0, len(train), step):
            source = train.source.vectors[start : start + step].astype(np.float64)
            residual = train.target.vectors[start : start + step] - (source @ linear.weight.T + linear.bias)
            similarities = _similarities(normalize_rows(source - mean), centres, bandwidth)
            gram += similarities.T @ similarities
            cross += similarities.T @ residual
        return cls(linear, mean, centres, bandwidth, gram, cross)

    def solve(self, penalty: float) -> KernelAligner:
        """Return the aligner of least penalized error."""
        gram = self.gram + penalty * _similarities(self.centres, self.centres, self.bandwidth)
        gram[np.diag_indices_from(gram)] += 1e-3 + 2e-6 * float(gram.diagonal().max())
        return KernelAligner(
            self.linear.weight,
            self.linear.bias,
            self.mean,
            self.centres,
            np.linalg.solve(gram, self.cross).T,
            bandwidth=self.bandwidth,
            normalize=self.linear.normalize,
        )


def _error(aligner: KernelAligner, pairs: PairedEmbeddings) -> float:
    """Return the mean squared error of the output."""
    residual = aligner.transform(pairs.source.vectors) - pairs.target.vectors
    return float(np.mean(np.sum(residual.astype(np.float64) ** 2, axis=1)))


def _similarities(units: NDArray[Any], landmarks: NDArray[Any], bandwidth: float) -> NDArray[Any]:
    """Return k (n, landmarks) of unit rows, in the dtype they have."""
    result = units @ landmarks.T
    result -= 1
    result *= 2 / bandwidth
    return np.asarray(np.exp(result, out=result))


def _block_rows(landmarks: int, itemsize: int) -> int:
    return max(1, _BLOCK_BYTES // (itemsize * landmarks))
