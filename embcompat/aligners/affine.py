"""The affine aligner and the closed-form solvers that find it. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.base import Config, State, check_source
from embcompat.aligners.sums import Float64, GramSums, ridge_error
from embcompat.embeddings import PairedEmbeddings, normalize_rows
from embcompat.errors import InputError, UnknownNameError
from embcompat.spaces import require_space

Solver = Literal["identity", "ridge", "procrustes", "low_rank"]
SOLVERS: tuple[Solver, ...] = ("identity", "ridge", "procrustes", "low_rank")

PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-6, 1.5, 0.5))
"""Ridge penalties that are tried, as multiples of the mean variance of the source's dimensions [ours]."""


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

    def __repr__(self) -> str:
        return f"AffineAligner(source_dim={self.source_dim}, target_dim={self.target_dim}, solver={self.solver!r})"

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


def solve_ridge(sums: GramSums, penalty: float) -> tuple[Float64, Float64]:
    """Minimize Σ‖W x + b − y‖² + λ‖W‖²; the bias is not penalized.

    Args:
        sums: The pairs.
        penalty: λ as a multiple of the mean diagonal of the centred source Gram, so that the same value means the
            same thing in every space and for any number of pairs. 0 is least squares, of least norm where the pairs
            leave it open.

    Returns:
        W (target_dim, source_dim) and b (target_dim,), float64.
    """
    gram = sums.source_gram
    strength = penalty * float(np.trace(gram)) / len(gram)
    if strength > 0:
        solution = np.linalg.solve(gram + strength * np.eye(len(gram)), sums.cross_gram)
    else:
        solution = np.linalg.lstsq(gram, sums.cross_gram, rcond=None)[0]
    weight = np.asarray(solution.T, dtype=np.float64)
    return weight, sums.target_mean - weight @ sums.source_mean


def solve_procrustes(sums: GramSums, *, scale: bool = False) -> tuple[Float64, Float64]:
    """Minimize Σ‖R (x − x̄) − (y − ȳ)‖² over matrices R with orthonormal columns.

    Both sides are centred and both means kept in the bias; reflections are allowed. Where the target is the smaller
    side, R has orthonormal rows instead and minimizes Σ‖(x − x̄) − Rᵀ(y − ȳ)‖², because the other problem has no closed
    form. Source: Schönemann, A generalized solution of the orthogonal Procrustes problem (1966); the thin singular
    value decomposition for unequal dimensions.

    Args:
        sums: The pairs.
        scale: Whether to multiply R by the factor that is best in least squares.

    Returns:
        The matrix (target_dim, source_dim) and the bias (target_dim,), float64.
    """
    left, singular, right = np.linalg.svd(sums.cross_gram, full_matrices=False)
    weight = (left @ right).T
    if scale:
        spread = float(np.vdot(weight, weight @ sums.source_gram))
        weight *= float(singular.sum()) / spread if spread > 0 else 1.0
    return weight, sums.target_mean - weight @ sums.source_mean


def solve_low_rank(sums: GramSums, penalty: float, rank: int) -> tuple[Float64, Float64]:
    """Minimize what `solve_ridge` does over matrices W of at most a given rank.

    The ridge solution is projected onto the leading directions of its fitted values, penalty included. Source:
    Mukherjee and Zhu, Reduced rank ridge regression and its kernel extensions (2011), section 2; without a penalty
    Izenman, Reduced-rank regression for the multivariate linear model (1975).
    """
    weight, _ = solve_ridge(sums, penalty)
    fitted = weight @ sums.cross_gram
    directions = np.linalg.eigh((fitted + fitted.T) / 2)[1][:, ::-1][:, :rank]
    weight = directions @ (directions.T @ weight)
    return weight, sums.target_mean - weight @ sums.source_mean


def choose_penalty(sums: GramSums, held_out: GramSums) -> float:
    """Return the ridge penalty of `PENALTIES` with the least squared error on held-out pairs.

    Raises:
        InputError: If there are no held-out pairs.
    """
    return least_error(PENALTIES, ridge_error(sums, held_out), held_out.count)


def least_error(penalties: Sequence[float], error: Callable[[float], float], held_out: int) -> float:
    """Return the penalty with the least held-out error; the first of several.

    Args:
        penalties: The penalties to try.
        error: Returns the error of a penalty on the held-out pairs.
        held_out: Number of held-out pairs.

    Raises:
        InputError: If there are no held-out pairs.
    """
    if not held_out:
        raise InputError("choosing a penalty needs held-out pairs. Got none. Pass some, or pass penalty=….")
    return min(penalties, key=error)


