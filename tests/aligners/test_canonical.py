from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from embcompat.aligners.canonical import fit_canonical
from embcompat.embeddings import PairedEmbeddings, PairSplit, split_pairs
from embcompat.errors import InputError
from embcompat.testing import check_aligner, make_pairs


def correlations(pairs: PairedEmbeddings, *, power: float = 0.0, penalty: float = 1e-9) -> np.ndarray:
    fitted = fit_canonical(pairs, power=power, penalty=penalty)
    left = fitted.forward_map.transform(pairs.source.vectors)
    right = fitted.backward_map.transform(pairs.target.vectors)
    return np.array([np.corrcoef(left[:, column], right[:, column])[0, 1] for column in range(left.shape[1])])


@pytest.mark.parametrize("normalized", [False, True])
def test_both_maps_pass_the_suite(normalized: bool) -> None:
    split = split_pairs(make_pairs(300, source_dim=8, target_dim=8, normalized=normalized).pairs)
    pair = fit_canonical(split.train)
    check_aligner(pair.forward_map, split)
    check_aligner(pair.backward_map, split)


@pytest.mark.parametrize(("source_dim", "target_dim"), [(9, 5), (5, 9)])
def test_the_shared_space_has_the_smaller_dimension(source_dim: int, target_dim: int) -> None:
    pair = fit_canonical(make_pairs(200, source_dim=source_dim, target_dim=target_dim).pairs)
    assert (pair.forward_map.source_dim, pair.backward_map.source_dim) == (source_dim, target_dim)
    assert pair.forward_map.target_dim == pair.backward_map.target_dim == 5


def test_whitened_directions_are_uncorrelated_with_unit_variance() -> None:
    pairs = make_pairs(400, source_dim=6, target_dim=6, noise=0.5).pairs
    shared = fit_canonical(pairs, power=0.0, penalty=1e-9).forward_map.transform(pairs.source.vectors)
    np.testing.assert_allclose(np.cov(shared, rowvar=False, ddof=0), np.eye(6), atol=1e-4)


def test_power_multiplies_each_direction_by_its_correlation() -> None:
    pairs = make_pairs(400, source_dim=6, target_dim=6, noise=0.7).pairs
    plain, weighted = (fit_canonical(pairs, power=power, penalty=1e-9) for power in (0.0, 2.0))
    ratio = np.linalg.norm(weighted.forward_map.weight, axis=1) / np.linalg.norm(plain.forward_map.weight, axis=1)  # type: ignore[attr-defined]
    np.testing.assert_allclose(ratio, correlations(pairs) ** 2, rtol=1e-4)


def test_correlations_do_not_depend_on_affine_maps_of_either_side() -> None:
    pairs = make_pairs(300, source_dim=5, target_dim=5, noise=0.5, similarity="euclidean").pairs
    rng = np.random.default_rng(0)
    shifted_rows = (pairs.source.vectors @ rng.standard_normal((5, 5)) + 3).astype(np.float32)
    other = PairedEmbeddings(pairs.source.trusted(shifted_rows, pairs.ids, pairs.source.space, None), pairs.target)
    np.testing.assert_allclose(correlations(other), correlations(pairs), atol=1e-3)


def test_a_known_rotation_brings_both_sides_together() -> None:
    split = split_pairs(make_pairs(600, source_dim=10, target_dim=10, noise=0.01, normalized=True).pairs)
    pair = fit_canonical(split.train)
    left = pair.forward_map.transform(split.test.source.vectors)
    right = pair.backward_map.transform(split.test.target.vectors)
    assert np.mean(np.sum(left * right, axis=1)) > 0.999


def test_unregularized_correlations_equal_scikit_learn() -> None:
    pairs = make_pairs(400, source_dim=5, target_dim=4, noise=0.6).pairs
    left, right = CCA(n_components=4, max_iter=5000, tol=1e-10).fit_transform(
        pairs.source.vectors, pairs.target.vectors
    )
    oracle = [np.corrcoef(left[:, column], right[:, column])[0, 1] for column in range(4)]
    np.testing.assert_allclose(correlations(pairs), oracle, atol=1e-4)


def test_one_pair_and_fewer_pairs_than_dimensions(split: PairSplit) -> None:
    for rows in ([0], [0, 1, 2]):
        pair = fit_canonical(split.train.select(rows))
        assert np.isfinite(pair.forward_map.transform(split.test.source.vectors)).all()


def test_bad_options_are_refused(split: PairSplit) -> None:
    with pytest.raises(InputError, match=r"power must be 0 or more and penalty positive\. Got -1 and 0\.5"):
        fit_canonical(split.train, power=-1)
    with pytest.raises(InputError, match=r"Got 0\.5 and 0"):
        fit_canonical(split.train, penalty=0)
    with pytest.raises(InputError, match=r"at least one pair is needed"):
        fit_canonical(split.train.select([]))
