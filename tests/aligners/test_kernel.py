from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from embcompat.aligners import ALIGNERS, fit_affine
from embcompat.aligners import kernel as kernel_module
from embcompat.aligners import landmarks as landmarks_module
from embcompat.aligners.affine import choose_penalty
from embcompat.aligners.kernel import KernelAligner, fit_kernel
from embcompat.aligners.sums import GramSums
from embcompat.embeddings import PairedEmbeddings, PairSplit, normalize_rows, split_pairs, stack_pairs
from embcompat.errors import InputError
from embcompat.testing import check_aligner, make_pairs


def curved_pairs(count: int = 900, *, seed: int = 0) -> PairedEmbeddings:
    """Make pairs of unit vectors whose target bends with the source: squares of the first numbers are added."""
    synthetic = make_pairs(count, source_dim=6, target_dim=5, normalized=True, noise=0.0, seed=seed).pairs
    target = synthetic.target.vectors + 2.0 * synthetic.source.vectors[:, :5] ** 2
    bent = synthetic.target.trusted(
        normalize_rows(target).astype(np.float32), synthetic.ids, synthetic.target.space, None
    )
    return PairedEmbeddings(synthetic.source, bent)


def mean_cosine(aligner: object, pairs: PairedEmbeddings) -> float:
    mapped = aligner.transform(pairs.source.vectors)  # type: ignore[attr-defined]
    return float(np.mean(np.sum(normalize_rows(mapped) * normalize_rows(pairs.target.vectors), axis=1)))


@pytest.mark.parametrize("normalized", [False, True])
def test_passes_the_suite(normalized: bool) -> None:
    split = split_pairs(make_pairs(300, source_dim=9, target_dim=7, normalized=normalized).pairs)
    check_aligner(fit_kernel(split.train, split.validation, landmarks=40), split)
    check_aligner(fit_kernel(split.train, split.validation), split)


