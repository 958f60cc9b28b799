"""How far a matrix is from having orthonormal rows or columns, and the penalty that tolerates some of it.

Source: Ricci et al., "λ-Orthogonality Regularization for Compatible Representation Learning" (NeurIPS 2025).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embcompat.errors import InputError

EPSILON = 1e-12
"""Added under the root: the gradient of a norm is 0/0 where it vanishes."""

STRICTNESS = 0.375
"""λ/√n. The paper's λ = 12 at n = 1024; ‖W Wᵀ − I‖_F grows as √n, so this keeps the strictness at other sizes."""

STEEPNESS = 120.0
"""α·λ: how sharply the penalty sets in at λ [ours]."""


def orthogonality_penalty(weight: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """Return ‖W Wᵀ − I‖_F, or ‖Wᵀ W − I‖_F where W has fewer columns than rows.

    The smaller of the two Gram matrices is the one that can be the identity; for a square W both norms are equal.

    Args:
        weight: Matrix (rows, columns).
        epsilon: Added under the root.

    Example:
        >>> round(orthogonality_penalty(2 * torch.eye(4)).item(), 6)
        6.0
    """
    if weight.shape[0] > weight.shape[1]:
        weight = weight.T
    excess = weight @ weight.T - torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    return (excess.square().sum() + epsilon).sqrt()


def lambda_orthogonality_penalty(
    weight: Tensor, *, lam: float | None = None, alpha: float | None = None, epsilon: float = EPSILON
) -> Tensor:
    """Return σ(α(p − λ))·p with p = `orthogonality_penalty`: next to nothing below λ, p above it.

    λ = 0 is soft orthogonality, p itself; λ = ∞ asks for nothing, 0. Both are the limits that the paper names; the
    sigmoid applies between them.

    Args:
        weight: Matrix (rows, columns).
        lam: λ, in units of the norm; 0.375·√n when None, n being the smaller side of the matrix.
        alpha: Steepness of the sigmoid; 120/λ when None.
        epsilon: Added under the root.

    Raises:
        InputError: If λ is negative or not a number, or α is not positive.

    Example:
        >>> [round(lambda_orthogonality_penalty(2 * torch.eye(4), lam=lam).item(), 3) for lam in (0.0, 6.0, 7.0)]
        [6.0, 3.0, 0.0]
    """
    if lam is None:
        lam = STRICTNESS * math.sqrt(min(weight.shape))
    if not lam >= 0:
        raise InputError(f"lam must be 0 or more (inf asks for nothing). Got {lam}.")
    if alpha is not None and not alpha > 0:
        raise InputError(f"alpha must be above 0. Got {alpha}.")
    if math.isinf(lam):
        return weight.new_zeros(())
    penalty = orthogonality_penalty(weight, epsilon=epsilon)
    if lam == 0:
        return penalty
    return torch.sigmoid((STEEPNESS / lam if alpha is None else alpha) * (penalty - lam)) * penalty
