from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge

from embcompat.aligners import AffineAligner, GramSums, fit_affine, fit_affine_sums
from embcompat.aligners.affine import (
    PENALTIES,
    choose_penalty,
    solve_low_rank,
    solve_procrustes,
    solve_ridge,
)
from embcompat.aligners.sums import ridge_error
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import InputError, SpaceMismatchError, UnknownNameError
from embcompat.testing import check_aligner, make_pairs

Array = NDArray[np.float64]


def random_pairs(count: int, source_dim: int, target_dim: int, *, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((count, source_dim)) * rng.uniform(0.2, 2.0, source_dim) + rng.standard_normal(
        source_dim
    )
    target = source @ rng.standard_normal((source_dim, target_dim)) + rng.standard_normal((count, target_dim))
    return source, target + rng.standard_normal(target_dim)


def objective(weight: Array, bias: Array, source: Array, target: Array, strength: float = 0.0) -> float:
    return float(np.sum((source @ weight.T + bias - target) ** 2) + strength * np.sum(weight**2))


@pytest.mark.parametrize("solver", ["ridge", "procrustes", "low_rank"])
@pytest.mark.parametrize("normalized", [False, True])
def test_every_solver_passes_the_suite(split: PairSplit, solver: str, normalized: bool) -> None:
    if normalized:
        split = split_pairs(make_pairs(300, source_dim=8, target_dim=12, normalized=True).pairs)
    check_aligner(fit_affine(split.train, split.validation, solver=solver), split)  # type: ignore[arg-type]


@pytest.mark.parametrize(("source_dim", "target_dim"), [(6, 6), (4, 9), (9, 4)])
def test_procrustes_has_orthonormal_rows_or_columns(source_dim: int, target_dim: int) -> None:
    weight, _ = solve_procrustes(GramSums.of([random_pairs(50, source_dim, target_dim)]))
    smaller = weight.T @ weight if target_dim >= source_dim else weight @ weight.T
    np.testing.assert_allclose(smaller, np.eye(len(smaller)), atol=1e-12)


def test_ridge_does_not_depend_on_shift_rotation_scale_or_count() -> None:
    source, target = random_pairs(80, 5, 3)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    weight, bias = solve_ridge(GramSums.of([(source, target)]), 0.1)
    predicted = source @ weight.T + bias
    for shifted_rows in (source + 100.0, source @ rotation, 1e-3 * source):
        weight, bias = solve_ridge(GramSums.of([(shifted_rows, target)]), 0.1)
        np.testing.assert_allclose(shifted_rows @ weight.T + bias, predicted, rtol=1e-6, atol=1e-8)
    twice, offset = solve_ridge(GramSums.of([(source, target), (source, target)]), 0.1)
    np.testing.assert_allclose(source @ twice.T + offset, predicted, atol=1e-10)


def test_a_large_penalty_predicts_the_mean() -> None:
    source, target = random_pairs(80, 5, 3)
    weight, bias = solve_ridge(GramSums.of([(source, target)]), 1e9)
    np.testing.assert_allclose(source @ weight.T + bias, np.tile(target.mean(axis=0), (80, 1)), atol=1e-5)


def test_low_rank_has_the_rank_and_full_rank_is_ridge() -> None:
    sums = GramSums.of([random_pairs(80, 6, 5)])
    weight, _ = solve_low_rank(sums, 0.01, 2)
    assert np.linalg.matrix_rank(weight, tol=1e-10) == 2
    np.testing.assert_allclose(solve_low_rank(sums, 0.01, 5)[0], solve_ridge(sums, 0.01)[0], atol=1e-12)


def test_one_vector_gives_what_it_gives_in_a_batch(split: PairSplit) -> None:
    aligner = fit_affine(split.train, split.validation)
    rows = split.test.source.vectors
    alone = np.concatenate([aligner.transform(row[np.newaxis]) for row in rows])
    np.testing.assert_allclose(alone, aligner.transform(rows), atol=1e-6)


@pytest.mark.parametrize(("source_dim", "target_dim"), [(16, 16), (8, 12), (12, 8)])
def test_ridge_recovers_a_known_affine_map(source_dim: int, target_dim: int) -> None:
    synthetic = make_pairs(600, source_dim=source_dim, target_dim=target_dim, how="affine", noise=1e-4)
    split = split_pairs(synthetic.pairs)
    aligner = fit_affine(split.train, split.validation)
    np.testing.assert_allclose(aligner.weight, synthetic.matrix, atol=1e-3)
    np.testing.assert_allclose(aligner.bias, synthetic.offset, atol=1e-3)


@pytest.mark.parametrize("scale", [False, True])
def test_procrustes_recovers_a_known_isometry_with_reflection(scale: bool) -> None:
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    rotation[0] *= -np.sign(np.linalg.det(rotation))
    factor = 2.5 if scale else 1.0
    source = rng.standard_normal((60, 7)) + 3.0
    target = factor * source @ rotation.T - 4.0
    weight, bias = solve_procrustes(GramSums.of([(source, target)]), scale=scale)
    np.testing.assert_allclose(weight, factor * rotation, atol=1e-10)
    np.testing.assert_allclose(bias, -4.0, atol=1e-9)


def test_procrustes_equals_scipy_on_centred_sides() -> None:
    source, target = random_pairs(60, 6, 6)
    weight, bias = solve_procrustes(GramSums.of([(source, target)]))
    rotation, total = orthogonal_procrustes(source - source.mean(axis=0), target - target.mean(axis=0))
    np.testing.assert_allclose(weight, rotation.T, atol=1e-10)
    np.testing.assert_allclose(bias, target.mean(axis=0) - rotation.T @ source.mean(axis=0), atol=1e-10)
    scaled, _ = solve_procrustes(GramSums.of([(source, target)]), scale=True)
    factor = total / np.sum((source - source.mean(axis=0)) ** 2)
    np.testing.assert_allclose(scaled, factor * rotation.T, atol=1e-10)


@pytest.mark.parametrize(("source_dim", "target_dim"), [(3, 5), (5, 3)])
def test_rectangular_procrustes_is_not_beaten_by_any_other_isometry(source_dim: int, target_dim: int) -> None:
    source, target = random_pairs(40, source_dim, target_dim)
    source, target = source - source.mean(axis=0), target - target.mean(axis=0)
    weight, _ = solve_procrustes(GramSums.of([(source, target)]))

    def loss(matrix: Array) -> float:
        if target_dim >= source_dim:
            return float(np.sum((source @ matrix.T - target) ** 2))
        return float(np.sum((source - target @ matrix) ** 2))

    rng = np.random.default_rng(0)
    for step in (0.01, 0.1, 1.0):
        for _ in range(50):
            left, _, right = np.linalg.svd(weight + step * rng.standard_normal(weight.shape), full_matrices=False)
            assert loss(weight) <= loss(left @ right) + 1e-9


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_ridge_equals_scikit_learn(penalty: float) -> None:
    source, target = random_pairs(70, 8, 4)
    weight, bias = solve_ridge(GramSums.of([(source, target)]), penalty)
    strength = penalty * np.sum((source - source.mean(axis=0)) ** 2) / 8
    oracle = Ridge(alpha=strength).fit(source, target)
    np.testing.assert_allclose(weight, oracle.coef_, atol=1e-10)
    np.testing.assert_allclose(bias, oracle.intercept_, atol=1e-10)


def test_low_rank_is_the_least_penalized_error_of_its_rank() -> None:
    source, target = random_pairs(70, 6, 5)
    source, target = source - source.mean(axis=0), target - target.mean(axis=0)
    strength = 0.2 * np.sum(source**2) / 6
    weight, bias = solve_low_rank(GramSums.of([(source, target)]), 0.2, 2)
    best = objective(weight, bias, source, target, strength)
    # The oracle fits the factors in turn, W = left @ right, from several starts.
    rng = np.random.default_rng(1)
    gram = source.T @ source + strength * np.eye(6)
    result = []
    for _ in range(5):
        left = rng.standard_normal((5, 2))
        for _ in range(500):
            left = np.linalg.qr(left)[0]
            right = np.linalg.solve(gram, source.T @ target @ left).T
            left = np.linalg.lstsq((right @ gram @ right.T), right @ source.T @ target, rcond=None)[0].T
        result.append(objective(left @ right, np.zeros(5), source, target, strength))
    assert best == pytest.approx(min(result), rel=1e-9)


@pytest.mark.parametrize("count", [60, 12])
def test_the_penalty_with_the_least_held_out_error_is_chosen(count: int) -> None:
    source, target = random_pairs(count, 20, 4)
    held_source, held_target = random_pairs(200, 20, 4)
    sums, held_out = GramSums.of([(source, target)]), GramSums.of([(held_source, held_target)])
    error, errors = ridge_error(sums, held_out), []
    for penalty in PENALTIES:
        weight, bias = solve_ridge(sums, penalty)
        errors.append(objective(weight, bias, held_source, held_target) / 200)
        assert error(penalty) == pytest.approx(errors[-1], rel=1e-7)
    assert choose_penalty(sums, held_out) == PENALTIES[int(np.argmin(errors))]


def test_least_squares_golden_value() -> None:
    # y = 2x + 1 through (0, 1), (1, 3), (2, 5), by hand.
    weight, bias = solve_ridge(GramSums.of([(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]]))]), 0.0)
    np.testing.assert_allclose([weight[0, 0], bias[0]], [2.0, 1.0])


