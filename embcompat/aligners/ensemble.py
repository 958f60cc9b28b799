"""Several aligners of one upgrade, averaged: they err in different directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.base import Aligner, Config, State, check_output_map, check_source
from embcompat.aligners.parts import build_parts, describe_parts, state_of_parts
from embcompat.embeddings import normalize_rows
from embcompat.errors import InputError


@final
class EnsembleAligner:
    """y = W · mean of f_m(x) + b, scaled to unit norm where the target space is normalized.

    The members f_m are averaged as they put out, each normalized where it normalizes. W and b are the output map, the
    identity unless something like `reweight` was folded in.

    Args:
        members: The aligners; all of one source and one target dimension.
        weight: Array W (target_dim, target_dim); the identity when None.
        bias: Array b (target_dim,); zero when None.
        normalize: Whether to scale the output to unit norm.

    Raises:
        InputError: If there are fewer than two members, or the dimensions do not fit.

    Example:
        >>> from embcompat.aligners import AffineAligner
        >>> same, double = AffineAligner([[1.0]], [0.0]), AffineAligner([[2.0]], [1.0])
        >>> EnsembleAligner([same, double]).transform([[4.0]]).tolist()
        [[6.5]]
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(
        self,
        members: Sequence[Aligner],
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        normalize: bool = False,
    ) -> None:
        self.members = tuple(members)
        if len(self.members) < 2:
            raise InputError(f"an ensemble needs at least two aligners. Got {len(self.members)}.")
        dims = {(member.source_dim, member.target_dim) for member in self.members}
        if len(dims) > 1:
            raise InputError(f"the members of an ensemble must map the same dimensions. Got {sorted(dims)}.")
        self.weight, self.bias = check_output_map(weight, bias, self.target_dim)
        self._normalize = normalize

    @property
    def source_dim(self) -> int:
        """Length of the vectors that go in."""
        return self.members[0].source_dim

    @property
    def target_dim(self) -> int:
        """Length of the vectors that come out."""
        return self.members[0].target_dim

    @property
    def normalize(self) -> bool:
        """Whether the output is scaled to unit norm."""
        return self._normalize

    def config(self) -> Config:
        """Return kind and options of every member, and the ensemble's own ``normalize``."""
        return {"normalize": self._normalize, "members": describe_parts(self.members)}

    def state(self) -> State:
        """Return ``weight``, ``bias`` and the arrays of every member, preceded by the member's number and a dot."""
        return {"weight": self.weight, "bias": self.bias, **state_of_parts(self.members)}

    @classmethod
    def from_state(cls, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the ensemble again from `config` and `state`."""
        members = build_parts(cast(Any, config["members"]), state)
        return cls(members, state["weight"], state["bias"], normalize=bool(config["normalize"]))

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) to float32 (n, target_dim)."""
        rows = check_source(vectors, self.source_dim)
        mean = self.members[0].transform(rows)
        for member in self.members[1:]:
            mean = mean + member.transform(rows)
        mapped = mean @ (self.weight.T / np.float32(len(self.members))) + self.bias
        return normalize_rows(mapped) if self._normalize else mapped

    def with_output_map(self, matrix: NDArray[Any], offset: NDArray[Any]) -> Self:
        """Return the ensemble followed by an affine map, folded into weight and bias."""
        factor = np.asarray(matrix, dtype=np.float64)
        return type(self)(self.members, factor @ self.weight, factor @ self.bias + offset, normalize=self._normalize)
