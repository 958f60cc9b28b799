"""The kernel aligner: a linear map and what Gaussian bumps around landmarks add to it. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.affine import choose_penalty, fit_affine
from embcompat.aligners.base import Config, State, check_source
from embcompat.aligners.sums import Float64, GramSums
from embcompat.embeddings import PairedEmbeddings, normalize_rows, stack_pairs
from embcompat.errors import InputError

DEFAULT_LANDMARKS = 2_500
"""Landmarks of a fit [ours]; more gain little and cost time with every vector."""

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
    penalty: float = 0.2,
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
        validation: Held-out pairs on which the penalty of ridge is chosen.
        landmarks: Number of landmarks; at most one for each pair.
        penalty: λ.
        refit: Whether to fit on the validation pairs too, once they have chosen ridge's penalty.
        seed: Seed of the choice of landmarks.

    Raises:
        InputError: If there are no pairs, or an option is out of range.
    """
    if landmarks < 1 or penalty < 0:
        raise InputError(f"landmarks must be 1 or more and penalty 0 or more. Got {landmarks} and {penalty}.")
    if refit:
        sums, held_out = (GramSums.of([(part.source.vectors, part.target.vectors)]) for part in (train, validation))
        train = stack_pairs(train, validation)
        linear = fit_affine(train, validation, penalty=choose_penalty(sums, held_out))
    else:
        linear = fit_affine(train, validation)
    mean = train.source.vectors.mean(axis=0, dtype=np.float64)
    chosen = np.random.default_rng(seed).permutation(len(train))[:landmarks]
    centres = normalize_rows(train.source.vectors[np.sort(chosen)] - mean)
    squared = 2.0 - 2.0 * (centres @ centres.T)[np.triu_indices(len(centres), 1)]
    # One landmark, or all in one place, has no distances; the value is then without consequence.
    bandwidth = max(float(np.median(squared)), 1e-3) if squared.size else 1.0
    gram, cross = _kernel_sums(train, linear.weight, linear.bias, mean, centres, bandwidth)
    gram += penalty * _similarities(centres, centres, bandwidth)
    gram[np.diag_indices_from(gram)] += 1e-3 + 2e-6 * float(gram.diagonal().max())
    coefficients = np.linalg.solve(gram, cross).T
    return KernelAligner(
        linear.weight,
        linear.bias,
        mean,
        centres,
        coefficients,
        bandwidth=bandwidth,
        normalize=linear.normalize,
    )


def _kernel_sums(
    train: PairedEmbeddings,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    mean: Float64,
    centres: Float64,
    bandwidth: float,
) -> tuple[Float64, Float64]:
    """Return KᵀK (landmarks, landmarks) and Kᵀ·residual (landmarks, target_dim), summed block by block."""
    gram = np.zeros((len(centres), len(centres)))
    cross = np.zeros((len(centres), len(weight)))
    step = _block_rows(len(centres), 8)
    for start in range(0, len(train), step):
        source = train.source.vectors[start : start + step].astype(np.float64)
        residual = train.target.vectors[start : start + step] - (source @ weight.T + bias)
        similarities = _similarities(normalize_rows(source - mean), centres, bandwidth)
        gram += similarities.T @ similarities
        cross += similarities.T @ residual
    return gram, cross


def _similarities(units: NDArray[Any], landmarks: NDArray[Any], bandwidth: float) -> NDArray[Any]:
    """Return k (n, landmarks) of unit rows, in the dtype they have."""
    result = units @ landmarks.T
    result -= 1
    result *= 2 / bandwidth
    return np.asarray(np.exp(result, out=result))


def _block_rows(landmarks: int, itemsize: int) -> int:
    return max(1, _BLOCK_BYTES // (itemsize * landmarks))