def test_one_pair_maps_to_its_target(split: PairSplit) -> None:
    one = split.train.select([0])
    for solver in ("ridge", "low_rank"):
        aligner = fit_affine(one, split.validation, solver=solver)  # type: ignore[arg-type]
        np.testing.assert_allclose(aligner.transform(one.source.vectors), one.target.vectors, atol=1e-6)
    weight, bias = solve_procrustes(GramSums.of([(one.source.vectors, one.target.vectors)]), scale=True)
    np.testing.assert_allclose(one.source.vectors @ weight.T + bias, one.target.vectors, atol=1e-6)


def test_fewer_pairs_than_dimensions_gives_the_solution_of_least_norm() -> None:
    source, target = random_pairs(5, 12, 3)
    weight, bias = solve_ridge(GramSums.of([(source, target)]), 0.0)
    np.testing.assert_allclose(source @ weight.T + bias, target, atol=1e-6)
    least = np.linalg.pinv(source - source.mean(axis=0)) @ (target - target.mean(axis=0))
    np.testing.assert_allclose(weight, least.T, atol=1e-6)


def test_a_constant_dimension_does_no_harm() -> None:
    source, target = random_pairs(50, 5, 3)
    source[:, 2] = 7.0
    weight, bias = solve_ridge(GramSums.of([(source, target)]), 0.0)
    assert np.isfinite(weight).all()
    assert objective(weight, bias, source, target) <= objective(np.zeros((3, 5)), target.mean(axis=0), source, target)


