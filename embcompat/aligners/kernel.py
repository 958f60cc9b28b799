"""The kernel aligner: a linear map plus a sum of Gaussian kernels around landmarks. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.affine import AffineAligner, choose_penalty, fit_affine_sums, least_error, pair_sums
from embcompat.aligners.base import Config, State, check_source
from embcompat.aligners.landmarks import LandmarkSums, block_rows, median_bandwidth, similarities
from embcompat.embeddings import PairedEmbeddings, normalize_rows
from embcompat.errors import InputError

DEFAULT_LANDMARKS = 2_500
"""Landmarks of a fit [ours]; more gain little and cost time with every vector."""

PENALTIES = (0.02, 0.2)
"""Kernel penalties that are tried [ours]; from some hundred pairs on the first is the best on text."""

CHOOSING_LANDMARKS = 1_000
"""Most landmarks with which the penalty is chosen: it weighs the same norm for any number of them [ours]."""

SUMMED_PAIRS, PAIRS_PER_LANDMARK = 250_000, 100
"""Most pairs that the kernel part is summed over, a random sample of them; more where there are that many for each
landmark. The linear part is fitted on all pairs. On two upgrades of NPL the squared error fell by 1.2 and 1.7 % from 25
to 50 pairs a landmark, and by 0.7 and 0.9 % from 50 to 91; twice as many landmarks took off 5.5 and 2.5 % [ours]."""


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
        step = block_rows(len(self.landmarks))
        for start in range(0, len(rows), step):
            units = normalize_rows(rows[start : start + step] - self.mean)
            mapped[start : start + step] += similarities(units, self.landmarks, self.bandwidth) @ self.coefficients.T
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
    landmarks are random rows of the pairs that are fitted on, and the bandwidth is the median squared distance between
    them, or between a thousand of them. Ridge is fitted on all pairs; beyond 250,000 pairs, or 100 for each landmark if
    that is more, the sum over i runs over a random sample of that size (`summed_pairs`). Source: Williams and Seeger,
    Using the Nyström method to speed up kernel machines (2001); the centring, the bandwidth, the penalty, the sample
    and fitting the residual are ours.

    Args:
        train: Pairs to fit on. Memory beside them is that of a few float64 arrays (landmarks, landmarks) and a block.
        validation: Held-out pairs on which the penalties of ridge and kernel are chosen. No landmark of the fits that
            are compared is one of them.
        landmarks: Number of landmarks; at most one for each pair.
        penalty: λ; when None, the one of `PENALTIES` with the least squared error of the output on ``validation``, with
            1,000 landmarks at most (`CHOOSING_LANDMARKS`).
        refit: Whether to fit on the validation pairs too, once they have chosen the penalties.
        seed: Seed of the choice of landmarks.

    Raises:
        InputError: If there are no pairs, or an option is out of range.
    """
    if landmarks < 1 or (penalty is not None and penalty < 0):
        raise InputError(f"landmarks must be 1 or more and penalty 0 or more. Got {landmarks} and {penalty}.")
    sums, held_out = pair_sums(train, validation)
    ridge = choose_penalty(sums, held_out)
    linear = fit_affine_sums(sums, held_out, normalize=train.target.space.normalized, penalty=ridge)
    if refit:
        sums.merge(held_out)
    sample = _Sample.draw(train, validation, landmarks, refit=refit, seed=seed)
    centres = normalize_rows(sample.landmarks - sums.source_mean.astype(np.float32))
    equations = LandmarkSums(sums.source_mean, sums.target_mean, centres, median_bandwidth(centres))
    equations.add(train.source.vectors, train.target.vectors, sample.train)
    if penalty is None:
        part, few = validation.select(sample.validation), min(sample.train_landmarks, CHOOSING_LANDMARKS)
        penalty = least_error(PENALTIES, lambda value: _error(_solve(equations, linear, value, few), part), len(part))
    if refit:
        equations.add(validation.source.vectors, validation.target.vectors, sample.validation)
        linear = fit_affine_sums(sums, held_out, normalize=linear.normalize, penalty=ridge)
    return _solve(equations, linear, penalty, len(centres))


def summed_pairs(count: int, landmarks: int) -> int:
    """Return over how many of some pairs the kernel part is summed.

    Args:
        count: Number of pairs, validation included.
        landmarks: Number of landmarks.

    Example:
        >>> summed_pairs(9_000, 2_500), summed_pairs(1_000_000, 2_500), summed_pairs(1_000_000, 6_000)
        (9000, 250000, 600000)
    """
    return min(count, max(SUMMED_PAIRS, PAIRS_PER_LANDMARK * landmarks))


@dataclass(frozen=True, eq=False)
class _Sample:
    """Which rows a fit takes.

    Attributes:
        train: Rows of the training pairs that are summed (n,).
        validation: Rows of the validation pairs that choose the penalty, and are summed in a refit (n,).
        landmarks: Source vectors of the landmarks (landmarks, source_dim): those of training pairs, then others.
        train_landmarks: How many of them are of training pairs.
    """

    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    landmarks: NDArray[np.float32]
    train_landmarks: int

    @classmethod
    def draw(
        cls, train: PairedEmbeddings, validation: PairedEmbeddings, landmarks: int, *, refit: bool, seed: int
    ) -> _Sample:
        """Draw landmarks among all pairs that are fitted on, and the pairs to sum from both parts in proportion."""
        total = len(train) + len(validation)
        share = summed_pairs(total, landmarks) / total
        first = max(1, round(landmarks * len(train) / total)) if refit else landmarks
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(len(part)) for part in (train, validation)]
        rows = [np.sort(order[: math.ceil(share * len(order))]) for order in orders]
        centres = [
            part.source.vectors[order[:count]]
            for part, order, count in zip((train, validation), orders, (first, landmarks - first), strict=True)
        ]
        return cls(rows[0], rows[1], np.concatenate(centres), len(centres[0]))


def _solve(equations: LandmarkSums, linear: AffineAligner, penalty: float, landmarks: int) -> KernelAligner:
    """Return the aligner of least penalized error, with the first landmarks alone."""
    return KernelAligner(
        linear.weight,
        linear.bias,
        equations.source_mean,
        equations.landmarks[:landmarks],
        equations.solve(linear, penalty, landmarks),
        bandwidth=equations.bandwidth,
        normalize=linear.normalize,
    )


def _error(aligner: KernelAligner, pairs: PairedEmbeddings) -> float:
    """Return the mean squared error of the output."""
    residual = aligner.transform(pairs.source.vectors) - pairs.target.vectors
    return float(np.einsum("ij,ij->", residual, residual, dtype=np.float64)) / len(residual)
