"""The affine aligner and the closed-form solvers that find it. numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.base import Config, State, check_source
from embcompat.embeddings import PairedEmbeddings, normalize_rows
from embcompat.errors import InputError, UnknownNameError

Solver = Literal["ridge", "procrustes", "low_rank"]
SOLVERS: tuple[Solver, ...] = ("ridge", "procrustes", "low_rank")

PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-6, 1.5, 0.5))
"""Ridge penalties that are tried, as multiples of the mean variance of the source's dimensions [ours]."""

_BLOCK_ROWS = 8_192

Float64 = NDArray[np.float64]


@final
class AffineAligner:
    """y = W x + b, scaled to unit norm where the target space is normalized.

    Args:
        weight: Array W (target_dim, source_dim).
        bias: Array b (target_dim,).
        normalize: Whether to scale the output to unit norm.
        solver: How the map was found; only recorded.

    Example:
        >>> quarter_turn = AffineAligner([[0.0, -1.0], [1.0, 0.0]], [0.0, 0.0])
        >>> quarter_turn.transform([[2.0, 1.0]]).tolist()
        [[-1.0, 2.0]]
    """

    kind: ClassVar[str] = "affine"

    def __init__(self, weight: ArrayLike, bias: ArrayLike, *, normalize: bool = False, solver: str = "ridge") -> None:
        self.weight = np.ascontiguousarray(weight, dtype=np.float32)
        self.bias = np.ascontiguousarray(bias, dtype=np.float32)
        self._normalize = normalize
        self.solver = solver
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise InputError(
                "weight must have shape (target_dim, source_dim) and bias (target_dim,). "
                f"Got {self.weight.shape} and {self.bias.shape}."
            )

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
        return {"normalize": self._normalize, "solver": self.solver}

    def state(self) -> State:
        """Return ``weight`` and ``bias``."""
        return {"weight": self.weight, "bias": self.bias}

    @classmethod
    def from_state(cls, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the aligner again from `config` and `state`."""
        return cls(state["weight"], state["bias"], normalize=bool(config["normalize"]), solver=str(config["solver"]))

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) to float32 (n, target_dim)."""
        mapped = check_source(vectors, self.source_dim) @ self.weight.T
        mapped += self.bias
        return normalize_rows(mapped) if self._normalize else mapped

    def with_output_map(self, matrix: NDArray[Any], offset: NDArray[Any]) -> Self:
        """Return the aligner followed by an affine map, folded into weight and bias."""
        weight = np.asarray(matrix, dtype=np.float64)
        return type(self)(
            weight @ self.weight, weight @ self.bias + offset, normalize=self._normalize, solver=self.solver
        )


class GramSums:
    """Float64 sums over pairs, from which every closed-form solver works: one pass, memory O(dim²).

    Sums of parts of the data, made by several workers, are added with ``merge``.

    Args:
        source_dim: Length of the source vectors.
        target_dim: Length of the target vectors.
    """

    def __init__(self, source_dim: int, target_dim: int) -> None:
        self.count = 0
        self.source_sum: Float64 = np.zeros(source_dim)
        self.target_sum: Float64 = np.zeros(target_dim)
        self.source_gram: Float64 = np.zeros((source_dim, source_dim))
        self.cross_gram: Float64 = np.zeros((source_dim, target_dim))
        self.target_square = 0.0

    def add(self, source: NDArray[Any], target: NDArray[Any]) -> None:
        """Add pairs: arrays (n, source_dim) and (n, target_dim)."""
        if len(source) != len(target):
            raise InputError(f"source and target must have equally many rows. Got {len(source)} and {len(target)}.")
        for start in range(0, len(source), _BLOCK_ROWS):
            x = np.asarray(source[start : start + _BLOCK_ROWS], dtype=np.float64)
            y = np.asarray(target[start : start + _BLOCK_ROWS], dtype=np.float64)
            self.count += len(x)
            self.source_sum += x.sum(axis=0)
            self.target_sum += y.sum(axis=0)
            self.source_gram += x.T @ x
            self.cross_gram += x.T @ y
            self.target_square += float(np.einsum("ij,ij->", y, y))

    def merge(self, other: GramSums) -> None:
        """Add the sums of other pairs."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @classmethod
    def of(cls, batches: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> GramSums:
        """Sum over batches of pairs (source rows, target rows).

        Raises:
            InputError: If there is no batch.
        """
        sums: GramSums | None = None
        for source, target in batches:
            if sums is None:
                sums = cls(source.shape[1], target.shape[1])
            sums.add(source, target)
        if sums is None or sums.count == 0:
            raise InputError("at least one pair is needed to fit an aligner. Got none.")
        return sums

    def centred(self) -> tuple[Float64, Float64, Float64, Float64]:
        """Return source mean, target mean, centred source Gram and centred cross Gram."""
        source_mean, target_mean = self.source_sum / self.count, self.target_sum / self.count
        gram = self.source_gram - self.count * np.outer(source_mean, source_mean)
        cross = self.cross_gram - self.count * np.outer(source_mean, target_mean)
        return source_mean, target_mean, gram, cross

    def squared_error(self, weight: Float64, bias: Float64) -> float:
        """Return the mean over these pairs of ‖W x + b − y‖², exactly, from the sums alone."""
        map_gram = weight.T @ weight
        total = float(np.sum(map_gram * self.source_gram)) + self.target_square
        total += self.count * float(bias @ bias)
        total -= 2 * float(np.sum(weight.T * self.cross_gram))
        total += 2 * float((weight @ self.source_sum - self.target_sum) @ bias)
        return max(total, 0.0) / self.count


def solve_ridge(sums: GramSums, penalty: float) -> tuple[Float64, Float64]:
    """Minimize Σ‖W x + b − y‖² + λ‖W‖²; the bias is not penalized.

    Args:
        sums: The pairs.
        penalty: λ as a multiple of the mean diagonal of the centred source Gram, so that the same value means the
            same thing in every space and for any number of pairs.

    Returns:
        W (target_dim, source_dim) and b (target_dim,), float64.
    """
    source_mean, target_mean, gram, cross = sums.centred()
    strength = penalty * float(np.trace(gram)) / len(gram)
    weight = _solve_positive(gram + strength * np.eye(len(gram)), cross).T
    return weight, target_mean - weight @ source_mean


def solve_procrustes(sums: GramSums, *, scale: bool = False) -> tuple[Float64, Float64]:
    """Minimize Σ‖s R (x − x̄) − (y − ȳ)‖² over matrices R with orthonormal rows or columns.

    Both sides are centred and both means kept in the bias; reflections are allowed; other dimensions give the thin
    rectangular solution. Source: Schönemann (1966); centring as in generalized Procrustes analysis.

    Args:
        sums: The pairs.
        scale: Whether to find s as well (least squares); 1 otherwise.
    """
    source_mean, target_mean, gram, cross = sums.centred()
    left, singular, right = np.linalg.svd(cross, full_matrices=False)
    weight = (left @ right).T
    if scale:
        weight *= float(singular.sum()) / float(np.sum((weight.T @ weight) * gram))
    return weight, target_mean - weight @ source_mean


def solve_low_rank(sums: GramSums, penalty: float, rank: int) -> tuple[Float64, Float64]:
    """Truncate the ridge solution to a rank: reduced-rank regression (Izenman, 1975).

    The truncation is taken where it costs least in the target, along the leading directions of the fitted values,
    not of W itself.
    """
    source_mean, target_mean, gram, _ = sums.centred()
    weight, _ = solve_ridge(sums, penalty)
    fitted = weight @ gram @ weight.T
    directions = np.linalg.eigh((fitted + fitted.T) / 2)[1][:, ::-1][:, :rank]
    weight = directions @ (directions.T @ weight)
    return weight, target_mean - weight @ source_mean


def choose_penalty(sums: GramSums, held_out: GramSums) -> float:
    """Return the penalty of `PENALTIES` with the least squared error on held-out pairs."""
    errors = [held_out.squared_error(*solve_ridge(sums, penalty)) for penalty in PENALTIES]
    return PENALTIES[int(np.argmin(errors))]


def fit_affine(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    solver: Solver = "ridge",
    penalty: float | None = None,
    rank: int | None = None,
    scale: bool = False,
) -> AffineAligner:
    """Fit an affine aligner in closed form.

    Args:
        train: Pairs to fit on.
        validation: Held-out pairs on which the ridge penalty is chosen.
        solver: ``ridge``, ``procrustes`` (orthogonal, both sides centred) or ``low_rank``.
        penalty: Ridge penalty as in `solve_ridge`; chosen on ``validation`` when None.
        rank: Rank for ``low_rank``; three quarters of the smaller dimension when None, because small ranks collapse
            [ours].
        scale: Whether Procrustes may scale.

    Raises:
        InputError: If there are no pairs, or the rank is out of range.
        UnknownNameError: If there is no such solver.
    """
    sums = GramSums.of([(train.source.vectors, train.target.vectors)])
    if solver == "procrustes":
        weight, bias = solve_procrustes(sums, scale=scale)
    elif solver in ("ridge", "low_rank"):
        if penalty is None:
            penalty = choose_penalty(sums, GramSums.of([(validation.source.vectors, validation.target.vectors)]))
        smaller = min(sums.cross_gram.shape)
        if rank is not None and not 1 <= rank <= smaller:
            raise InputError(f"rank must be between 1 and {smaller}, the smaller dimension. Got {rank}.")
        if solver == "ridge":
            weight, bias = solve_ridge(sums, penalty)
        else:
            weight, bias = solve_low_rank(sums, penalty, rank or max(1, 3 * smaller // 4))
    else:
        raise UnknownNameError("affine solver", solver, SOLVERS)
    return AffineAligner(weight, bias, normalize=train.target.space.normalized, solver=solver)


def _solve_positive(matrix: Float64, right: Float64) -> Float64:
    """Solve a symmetric positive semi-definite system; the least-norm solution where it is singular."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0])