def test_no_rows_give_no_rows() -> None:
    assert AffineAligner(np.ones((3, 2)), np.zeros(3)).transform(np.zeros((0, 2))).shape == (0, 3)


def test_sums_give_the_aligner_that_pairs_give(split: PairSplit) -> None:
    sums = [
        GramSums.of((part.source.vectors[start::3], part.target.vectors[start::3]) for start in range(3))
        for part in (split.train, split.validation)
    ]
    streamed = fit_affine_sums(sums[0], sums[1], normalize=False)
    np.testing.assert_allclose(streamed.weight, fit_affine(split.train, split.validation).weight, atol=1e-6)


def test_bad_options_are_refused(split: PairSplit) -> None:
    train, validation = split.train, split.validation
    with pytest.raises(UnknownNameError, match=r"no affine solver called 'cubic'\. Known: identity, low_rank"):
        fit_affine(train, validation, solver="cubic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"rank must be between 1 and 8, the smaller dimension\. Got 9"):
        fit_affine(train, validation, solver="low_rank", rank=9)
    with pytest.raises(InputError, match=r"rank is an option of the solver low_rank\. Got it for 'ridge'"):
        fit_affine(train, validation, rank=2)
    with pytest.raises(InputError, match=r"scale is an option of the solver procrustes"):
        fit_affine(train, validation, scale=True)
    with pytest.raises(InputError, match=r"penalty must be 0 or more\. Got -1"):
        fit_affine(train, validation, penalty=-1)
    with pytest.raises(InputError, match=r"at least one pair is needed"):
        fit_affine(train.select([]), validation)
    with pytest.raises(InputError, match=r"choosing a penalty needs held-out pairs\. Got none"):
        fit_affine(train, validation.select([]))
    assert fit_affine(train, validation.select([]), solver="procrustes").solver == "procrustes"
    with pytest.raises(SpaceMismatchError, match=r"The source side of validation must be in space 'made-old@1'"):
        fit_affine(train, make_pairs(9, source_dim=5, target_dim=8).pairs)
    with pytest.raises(InputError, match=r"weight must have shape \(target_dim, source_dim\)"):
        AffineAligner(np.ones((3, 2)), np.zeros(2))
