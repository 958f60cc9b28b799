from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner
from embcompat.embeddings import normalize_rows
from embcompat.errors import InputError
from embcompat.serving import (
    FusedSearch,
    MixedGallery,
    QueryBridge,
    Search,
    WeightedSearch,
    calibrate_scores,
    choose_fusion_weight,
    fold_queries,
    fuse_vectors,
)

RNG = np.random.default_rng(0)
OLD = normalize_rows(RNG.standard_normal((40, 6))).astype(np.float32)
OLD_QUERIES = normalize_rows(RNG.standard_normal((7, 6))).astype(np.float32)
NEW_QUERIES = normalize_rows(RNG.standard_normal((7, 4))).astype(np.float32)
ALIGNER = AffineAligner(RNG.standard_normal((4, 6)), RNG.standard_normal(4))
UNIT = AffineAligner(ALIGNER.weight, ALIGNER.bias, normalize=True)


def over(gallery: NDArray[Any], ids: NDArray[Any] | None = None) -> Search:
    names = np.array([f"row-{row}" for row in range(len(gallery))], dtype=object) if ids is None else ids

    def search(queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        scores = queries.astype(np.float64) @ gallery.T.astype(np.float64)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), names[order]

    return search


def test_weighted_queries_search_rows_as_they_are() -> None:
    weights = np.diag([4.0, 1.0, 1.0, 0.25])
    gallery = UNIT.transform(OLD)
    scores, ids = WeightedSearch(weights, over(gallery)).search(NEW_QUERIES, 40)
    queries = NEW_QUERIES * weights.diagonal()
    expected = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ gallery.T
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1), atol=1e-6)
    assert ids[0, 0] == f"row-{expected[0].argmax()}"
    same = WeightedSearch(np.eye(4), over(gallery)).search(NEW_QUERIES, 5)[1]
    assert np.array_equal(same, over(gallery)(NEW_QUERIES, 5)[1])


def test_weights_and_queries_must_fit() -> None:
    with pytest.raises(InputError, match=r"weights must be a matrix \(dim, dim\). Got None"):
        WeightedSearch(None, over(OLD))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"queries must have shape \(q, 4\). Got \(7, 6\)"):
        WeightedSearch(np.eye(4), over(OLD)).search(OLD_QUERIES, 5)


def fused_by_hand(aligner: AffineAligner, weight: float) -> NDArray[np.float64]:
    converted = aligner.transform(OLD).astype(np.float64)
    return weight * NEW_QUERIES @ converted.T + (1 - weight) * OLD_QUERIES @ OLD.T


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_two_searches_one_index_and_by_hand_agree(weight: float) -> None:
    converted = UNIT.transform(OLD)
    expected = fused_by_hand(UNIT, weight)
    scores, ids = FusedSearch(over(converted), over(OLD), weight=weight).search(NEW_QUERIES, OLD_QUERIES, 40)
    together = fuse_vectors(converted, OLD, weight=weight)
    one_scores, one_ids = over(together)(fuse_vectors(NEW_QUERIES, OLD_QUERIES, weight=weight), 40)
    order = np.argsort(-expected, axis=1)
    assert np.allclose(scores, np.take_along_axis(expected, order, axis=1), atol=1e-6)
    assert np.allclose(one_scores, scores, atol=1e-6)
    assert np.array_equal(ids, one_ids)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_the_folded_query_is_exact_for_dot_products_without_normalization(weight: float) -> None:
    folded = fold_queries(ALIGNER, NEW_QUERIES, OLD_QUERIES, weight=weight) @ OLD.T
    constant = weight * NEW_QUERIES @ ALIGNER.bias
    assert np.allclose(folded + constant[:, np.newaxis], fused_by_hand(ALIGNER, weight), atol=1e-5)


def test_the_folded_query_is_exact_for_an_isometry_without_bias() -> None:
    isometry = AffineAligner(np.linalg.qr(RNG.standard_normal((9, 6)))[0], np.zeros(9), normalize=True)
    new = normalize_rows(RNG.standard_normal((7, 9)))
    expected = 0.3 * new @ isometry.transform(OLD).T + 0.7 * OLD_QUERIES @ OLD.T
    assert np.allclose(fold_queries(isometry, new, OLD_QUERIES, weight=0.3) @ OLD.T, expected, atol=1e-6)


def test_the_folded_query_is_another_mode_when_the_aligner_normalizes() -> None:
    folded = fold_queries(UNIT, NEW_QUERIES, OLD_QUERIES, weight=0.5) @ OLD.T
    difference = folded - fused_by_hand(UNIT, 0.5)
    assert np.ptp(difference, axis=1).max() > 0.1


