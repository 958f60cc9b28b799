"""Aligners one after the other, as one aligner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.affine import AffineAligner
from embcompat.aligners.base import Aligner, Config, State, check_source
from embcompat.aligners.parts import build_parts, describe_parts, state_of_parts
from embcompat.aligners.reweighted import query_weights, unweight
from embcompat.errors import InputError


@final
class ChainAligner:
    """Two or more aligners, each fed with what the one before puts out.

    Args:
        steps: The aligners in the order of use; each reads the dimension that the one before writes.

    Raises:
        InputError: If there are fewer than two, or two neighbours do not fit.

    Example:
        >>> turn = AffineAligner([[0.0, -1.0], [1.0, 0.0]], [0.0, 0.0], normalize=True)
        >>> ChainAligner([turn, turn]).transform([[5.0, 0.0]]).tolist()
        [[-1.0, 0.0]]
    """

    kind: ClassVar[str] = "chain"

    def __init__(self, steps: Sequence[Aligner]) -> None:
        self.steps = tuple(steps)
        if len(self.steps) < 2:
            raise InputError(f"a chain needs at least two aligners. Got {len(self.steps)}.")
        _check_joints(self.steps)

    @property
    def source_dim(self) -> int:
        """Length of the vectors that go in."""
        return self.steps[0].source_dim

    @property
    def target_dim(self) -> int:
        """Length of the vectors that come out."""
        return self.steps[-1].target_dim

    @property
    def normalize(self) -> bool:
        """Whether the output is scaled to unit norm."""
        return self.steps[-1].normalize

    @property
    def unweighted(self) -> Self:
        """The same without the reweighting of the last step; itself where that is not reweighted."""
        *first, last = self.steps
        bare = unweight(last)
        return self if bare is last else type(self)([*first, bare])

    @property
    def query_weights(self) -> NDArray[np.float32] | None:
        """What weighs queries instead of the rows of the last step; None where that is not reweighted."""
        return query_weights(self.steps[-1])

    def config(self) -> Config:
        """Return kind and options of every step; ``normalize`` is the last step's and rules it."""
        return {"normalize": self.normalize, "steps": describe_parts(self.steps)}

    def state(self) -> State:
        """Return the arrays of every step, their names preceded by the step's number and a dot."""
        return state_of_parts(self.steps)

    @classmethod
    def from_state(cls, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the chain again from `config` and `state`."""
        *first, last = cast(Any, config["steps"])
        last = {**last, "config": {**last["config"], "normalize": config["normalize"]}}
        return cls(build_parts([*first, last], state))

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) to float32 (n, target_dim), through every step."""
        result = check_source(vectors, self.source_dim)
        for step in self.steps:
            result = step.transform(result)
        return result

    def with_output_map(self, matrix: NDArray[Any], offset: NDArray[Any]) -> Self:
        """Return this chain followed by an affine map, folded into its last step."""
        return type(self)([*self.steps[:-1], self.steps[-1].with_output_map(matrix, offset)])


def chain_aligners(aligners: Sequence[Aligner]) -> Aligner:
    """Put aligners one after the other, with as few steps as give the same map.

    Two affine neighbours become one where the first does not normalize: A₂(A₁ x + b₁) + b₂ = (A₂A₁) x + (A₂b₁ + b₂).
    Normalization is not affine, so nothing is folded across it.

    Args:
        aligners: The aligners in the order of use; chains among them are taken apart.

    Returns:
        The only aligner that is left, or a `ChainAligner`.

    Raises:
        InputError: If there is none, or two neighbours do not fit.

    Example:
        >>> double = AffineAligner([[2.0]], [1.0])
        >>> folded = chain_aligners([double, double, double])
        >>> folded.kind, folded.weight.tolist(), folded.bias.tolist()
        ('affine', [[8.0]], [7.0])
    """
    flat = [
        step for aligner in aligners for step in (aligner.steps if isinstance(aligner, ChainAligner) else [aligner])
    ]
    if not flat:
        raise InputError("at least one aligner is needed to make a chain. Got none.")
    _check_joints(flat)
    steps = flat[:1]
    for step in flat[1:]:
        last = steps[-1]
        if isinstance(last, AffineAligner) and isinstance(step, AffineAligner) and not last.normalize:
            steps[-1] = _fold(last, step)
        else:
            steps.append(step)
    return steps[0] if len(steps) == 1 else ChainAligner(steps)


def _fold(first: AffineAligner, second: AffineAligner) -> AffineAligner:
    weight = second.weight.astype(np.float64)
    return AffineAligner(
        weight @ first.weight, weight @ first.bias + second.bias, normalize=second.normalize, solver="composed"
    )


def _check_joints(steps: Sequence[Aligner]) -> None:
    for number, (first, second) in enumerate(pairwise(steps), start=1):
        if first.target_dim != second.source_dim:
            raise InputError(
                f"step {number + 1} must read vectors of length {first.target_dim}, which step {number} writes. "
                f"It reads {second.source_dim}."
            )