def fit_affine(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    solver: Solver = "ridge",
    penalty: float | None = None,
    rank: int | None = None,
    scale: bool = False,
    refit: bool = False,
) -> AffineAligner:
    """Fit an affine aligner in closed form.

    Args:
        train: Pairs to fit on.
        validation: Held-out pairs on which the ridge penalty is chosen.
        solver: ``ridge``, ``procrustes`` (orthogonal, both sides centred), ``low_rank``, or ``identity``, which changes
            nothing: for a new model whose vectors are nearly the old model's, where no aligner is needed.
        penalty: Ridge penalty as in `solve_ridge`; chosen on ``validation`` when None.
        rank: Rank for ``low_rank``; three quarters of the smaller dimension when None, because small ranks collapse
            [ours].
        scale: Whether Procrustes may scale.
        refit: Whether to fit on the validation pairs too, once they have chosen the penalty.

    Raises:
        InputError: If there are no pairs, the pairs are of two kinds of spaces, or an option is out of range or of
            another solver.
        UnknownNameError: If there is no such solver.
    """
    sums, held_out = pair_sums(train, validation)
    if refit:
        if penalty is None and solver in ("ridge", "low_rank"):
            penalty = choose_penalty(sums, held_out)
        sums.merge(held_out)
    return fit_affine_sums(
        sums,
        held_out,
        normalize=train.target.space.normalized,
        solver=solver,
        penalty=penalty,
        rank=rank,
        scale=scale,
    )


def pair_sums(train: PairedEmbeddings, validation: PairedEmbeddings) -> tuple[GramSums, GramSums]:
    """Return the sums over the pairs to fit on, and those over held-out pairs, of which there may be none.

    Raises:
        InputError: If there are no pairs to fit on, or the pairs are of two kinds of spaces.
    """
    require_space(validation.source.space, train.source.space, what="The source side of validation")
    require_space(validation.target.space, train.target.space, what="The target side of validation")
    held_out = GramSums(train.source.space.dim, train.target.space.dim)
    held_out.add(validation.source.vectors, validation.target.vectors)
    return GramSums.of([(train.source.vectors, train.target.vectors)]), held_out


def fit_affine_sums(
    train: GramSums,
    validation: GramSums,
    *,
    normalize: bool,
    solver: Solver = "ridge",
    penalty: float | None = None,
    rank: int | None = None,
    scale: bool = False,
) -> AffineAligner:
    """Fit an affine aligner on sums over pairs, which may be of data larger than memory or come from workers.

    Args:
        train: Sums over the pairs to fit on.
        validation: Sums over held-out pairs; may be empty where no penalty is to be chosen.
        normalize: Whether the target space is normalized.
        solver: As in `fit_affine`, with the options that follow.
        penalty: As in `fit_affine`.
        rank: As in `fit_affine`.
        scale: As in `fit_affine`.
    """
    if train.count == 0:
        raise InputError("at least one pair is needed to fit an aligner. Got none.")
    smaller = min(train.cross_gram.shape)
    if rank is not None and solver != "low_rank":
        raise InputError(f"rank is an option of the solver low_rank. Got it for {solver!r}.")
    if scale and solver != "procrustes":
        raise InputError(f"scale is an option of the solver procrustes. Got it for {solver!r}.")
    if rank is not None and not 1 <= rank <= smaller:
        raise InputError(f"rank must be between 1 and {smaller}, the smaller dimension. Got {rank}.")
    if penalty is not None and penalty < 0:
        raise InputError(f"penalty must be 0 or more. Got {penalty}.")
    if solver == "identity":
        weight, bias = _identity(*train.cross_gram.shape)
    elif solver == "procrustes":
        weight, bias = solve_procrustes(train, scale=scale)
    elif solver in ("ridge", "low_rank"):
        penalty = choose_penalty(train, validation) if penalty is None else penalty
        if solver == "ridge":
            weight, bias = solve_ridge(train, penalty)
        else:
            weight, bias = solve_low_rank(train, penalty, rank or max(1, 3 * smaller // 4))
    else:
        raise UnknownNameError("affine solver", solver, SOLVERS)
    return AffineAligner(weight, bias, normalize=normalize, solver=solver)


def _identity(source_dim: int, target_dim: int) -> tuple[Float64, Float64]:
    if source_dim != target_dim:
        raise InputError(f"identity needs two spaces of one dimension. Got {source_dim} and {target_dim}.")
    return np.eye(target_dim), np.zeros(target_dim)
