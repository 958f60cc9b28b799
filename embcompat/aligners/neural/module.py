"""What the neural aligners share. ``forward`` is the entire map, so that exporting the module is enough."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from embcompat.aligners.base import Config, State, check_source
from embcompat.errors import InputError

_BLOCK_ROWS = 8_192
_TINY = 1e-12
_COUNTER = "num_batches_tracked"


class NeuralAligner(nn.Module, ABC):
    """A torch module that is an aligner: input standardisation, network, output normalization.

    Args:
        source_dim: Length of the vectors that go in.
        target_dim: Length of the vectors that come out.
        normalize: Whether to scale the output to unit norm.
        standardize: Whether the network sees (x − mean) / rms, as `set_statistics` takes them from data.
        options: The further options of the kind.
    """

    kind: ClassVar[str]

    input_mean: Tensor
    input_rms: Tensor

    def __init__(
        self, source_dim: int, target_dim: int, *, normalize: bool, standardize: bool, options: Mapping[str, JsonValue]
    ) -> None:
        super().__init__()
        self._dims = check_size("source_dim", source_dim), check_size("target_dim", target_dim)
        self._normalize, self._standardize = normalize, standardize
        self._options = dict(options)
        if standardize:
            self.register_buffer("input_mean", torch.zeros(source_dim))
            self.register_buffer("input_rms", torch.ones(1))

    @property
    def source_dim(self) -> int:
        """Length of the vectors that go in."""
        return self._dims[0]

    @property
    def target_dim(self) -> int:
        """Length of the vectors that come out."""
        return self._dims[1]

    @property
    def normalize(self) -> bool:
        """Whether the output is scaled to unit norm."""
        return self._normalize

    @property
    def standardize(self) -> bool:
        """Whether the input is standardized."""
        return self._standardize

    @abstractmethod
    def raw(self, vectors: Tensor) -> Tensor:
        """Map vectors (n, source_dim), standardized if that is on, to (n, target_dim), not normalized."""

    @abstractmethod
    def output_layers(self) -> Sequence[nn.Linear]:
        """Return the linear layers whose outputs add up to the result of `raw`."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors (n, source_dim) to (n, target_dim): standardisation, network, normalization."""
        if self._standardize:
            vectors = (vectors - self.input_mean) / self.input_rms
        mapped = self.raw(vectors)
        if self._normalize:
            norms: Tensor = torch.linalg.vector_norm(mapped, dim=1, keepdim=True)
            mapped = mapped / norms.clamp_min(_TINY)
        return mapped

    def set_statistics(self, vectors: NDArray[Any]) -> None:
        """Take mean and rms for the standardisation from source vectors (n, source_dim).

        The rms is one number for all dimensions, so that a dimension that hardly varies does not get the weight of
        one that does. Source vectors that are all equal keep rms 1.

        Raises:
            InputError: If the aligner does not standardize its input.
        """
        if not self._standardize:
            raise InputError("the aligner must have been made with standardize=True. Got standardize=False.")
        mean = sum((block.sum(axis=0) for block in _blocks(vectors)), np.zeros(self.source_dim)) / len(vectors)
        total = sum(float(np.square(block - mean).sum()) for block in _blocks(vectors))
        rms = float(np.sqrt(total / (len(vectors) * self.source_dim)))
        with torch.no_grad():
            self.input_mean.copy_(torch.tensor(mean))
            self.input_rms.fill_(rms or 1.0)

    def config(self) -> Config:
        """Return the options as JSON."""
        dims: Config = {"source_dim": self.source_dim, "target_dim": self.target_dim}
        return {**dims, "normalize": self._normalize, "standardize": self._standardize, **self._options}

    def state(self) -> State:
        """Return the fitted arrays: weights, BatchNorm's running statistics, standardisation."""
        return {name: tensor.cpu().numpy().copy() for name, tensor in self._tensors().items()}

    @classmethod
    def from_state(cls, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the aligner again from `config` and `state`.

        Raises:
            InputError: If an array is missing, unknown or of another shape.
        """
        options: dict[str, Any] = dict(config)
        with torch.random.fork_rng(devices=[]):
            aligner = cls(**options)
        expected = {name: tuple(tensor.shape) for name, tensor in aligner._tensors().items()}
        actual = {name: np.shape(array) for name, array in state.items()}
        for name in sorted(expected.keys() | actual.keys()):
            if expected.get(name) != actual.get(name):
                raise InputError(
                    f"the arrays must be those of a {cls.kind} aligner with these options. {name!r} must have shape "
                    f"{expected.get(name, 'none')}. Got {actual.get(name, 'none')}."
                )
        aligner.load_state_dict({name: torch.tensor(array) for name, array in state.items()}, strict=False)
        return aligner.eval()

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) to float32 (n, target_dim), in evaluation mode, block by block."""
        rows = check_source(vectors, self.source_dim)
        result = np.empty((len(rows), self.target_dim), dtype=np.float32)
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                for start in range(0, len(rows), _BLOCK_ROWS):
                    block = torch.tensor(rows[start : start + _BLOCK_ROWS], device=device)
                    result[start : start + _BLOCK_ROWS] = self(block).cpu().numpy()
        finally:
            self.train(was_training)
        return result

    def with_output_map(self, matrix: NDArray[Any], offset: NDArray[Any]) -> Self:
        """Return the aligner followed by an affine map, folded into its last linear layer."""
        mapped = copy.deepcopy(self)
        weight = torch.tensor(np.asarray(matrix, dtype=np.float64))
        shift = torch.tensor(np.asarray(offset, dtype=np.float64))
        with torch.no_grad():
            for layer in mapped.output_layers():
                layer.weight.copy_(weight @ layer.weight.cpu().double())
                layer.bias.copy_(weight @ layer.bias.cpu().double() + shift)
                shift = torch.zeros_like(shift)
        return mapped

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.state_dict().items() if not name.endswith(_COUNTER)}


def check_size(name: str, value: int) -> int:
    """Return a size if it is a positive whole number.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} must be a whole number above 0. Got {value!r}.")
    return value


def _blocks(vectors: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(vectors), _BLOCK_ROWS):
        yield np.asarray(vectors[start : start + _BLOCK_ROWS], dtype=np.float64)
