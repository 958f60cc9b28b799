"""Two maps that are trained together: new vectors back towards the old space, old vectors forward to meet them.

Source: Ricci et al., "λ-Orthogonality Regularization for Compatible Representation Learning" (NeurIPS 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from embcompat.aligners.affine import AffineAligner
from embcompat.aligners.base import AlignerPair
from embcompat.aligners.neural.losses import TEMPERATURE, info_nce, mse, supervised_contrastive
from embcompat.aligners.neural.penalties import lambda_orthogonality_penalty
from embcompat.aligners.sums import GramSums
from embcompat.errors import UnknownNameError

BackwardKind = Literal["affine", "orthogonal"]
BACKWARD_KINDS: tuple[BackwardKind, ...] = ("affine", "orthogonal")

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class BidirectionalWeights:
    """How the terms of the loss are weighed.

    Attributes:
        forward: w1, of L_F = ‖F(old) − B(new)‖².
        backward: w2, of L_B = ‖B(new) − old‖².
        contrastive: w3, of L_C = contr(F(old), B(new)) + contr(F(old), old).
        temperature: Of the contrastive terms.
        lam: λ of the penalty on B; see `lambda_orthogonality_penalty`.
        alpha: α of the penalty on B.
    """

    forward: float = 1.0
    backward: float = 1.0
    contrastive: float = 1.0
    temperature: float = TEMPERATURE
    lam: float | None = None
    alpha: float | None = None


@final
class BidirectionalMaps(nn.Module):
    """forward_map F: old → shared space, affine; backward_map B: new → shared space, affine or orthogonal.

    A strict B has no bias and stays orthogonal by torch's parametrization around its start. Of the maps from
    skew-symmetric to orthogonal matrices it uses Cayley's, not the paper's exponential: near the start both reach the
    same matrices, at a third of the time a step [ours]. Neither reaches the other determinant, so the start decides it.

    Args:
        rotation: Start of B, orthogonal (new_dim, new_dim); `backward_start` finds it.
        weight: Start of F's matrix (new_dim, old_dim).
        bias: Start of F's bias (new_dim,).
        backward: ``affine`` or ``orthogonal``.
    """

    def __init__(self, rotation: Float64, weight: Float64, bias: Float64, *, backward: BackwardKind) -> None:
        super().__init__()
        new_dim, old_dim = weight.shape
        self.strict = backward == "orthogonal"
        self.forward_map = nn.Linear(old_dim, new_dim)
        self.backward_map = nn.Linear(new_dim, new_dim, bias=not self.strict)
        with torch.no_grad():
            self.forward_map.weight.copy_(torch.tensor(weight))
            self.forward_map.bias.copy_(torch.tensor(bias))
            self.backward_map.weight.copy_(torch.tensor(rotation))
            if not self.strict:
                self.backward_map.bias.zero_()
        if self.strict:
            parametrizations.orthogonal(self.backward_map, orthogonal_map="cayley")
            self.backward_map.weight = torch.tensor(rotation, dtype=torch.float32)

    def forward(self, old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """Map old vectors (n, old_dim) and new vectors (n, new_dim) to the shared space, both (n, new_dim)."""
        return self.forward_map(old), self.backward_map(new)

    def fold(self, *, normalize: bool) -> AlignerPair:
        """Return both maps as plain affine aligners; a strict B becomes the orthogonal matrix nearest to float32's.

        Args:
            normalize: Whether both scale their output to unit norm.
        """
        weight, bias = _numbers(self.forward_map.weight), _numbers(self.forward_map.bias)
        rotation = _numbers(self.backward_map.weight)
        if self.strict:
            left, _, right = np.linalg.svd(rotation)
            rotation, offset = left @ right, np.zeros(len(rotation))
        else:
            offset = _numbers(self.backward_map.bias)
        return AlignerPair(
            AffineAligner(weight, bias, normalize=normalize, solver="bidirectional"),
            AffineAligner(rotation, offset, normalize=normalize, solver="bidirectional"),
        )


def bidirectional_losses(
    maps: BidirectionalMaps, old: Tensor, new: Tensor, labels: Tensor | None, weights: BidirectionalWeights
) -> dict[str, Tensor]:
    """Return the weighed terms ``forward``, ``backward``, ``contrastive`` and ``penalty`` of the loss, to be added up.

    Where the dimensions differ, the longer vector is truncated to the shorter one for the backward term and for the
    comparison of F(old) with old, never padded. Without labels the contrastive terms are InfoNCE on the pairs.

    Args:
        maps: Both maps.
        old: Batch (n, old_dim).
        new: Batch (n, new_dim) of the same items.
        labels: Class of each row as integers (n,), or None.
        weights: Weights of the terms.
    """
    forward, backward = maps(old, new)
    shared = min(old.shape[1], new.shape[1])

    def contrast(queries: Tensor, candidates: Tensor) -> Tensor:
        if labels is None:
            return info_nce(queries, candidates, temperature=weights.temperature)
        return supervised_contrastive(queries, candidates, labels, temperature=weights.temperature)

    terms = {
        "forward": weights.forward * mse(forward, backward),
        "backward": weights.backward * mse(backward[:, :shared], old[:, :shared]),
        "contrastive": weights.contrastive
        * (contrast(forward, backward) + contrast(forward[:, :shared], old[:, :shared])),
    }
    if not maps.strict:
        matrix = maps.backward_map.weight
        terms["penalty"] = lambda_orthogonality_penalty(matrix, lam=weights.lam, alpha=weights.alpha)
    return terms


def backward_start(cross: Float64) -> Float64:
    """Return the orthogonal R (new_dim, new_dim) that maximizes Σ⟨R new, old⟩, not centred, reflections allowed.

    The longer vectors are truncated to the shorter dimension. Where the new ones are not the longer, R minimizes
    Σ‖R new − old‖² (Schönemann, A generalized solution of the orthogonal Procrustes problem, 1966). Where they are,
    only R's first old_dim rows are determined, which have no closed form in least squares; the others complete them
    to an orthogonal matrix [ours].

    Args:
        cross: Σ old newᵀ (old_dim, new_dim), not centred.

    Example:
        >>> backward_start(np.array([[0.0, 2.0], [3.0, 0.0]])).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    shared = min(cross.shape)
    left, _, right = np.linalg.svd(cross[:shared], full_matrices=True)
    return np.concatenate([left @ right[:shared], right[shared:]])


def start_maps(sums: GramSums, ridge: AffineAligner, backward: BackwardKind) -> BidirectionalMaps:
    """Return both maps as training starts them: B at `backward_start`, F at ridge followed by that rotation [ours].

    Args:
        sums: Sums over the pairs (old, new).
        ridge: Ridge solution old → new.
        backward: ``affine`` or ``orthogonal``.

    Raises:
        UnknownNameError: If there is no such kind of backward map.
    """
    if backward not in BACKWARD_KINDS:
        raise UnknownNameError("backward map", backward, BACKWARD_KINDS)
    rotation = backward_start(sums.cross_gram + sums.count * np.outer(sums.source_mean, sums.target_mean))
    return BidirectionalMaps(rotation, rotation @ ridge.weight, rotation @ ridge.bias, backward=backward)


def _numbers(tensor: Tensor) -> Float64:
    return tensor.detach().cpu().double().numpy()
