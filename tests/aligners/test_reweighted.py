from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, ReweightedAligner, fit_affine, fit_kernel, reweight, unweight
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


def test_a_weight_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"must have the shapes \(2, 2\) and \(2,\). Got \(3, 3\)"):
        ReweightedAligner(AffineAligner(np.eye(2), [0, 0]), np.eye(3))
