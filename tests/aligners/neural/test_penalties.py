from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from embcompat.aligners.neural.penalties import STRICTNESS, lambda_orthogonality_penalty, orthogonality_penalty
from embcompat.errors import InputError


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).standard_normal((rows, columns)))


def orthonormal(rows: int, columns: int) -> torch.Tensor:
    left, _, right = np.linalg.svd(matrix(rows, columns).numpy(), full_matrices=False)
    return torch.tensor(left @ right)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_nothing_at_orthonormal_rows_or_columns(shape: tuple[int, int]) -> None:
    assert orthogonality_penalty(orthonormal(*shape)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_value_is_the_norm_of_the_smaller_gram(shape: tuple[int, int]) -> None:
    weight = matrix(*shape)
    gram = weight @ weight.T if shape[0] <= shape[1] else weight.T @ weight
    expected = np.linalg.norm(gram.numpy() - np.eye(min(shape)))
    assert orthogonality_penalty(weight).item() == pytest.approx(expected)
    assert orthogonality_penalty(weight.T).item() == pytest.approx(expected)


def test_both_grams_of_a_square_matrix_give_the_same_norm() -> None:
    weight = matrix(7, 7).numpy()
    rows, columns = (np.linalg.norm(gram - np.eye(7)) for gram in (weight @ weight.T, weight.T @ weight))
    assert rows == pytest.approx(columns)


@pytest.mark.parametrize("lam", [None, 0.0, 2.0, 5.0])
def test_gradient_is_that_of_finite_differences(lam: float | None) -> None:
    weight = matrix(3, 4).requires_grad_()
    torch.autograd.gradcheck(lambda w: lambda_orthogonality_penalty(w, lam=lam, alpha=3.0), (weight,))


@pytest.mark.parametrize("lam", [None, 0.0, 2.0])
def test_gradient_is_finite_at_an_orthogonal_matrix(lam: float | None) -> None:
    weight = torch.eye(5, requires_grad=True)
    lambda_orthogonality_penalty(weight, lam=lam).backward()
    assert torch.isfinite(weight.grad).all()


def test_endpoints() -> None:
    weight = matrix(5, 5).requires_grad_()
    assert lambda_orthogonality_penalty(weight, lam=0.0).item() == orthogonality_penalty(weight).item()
    assert lambda_orthogonality_penalty(weight, lam=math.inf).item() == 0
    # A vanishing λ tends to the one endpoint, a growing one to the other.
    assert lambda_orthogonality_penalty(weight, lam=1e-6).item() == pytest.approx(orthogonality_penalty(weight).item())
    assert lambda_orthogonality_penalty(weight, lam=1e6).item() == pytest.approx(0)


def test_half_the_norm_at_lambda_and_the_sigmoid_around_it() -> None:
    weight = 2 * torch.eye(4, dtype=torch.float64)  # ‖4 I − I‖ = 3·√4 = 6
    assert lambda_orthogonality_penalty(weight, lam=6.0).item() == pytest.approx(3)
    expected = 6 / (1 + math.exp(-0.5 * (6 - 5)))
    assert lambda_orthogonality_penalty(weight, lam=5.0, alpha=0.5).item() == pytest.approx(expected)
    default = 6 / (1 + math.exp(-120 / 5.9 * (6 - 5.9)))
    assert lambda_orthogonality_penalty(weight, lam=5.9).item() == pytest.approx(default)


def test_it_grows_with_lambda_falling() -> None:
    weight = matrix(6, 6)
    values = [lambda_orthogonality_penalty(weight, lam=lam).item() for lam in (0.0, 4.0, 8.0, 16.0, 32.0, math.inf)]
    assert values == sorted(values, reverse=True)


def test_the_norm_grows_with_the_root_of_the_dimension_and_so_does_the_default_lambda() -> None:
    # A scaled identity leaves the same relative excess in every dimension.
    for dim in (4, 64, 256):
        weight = math.sqrt(1 + STRICTNESS) * torch.eye(dim, dtype=torch.float64)
        assert orthogonality_penalty(weight).item() == pytest.approx(STRICTNESS * math.sqrt(dim))
        assert lambda_orthogonality_penalty(weight).item() == pytest.approx(STRICTNESS * math.sqrt(dim) / 2)
    # The paper's λ = 12 at 1,024 dimensions.
    assert STRICTNESS * math.sqrt(1024) == 12


def test_torchs_own_start_is_far_from_orthogonal() -> None:
    # W uniform in ±1/√n has E‖WWᵀ − I‖² = n(2/3)² + n(n − 1)/(9n) + small, so the norm is near √(4/9 + 1/9)·√n.
    weight = torch.nn.Linear(256, 256).weight
    assert orthogonality_penalty(weight).item() / 16 == pytest.approx(0.745, abs=0.01)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"lam": -1.0}, "lam must be 0 or more"), ({"lam": math.nan}, "lam"), ({"alpha": 0.0}, "alpha must be above 0")],
)
def test_refusals(options: dict[str, float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        lambda_orthogonality_penalty(torch.eye(3), **options)
