"""The networks of the zoo: FC-Aligner's two, and a linear map with a network beside it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from embcompat.aligners.neural.module import NeuralAligner, check_size
from embcompat.errors import InputError, UnknownNameError

HIDDEN_FACTOR, HIDDEN_CAP = 8, 4_096
"""Default hidden width: 8 times the larger dimension, 1,024 at 128 as in FC-Aligner; at other dimensions [ours]."""

WIDE_FACTOR, WIDE_CAP = 16, 8_192
"""Default width of the wide branch: 16 times the larger dimension, 2,048 at 128; at other dimensions [ours]."""


class BranchedAligner(NeuralAligner):
    """Branches side by side, concatenated and merged by a linear layer.

    Args:
        source_dim: Length of the vectors that go in.
        target_dim: Length of the vectors that come out.
        widths: Widths of the hidden layers of each branch.
        normalize: Whether to scale the output to unit norm.
        standardize: Whether to standardize the input.
        options: The further options of the kind.
    """

    def __init__(
        self,
        source_dim: int,
        target_dim: int,
        widths: Sequence[Sequence[int]],
        *,
        normalize: bool,
        standardize: bool,
        options: Mapping[str, JsonValue],
    ) -> None:
        super().__init__(source_dim, target_dim, normalize=normalize, standardize=standardize, options=options)
        branches = [
            nn.Sequential(*_hidden_layers(source_dim, layers, activation=nn.ReLU), nn.Linear(layers[-1], target_dim))
            for layers in widths
        ]
        self.branches = nn.ModuleList(branches)
        self.head = nn.Linear(len(branches) * target_dim, target_dim)

    def raw(self, vectors: Tensor) -> Tensor:
        """Map vectors (n, source_dim), standardized if that is on, to (n, target_dim), not normalized."""
        mapped: Tensor = self.head(torch.cat([branch(vectors) for branch in self.branches], dim=1))
        return mapped

    def output_layers(self) -> Sequence[nn.Linear]:
        """Return the merging layer."""
        return [self.head]


@final
class DenseAligner(BranchedAligner):
    """source_dim → hidden·BN·ReLU → hidden·BN·ReLU → target_dim → target_dim: one branch.

    FC-Aligner's Dense (Vieira-e-Silva et al., section 3.2). The paper gives the size of its file, not its layers;
    these are the simplest that fit it: 1,337,600 floats at 128 → 128, BatchNorm's statistics included.

    Args:
        source_dim: Length of the vectors that go in.
        target_dim: Length of the vectors that come out.
        hidden: Width of the hidden layers; 8 times the larger dimension, at most 4,096, when None.
        normalize: Whether to scale the output to unit norm.
        standardize: Whether to standardize the input; the paper does not.
    """

    kind: ClassVar[str] = "dense"

    def __init__(
        self,
        source_dim: int,
        target_dim: int,
        *,
        hidden: int | None = None,
        normalize: bool = False,
        standardize: bool = False,
    ) -> None:
        hidden = _width("hidden", hidden, HIDDEN_FACTOR * max(source_dim, target_dim), HIDDEN_CAP)
        super().__init__(
            source_dim,
            target_dim,
            [[hidden, hidden]],
            normalize=normalize,
            standardize=standardize,
            options={"hidden": hidden},
        )


@final
class MultiBranchAligner(BranchedAligner):
    """A wide branch source_dim → wide·BN·ReLU → target_dim beside the branch of `DenseAligner`.

    FC-Aligner's Multi-branch (Vieira-e-Silva et al., section 3.2). The simplest layers that fit the size of the
    paper's file: 1,888,640 floats at 128 → 128, BatchNorm's statistics included.

    Args:
        source_dim: Length of the vectors that go in.
        target_dim: Length of the vectors that come out.
        hidden: Width of the deep branch; 8 times the larger dimension, at most 4,096, when None.
        wide: Width of the wide branch; 16 times the larger dimension, at most 8,192, when None.
        normalize: Whether to scale the output to unit norm.
        standardize: Whether to standardize the input; the paper does not.
    """

    kind: ClassVar[str] = "multi_branch"

    def __init__(
        self,
        source_dim: int,
        target_dim: int,
        *,
        hidden: int | None = None,
        wide: int | None = None,
        normalize: bool = False,
        standardize: bool = False,
    ) -> None:
        larger = max(source_dim, target_dim)
        hidden = _width("hidden", hidden, HIDDEN_FACTOR * larger, HIDDEN_CAP)
        wide = _width("wide", wide, WIDE_FACTOR * larger, WIDE_CAP)
        super().__init__(
            source_dim,
            target_dim,
            [[wide], [hidden, hidden]],
            normalize=normalize,
            standardize=standardize,
            options={"hidden": hidden, "wide": wide},
        )


@final
class ResidualAligner(NeuralAligner):
    """A linear map plus a network that starts at zero and learns what the linear map leaves over.

    After the residual MLP of Drift-Adapter (Vejendla, EMNLP 2025). Fitting starts the linear map at the ridge
    solution (`start_at`), so that training starts where ridge ends.

    Args:
        source_dim: Length of the vectors that go in.
        target_dim: Length of the vectors that come out.
        hidden: Width of the hidden layers; 8 times the larger dimension, at most 4,096, when None.
        layers: Number of hidden layers.
        batch_norm: Whether each hidden layer has BatchNorm.
        dropout: Fraction of the hidden activations that is dropped in training.
        normalize: Whether to scale the output to unit norm.
        standardize: Whether to standardize the input, of the linear map too.
    """

    kind: ClassVar[str] = "residual"

    def __init__(
        self,
        source_dim: int,
        target_dim: int,
        *,
        hidden: int | None = None,
        layers: int = 2,
        batch_norm: bool = True,
        dropout: float = 0.3,
        normalize: bool = False,
        standardize: bool = True,
    ) -> None:
        hidden = _width("hidden", hidden, HIDDEN_FACTOR * max(source_dim, target_dim), HIDDEN_CAP)
        widths = [hidden] * check_size("layers", layers)
        if not 0 <= dropout < 1:
            raise InputError(f"dropout must be a fraction below 1. Got {dropout!r}.")
        options: dict[str, JsonValue] = {
            "hidden": hidden,
            "layers": layers,
            "batch_norm": batch_norm,
            "dropout": dropout,
        }
        super().__init__(source_dim, target_dim, normalize=normalize, standardize=standardize, options=options)
        self.hidden = nn.Sequential(
            *_hidden_layers(source_dim, widths, activation=nn.GELU, batch_norm=batch_norm, dropout=dropout)
        )
        self.correction = nn.Linear(hidden, target_dim)
        self.skip = nn.Linear(source_dim, target_dim)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def raw(self, vectors: Tensor) -> Tensor:
        """Map vectors (n, source_dim), standardized if that is on, to (n, target_dim), not normalized."""
        mapped: Tensor = self.skip(vectors) + self.correction(self.hidden(vectors))
        return mapped

    def output_layers(self) -> Sequence[nn.Linear]:
        """Return the linear map and the last layer of the network."""
        return [self.skip, self.correction]

    def start_at(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """Set the linear map to W x + b, W (target_dim, source_dim), of vectors as they come, not standardized."""
        matrix, offset = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
        if self.standardize:
            offset = offset + matrix @ self.input_mean.cpu().double().numpy()
            matrix = matrix * float(self.input_rms)
        with torch.no_grad():
            self.skip.weight.copy_(torch.tensor(matrix))
            self.skip.bias.copy_(torch.tensor(offset))


NEURAL_ALIGNERS: dict[str, type[NeuralAligner]] = {
    "dense": DenseAligner,
    "multi_branch": MultiBranchAligner,
    "residual": ResidualAligner,
}
"""The neural kinds."""


def create_aligner(kind: str, *, source_dim: int, target_dim: int, seed: int = 0, **options: Any) -> NeuralAligner:
    """Make a neural aligner that is not fitted yet.

    Args:
        kind: ``dense``, ``multi_branch`` or ``residual``.
        source_dim: Length of the vectors that go in.
        target_dim: Length of the vectors that come out.
        seed: Seed of the initial weights; torch's random state is left as it was.
        options: Options of the class of that kind, for instance ``hidden``.

    Raises:
        UnknownNameError: If there is no such neural kind, or it has no such option.
        InputError: If an option is out of range.

    Example:
        >>> from embcompat.aligners import parameter_count
        >>> parameter_count(create_aligner("dense", source_dim=128, target_dim=128))
        1337600
    """
    if kind not in NEURAL_ALIGNERS:
        raise UnknownNameError("neural aligner", kind, NEURAL_ALIGNERS)
    build: Any = NEURAL_ALIGNERS[kind]
    known = [name for name, option in inspect.signature(build).parameters.items() if option.kind == option.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise UnknownNameError(f"option of the {kind} aligner", name, known)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        aligner: NeuralAligner = build(source_dim, target_dim, **options)
    return aligner.eval()


def _hidden_layers(
    source_dim: int,
    widths: Sequence[int],
    *,
    activation: type[nn.Module],
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for incoming, outgoing in zip([source_dim, *widths[:-1]], widths, strict=True):
        layers.append(nn.Linear(incoming, outgoing))
        if batch_norm:
            layers.append(nn.BatchNorm1d(outgoing))
        layers.append(activation())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return layers


def _width(name: str, size: int | None, default: int, cap: int) -> int:
    return min(default, cap) if size is None else check_size(name, size)