def test_the_result_does_not_depend_on_the_size_of_blocks(split: PairSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_kernel(split.train, split.validation, landmarks=50)
    expected = whole.transform(split.test.source.vectors)
    monkeypatch.setattr(landmarks_module, "_BLOCK_BYTES", 4_000)
    blocked = fit_kernel(split.train, split.validation, landmarks=50)
    np.testing.assert_allclose(blocked.transform(split.test.source.vectors), expected, atol=1e-4)


def test_the_seed_decides(split: PairSplit) -> None:
    first, again, other = (fit_kernel(split.train, split.validation, landmarks=20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    np.testing.assert_array_equal(first.coefficients, again.coefficients)
    assert not np.array_equal(first.landmarks, other.landmarks)


def test_a_linear_map_is_recovered() -> None:
    synthetic = make_pairs(600, source_dim=8, target_dim=8, how="affine", noise=1e-4)
    split = split_pairs(synthetic.pairs)
    aligner = fit_kernel(split.train, split.validation, landmarks=100)
    expected = split.test.source.vectors @ synthetic.matrix.T + synthetic.offset
    np.testing.assert_allclose(aligner.transform(split.test.source.vectors), expected, atol=2e-3)


def test_a_curved_map_is_recovered_where_ridge_fails() -> None:
    split = split_pairs(curved_pairs())
    ridge = mean_cosine(fit_affine(split.train, split.validation), split.test)
    kernel = mean_cosine(fit_kernel(split.train, split.validation, landmarks=300, penalty=1e-3), split.test)
    assert ridge < 0.97
    assert kernel > 0.995


def test_a_landmark_on_every_row_is_kernel_ridge_regression() -> None:
    split = split_pairs(curved_pairs(300))
    train = split.train
    aligner = fit_kernel(train, split.validation, penalty=0.5)
    linear = fit_affine(train, split.validation)
    residual = train.target.vectors - (train.source.vectors @ linear.weight.T + linear.bias)
    mean = train.source.vectors.mean(axis=0)
    units = [normalize_rows(part.source.vectors - mean) for part in (train, split.test)]
    oracle = KernelRidge(alpha=0.5, kernel="rbf", gamma=1 / aligner.bandwidth).fit(units[0], residual)
    source = split.test.source.vectors
    expected = normalize_rows(source @ linear.weight.T + linear.bias + oracle.predict(units[1]))
    # The jitter on the diagonal is what is left between the two.
    np.testing.assert_allclose(aligner.transform(source), expected, atol=2e-3)


def test_float32_stays_near_float64(split: PairSplit) -> None:
    aligner = fit_kernel(split.train, split.validation)
    state = {name: array.astype(np.float64) for name, array in aligner.state().items()}
    source = split.test.source.vectors.astype(np.float64)
    units = normalize_rows(source - state["mean"])
    distances = np.sum((units[:, np.newaxis] - state["landmarks"]) ** 2, axis=2)
    similarities = np.exp(-distances / aligner.bandwidth)
    expected = source @ state["weight"].T + state["bias"] + similarities @ state["coefficients"].T
    np.testing.assert_allclose(aligner.transform(source), expected, atol=1e-4)


def test_the_bandwidth_is_the_median_squared_distance_between_landmarks(split: PairSplit) -> None:
    aligner = fit_kernel(split.train, split.validation, landmarks=30)
    distances = [
        np.sum((one - other) ** 2) for row, one in enumerate(aligner.landmarks) for other in aligner.landmarks[:row]
    ]
    assert aligner.bandwidth == pytest.approx(np.median(distances), rel=1e-5)


def test_formula_by_hand() -> None:
    # u = (3, 4)/5 and one landmark (1, 0): k = exp((0.6 − 1)·2/0.5) = exp(−1.6).
    aligner = KernelAligner([[1.0, 0.0]], [2.0], [1.0, 1.0], [[1.0, 0.0]], [[10.0]], bandwidth=0.5)
    assert aligner.transform([[4.0, 5.0]])[0, 0] == pytest.approx(4.0 + 2.0 + 10 * np.exp(-1.6), rel=1e-6)


def test_one_pair_and_one_landmark(split: PairSplit) -> None:
    one = fit_kernel(split.train.select([3]), split.validation)
    assert one.landmarks.shape == (1, 12)
    np.testing.assert_allclose(
        one.transform(split.train.source.vectors[3:4]), split.train.target.vectors[3:4], atol=1e-3
    )
    assert fit_kernel(split.train, split.validation, landmarks=1).transform(np.zeros((0, 12))).shape == (0, 8)


def test_rows_that_all_agree_give_finite_numbers(split: PairSplit) -> None:
    train = split.train.select(np.arange(50))
    same = train.source.trusted(np.ones_like(train.source.vectors), train.ids, train.source.space, None)
    aligner = fit_kernel(PairedEmbeddings(same, train.target), split.validation)
    assert np.isfinite(aligner.transform(split.test.source.vectors)).all()


def test_state_and_options_build_it_again(split: PairSplit) -> None:
    aligner = fit_kernel(split.train, split.validation, landmarks=30)
    config = json.loads(json.dumps(aligner.config()))
    again = ALIGNERS["kernel"](config, aligner.state())
    np.testing.assert_array_equal(
        again.transform(split.test.source.vectors), aligner.transform(split.test.source.vectors)
    )


def test_bad_options_are_refused(split: PairSplit) -> None:
    with pytest.raises(InputError, match=r"landmarks must be 1 or more and penalty 0 or more\. Got 0 and None"):
        fit_kernel(split.train, split.validation, landmarks=0)
    with pytest.raises(InputError, match=r"at least one pair is needed"):
        fit_kernel(split.train.select([]), split.validation)
    with pytest.raises(InputError, match=r"bias, mean, landmarks and coefficients must have the shapes"):
        KernelAligner(np.eye(2), np.zeros(2), np.zeros(2), np.eye(2), np.eye(3), bandwidth=1.0)
    with pytest.raises(InputError, match=r"bandwidth must be positive\. Got 0"):
        KernelAligner(np.eye(2), np.zeros(2), np.zeros(2), np.eye(2), np.eye(2), bandwidth=0.0)


def test_a_refit_takes_the_validation_pairs_and_keeps_their_penalty() -> None:
    parts = split_pairs(make_pairs(300, source_dim=6, target_dim=5, noise=0.1).pairs)
    again = fit_kernel(parts.train, parts.validation, refit=True, landmarks=20)
    sums, held_out = (
        GramSums.of([(part.source.vectors, part.target.vectors)]) for part in (parts.train, parts.validation)
    )
    pairs = stack_pairs(parts.train, parts.validation)
    linear = fit_affine(pairs, parts.validation, penalty=choose_penalty(sums, held_out))
    assert np.allclose(again.weight, linear.weight, atol=1e-6)
    assert np.allclose(again.mean, pairs.source.vectors.mean(axis=0), atol=1e-6)


def test_a_refit_draws_landmarks_among_all_pairs_and_none_of_the_pairs_that_choose_the_penalty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = split_pairs(make_pairs(300, source_dim=6, target_dim=5, noise=0.1).pairs)
    compared: list[KernelAligner] = []

    def record(aligner: KernelAligner, pairs: PairedEmbeddings) -> float:
        compared.append(aligner)
        return kernel_error(aligner, pairs)

    kernel_error = kernel_module._error
    monkeypatch.setattr(kernel_module, "_error", record)
    again = fit_kernel(parts.train, parts.validation, refit=True, landmarks=100)

    def directions(pairs: PairedEmbeddings) -> set[tuple[float, ...]]:
        units = normalize_rows(pairs.source.vectors - again.mean)
        return {tuple(row) for row in units.round(3).tolist()}

    among, held_out = (directions(each) for each in (stack_pairs(parts.train, parts.validation), parts.validation))
    chosen = {tuple(row) for row in again.landmarks.round(3).tolist()}
    assert len(again.landmarks) == 100
    assert len(chosen & among) > 95  # a few are rounded the other way
    assert chosen & held_out
    for aligner in compared:
        assert not {tuple(row) for row in aligner.landmarks.round(3).tolist()} & held_out


def test_a_refit_uses_every_pair_as_a_landmark_where_there_are_few() -> None:
    parts = split_pairs(make_pairs(60, source_dim=6, target_dim=5).pairs)
    again = fit_kernel(parts.train, parts.validation, refit=True)
    assert len(again.landmarks) == len(parts.train) + len(parts.validation)
    assert len(fit_kernel(parts.train, parts.validation, refit=True, landmarks=1).landmarks) == 1


def test_many_pairs_are_summed_over_a_sample_for_the_kernel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_pairs(curved_pairs(6_000))
    whole = fit_kernel(split.train, split.validation, refit=True, landmarks=20)
    monkeypatch.setattr(kernel_module, "SUMMED_PAIRS", 2_000)
    part = fit_kernel(split.train, split.validation, refit=True, landmarks=20)
    np.testing.assert_array_equal(part.weight, whole.weight)
    np.testing.assert_array_equal(part.landmarks, whole.landmarks)
    assert not np.array_equal(part.coefficients, whole.coefficients)
    assert mean_cosine(part, split.test) == pytest.approx(mean_cosine(whole, split.test), abs=5e-3)
