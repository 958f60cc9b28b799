"""The protocol of aligners, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.errors import InputError
from embcompat.files.validation import as_array

Config = dict[str, JsonValue]
"""Options of an aligner, as JSON."""

State = dict[str, NDArray[Any]]
"""Fitted arrays of an aligner, by name."""


@runtime_checkable
class Aligner(Protocol):
    """A fitted map from a source space to a target space.

    An aligner is a final class with fitted arrays; fitting is done by functions. The map is a function of one row:
    a vector alone gives what it gives in a batch, within float32 rounding.

    Attributes:
        kind: The name under which `ALIGNERS` finds the class.
    """

    kind: ClassVar[str]

    @property
    def source_dim(self) -> int:
        """Length of the vectors that go in."""

    @property
    def target_dim(self) -> int:
        """Length of the vectors that come out."""

    @property
    def normalize(self) -> bool:
        """Whether the output is scaled to unit norm."""

    def config(self) -> Config:
        """Return every option that `from_state` needs beside the arrays."""

    def state(self) -> State:
        """Return the fitted arrays."""

    @classmethod
    def from_state(cls, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the aligner again from `config` and `state`."""

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) to float32 (n, target_dim).

        Raises:
            InputError: If the vectors have another shape.
        """

    def with_output_map(self, matrix: NDArray[Any], offset: NDArray[Any]) -> Self:
        """Return this aligner followed by an affine map, folded into its last layer.

        The map is applied before the output is normalized: transform(x) becomes norm(matrix @ raw(x) + offset), where
        raw is the aligner without normalization.

        Args:
            matrix: Array (target_dim, target_dim).
            offset: Array (target_dim,).
        """


@dataclass(frozen=True)
class AlignerPair:
    """Two aligners into one third space: old vectors go through one, new vectors through the other.

    Attributes:
        forward_map: Source space → shared space; F in Ricci et al. (2025).
        backward_map: Target space → shared space; B in Ricci et al. (2025).
    """

    forward_map: Aligner
    backward_map: Aligner

    def __post_init__(self) -> None:
        if self.forward_map.target_dim != self.backward_map.target_dim:
            raise InputError(
                "forward_map and backward_map must end in one space. Got output dimensions "
                f"{self.forward_map.target_dim} and {self.backward_map.target_dim}."
            )


def check_source(vectors: ArrayLike, source_dim: int) -> NDArray[np.float32]:
    """Check what goes into an aligner and return it as float32 (n, source_dim).

    Raises:
        InputError: If the vectors have another shape or are not floats.
    """
    array = as_array(vectors)
    if array.ndim != 2 or array.shape[1] != source_dim:
        hint = " Pass vector[np.newaxis] for one vector." if array.shape == (source_dim,) else ""
        raise InputError(f"vectors must have shape (n, {source_dim}). Got {array.shape}.{hint}")
    if array.dtype.kind != "f":
        raise InputError(f"vectors must be an array of floats. Got dtype {array.dtype}.")
    return np.ascontiguousarray(array, dtype=np.float32)


def check_output_map(
    weight: ArrayLike | None, bias: ArrayLike | None, dim: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Check the affine map behind an aligner of ``dim`` outputs, and return it as float32; what is None does nothing.

    Raises:
        InputError: If ``weight`` or ``bias`` has another shape than (dim, dim) and (dim,).
    """
    matrix = np.ascontiguousarray(np.eye(dim) if weight is None else weight, dtype=np.float32)
    offset = np.ascontiguousarray(np.zeros(dim) if bias is None else bias, dtype=np.float32)
    if (matrix.shape, offset.shape) != ((dim, dim), (dim,)):
        raise InputError(
            f"weight and bias must have the shapes ({dim}, {dim}) and ({dim},). Got {matrix.shape} and {offset.shape}."
        )
    return matrix, offset


def parameter_count(aligner: Aligner) -> int:
    """Count the floats that an aligner stores."""
    return int(sum(array.size for array in aligner.state().values() if array.dtype.kind == "f"))
