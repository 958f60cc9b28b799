from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import (
    AffineAligner,
    ReweightedAligner,
    fit_affine,
    fit_kernel,
    query_weights,
    reweight,
    unweight,
    weigh_queries,
)
from embcompat.aligners.chain import ChainAligner
from embcompat.aligners.reweighted import undo_weighting
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import InputError
from embcompat.testing import check_aligner, make_pairs

SPLIT: PairSplit = split_pairs(make_pairs(400, source_dim=10, target_dim=8, noise=0.6, normalized=True).pairs)
ROWS = SPLIT.test.source.vectors


def test_it_passes_the_suite_over_linear_and_kernel_maps() -> None:
    for base in (fit_affine(SPLIT.train, SPLIT.validation), fit_kernel(SPLIT.train, SPLIT.validation, landmarks=30)):
        check_aligner(reweight(base, SPLIT.validation), SPLIT)


def test_without_its_weighting_it_is_what_was_weighted() -> None:
    base = fit_kernel(SPLIT.train, SPLIT.validation, landmarks=30)
    weighted = reweight(base, SPLIT.validation)
    assert unweight(weighted) is base
    assert unweight(base) is base
    assert not np.allclose(weighted.transform(ROWS), base.transform(ROWS), atol=0.01)


def test_it_is_the_base_followed_by_the_matrix() -> None:
    base = fit_affine(SPLIT.train, SPLIT.validation)
    weighted = reweight(base, SPLIT.validation)
    by_hand = base.transform(ROWS).astype(np.float64) @ weighted.weight.T.astype(np.float64)
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(weighted.transform(ROWS), by_hand, atol=1e-6)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_weighting_comes_out_of_converted_vectors(normalize: bool, centred: bool) -> None:
    base = AffineAligner(np.random.default_rng(0).normal(size=(8, 10)), np.ones(8), normalize=normalize)
    matrix = np.eye(8) + 0.2 * np.random.default_rng(1).normal(size=(8, 8))
    bias = -matrix @ base.transform(ROWS).mean(axis=0) if centred else np.zeros(8)
    weighted = ReweightedAligner(base, matrix, bias, normalize=normalize)
    weights = weighted.weight, weighted.bias
    undone = undo_weighting(weighted.transform(ROWS), *weights, normalize=normalize)
    np.testing.assert_allclose(undone, base.transform(ROWS), rtol=1e-4, atol=1e-4)


def test_weights_of_both_sides_are_the_weighting_of_the_rows() -> None:
    base = fit_affine(SPLIT.train, SPLIT.validation)
    weighted = reweight(base, SPLIT.validation)
    weights = query_weights(weighted)
    assert weights is not None
    np.testing.assert_array_equal(weights, weights.T)
    assert np.linalg.eigvalsh(weights.astype(np.float64)).min() > 0
    rows = base.transform(ROWS)
    queries = SPLIT.test.target.vectors[:7]
    np.testing.assert_allclose(
        (queries @ weights) @ (rows @ weights).T, queries @ (rows @ weighted.weight.T).T, atol=1e-5
    )
    assert query_weights(base) is None


def test_weighted_queries_have_unit_norm_and_stand_alone() -> None:
    weights = query_weights(reweight(fit_affine(SPLIT.train, SPLIT.validation), SPLIT.validation))
    assert weights is not None
    queries = SPLIT.test.target.vectors[:7]
    together = weigh_queries(queries, weights)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(
        np.vstack([weigh_queries(row[np.newaxis], weights) for row in queries]), together, atol=1e-6
    )
    np.testing.assert_allclose(weigh_queries(queries, np.eye(8)), queries, atol=1e-6)


def test_the_last_step_of_a_chain_weighs_queries() -> None:
    last = reweight(fit_affine(SPLIT.train, SPLIT.validation), SPLIT.validation)
    first = AffineAligner(np.eye(10), np.zeros(10))
    np.testing.assert_array_equal(query_weights(ChainAligner([first, last])), query_weights(last))
    assert query_weights(ChainAligner([first, unweight(last)])) is None


@pytest.mark.parametrize("weight", [[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]]])
def test_what_is_no_weighting_does_not_pass_to_queries(weight: list[list[float]]) -> None:
    assert query_weights(ReweightedAligner(AffineAligner(np.eye(2), [0, 0]), weight)) is None


def test_a_weight_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"must have the shapes \(2, 2\) and \(2,\). Got \(3, 3\)"):
        ReweightedAligner(AffineAligner(np.eye(2), [0, 0]), np.eye(3))


def test_an_output_of_one_length_takes_similarities_and_nothing_else() -> None:
    base = fit_affine(SPLIT.train, SPLIT.validation)
    aligner = ReweightedAligner(base, np.eye(8), length=3.0, origin=np.arange(8))
    turn = 2 * np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    mapped = aligner.with_output_map(turn, np.ones(8))
    expected = aligner.transform(ROWS) @ turn.T.astype(np.float32) + 1
    np.testing.assert_allclose(mapped.transform(ROWS), expected, rtol=1e-4, atol=1e-4)
    assert mapped.length == pytest.approx(6)
    with pytest.raises(InputError, match="can be rotated, scaled and shifted"):
        aligner.with_output_map(np.diag(np.arange(1.0, 9.0)), np.zeros(8))


def test_a_length_must_be_positive_and_stands_alone() -> None:
    base = fit_affine(SPLIT.train, SPLIT.validation)
    for length in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="length must be positive"):
            ReweightedAligner(base, np.eye(8), length=length)
    with pytest.raises(InputError, match="normalize and length exclude each other"):
        ReweightedAligner(base, np.eye(8), normalize=True, length=1.0)
    with pytest.raises(InputError, match="an origin needs a length"):
        ReweightedAligner(base, np.eye(8), origin=np.zeros(8))


def test_rows_of_one_length_weigh_no_queries() -> None:
    base = AffineAligner(np.eye(2), [0, 0])
    assert query_weights(ReweightedAligner(base, np.eye(2))) is not None
    assert query_weights(ReweightedAligner(base, np.eye(2), length=1.0)) is None