def test_a_short_depth_never_loses_what_both_sides_rank_first() -> None:
    scores, ids = FusedSearch(over(UNIT.transform(OLD)), over(OLD), depth=5).search(NEW_QUERIES, OLD_QUERIES, 3)
    assert scores.shape == ids.shape == (7, 3)
    assert (np.diff(scores, axis=1) <= 0).all()
    agreement = over(UNIT.transform(OLD))(NEW_QUERIES, 1)[1] == over(OLD)(OLD_QUERIES, 1)[1]
    firsts = over(OLD)(OLD_QUERIES, 1)[1]
    assert (ids[agreement.ravel(), 0] == firsts[agreement]).all()


def test_the_bridge_searches_the_old_gallery() -> None:
    back = AffineAligner(np.linalg.pinv(ALIGNER.weight), np.zeros(6))
    scores, ids = QueryBridge(back, over(OLD)).search(NEW_QUERIES, 4)
    expected = over(OLD)(back.transform(NEW_QUERIES), 4)
    assert np.array_equal(ids, expected[1])
    assert np.array_equal(scores, expected[0])


def test_a_mixed_gallery_of_one_scale_is_one_gallery() -> None:
    rows = normalize_rows(RNG.standard_normal((30, 4))).astype(np.float32)
    names = np.array([f"row-{row}" for row in range(30)], dtype=object)
    mixed = MixedGallery(over(rows[:12], names[:12]), over(rows[12:] / 2, names[12:]), scale=2.0)
    scores, ids = mixed.search(NEW_QUERIES, 8)
    expected = over(rows)(NEW_QUERIES, 8)
    assert np.array_equal(ids, expected[1])
    assert np.allclose(scores, expected[0], atol=1e-6)


def test_calibration_undoes_a_change_of_scale() -> None:
    scores = RNG.standard_normal(500)
    scale, offset = calibrate_scores(scores, 0.4 * scores + 0.1)
    assert scale == pytest.approx(2.5)
    assert offset == pytest.approx(-0.25)
    assert calibrate_scores(scores, scores) == pytest.approx((1, 0))


def test_a_calibrated_gallery_ranks_as_the_native_one_would() -> None:
    rows = normalize_rows(RNG.standard_normal((60, 4))).astype(np.float32)
    names = np.array([f"row-{row}" for row in range(60)], dtype=object)

    def shrunk(queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        scores, ids = over(rows[30:], names[30:])(queries, k)
        return 0.5 * scores - 0.2, ids

    scale, offset = calibrate_scores(rows @ rows.T, 0.5 * (rows @ rows.T) - 0.2)
    result = MixedGallery(over(rows[:30], names[:30]), shrunk, scale=scale, offset=offset).search(NEW_QUERIES, 10)
    assert np.array_equal(result[1], over(rows)(NEW_QUERIES, 10)[1])


def test_the_weight_is_never_chosen_on_the_query_it_is_reported_on() -> None:
    # Every query prefers a weight of its own at random: an honest report is no better than chance.
    values = dict(zip((0.2, 0.5, 0.8), np.random.default_rng(1).standard_normal((3, 2_000)), strict=True))
    best, reported = choose_fusion_weight(lambda weight: values[weight], list(values))
    assert best == max(values, key=lambda weight: values[weight].mean())
    assert abs(reported.mean()) < 0.1
    clear, reported = choose_fusion_weight(lambda weight: values[weight] + 5 * (weight == 0.5), list(values))
    assert clear == 0.5
    assert np.array_equal(reported, values[0.5] + 5)


def test_each_mode_says_which_models_it_needs() -> None:
    assert QueryBridge.needs == MixedGallery.needs == ("new",)
    assert FusedSearch.needs == ("old", "new")


def test_messages() -> None:
    with pytest.raises(InputError, match="weight must lie between 0"):
        FusedSearch(over(OLD), over(OLD), weight=1.5)
    with pytest.raises(InputError, match="same rows or queries. Got 7 new and 6 old"):
        fuse_vectors(NEW_QUERIES, OLD_QUERIES[:6])
    with pytest.raises(InputError, match="scale must be positive"):
        MixedGallery(over(OLD), over(OLD), scale=0)
    with pytest.raises(InputError, match="converted_scores must hold scores that vary. Got 3 with 1 to 1"):
        calibrate_scores([0, 1, 2], [1, 1, 1])
    with pytest.raises(InputError, match="native_scores must hold scores that vary. Got 0"):
        calibrate_scores([], [1, 2])
    with pytest.raises(InputError, match="at least one weight"):
        choose_fusion_weight(lambda weight: [weight], [])
