from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, Aligner, fit_affine
from embcompat.aligners.chain import ChainAligner
from embcompat.aligners.kernel import fit_kernel
from embcompat.aligners.output import match_variance, reweight
from embcompat.embeddings import (
    Embeddings,
    PairedEmbeddings,
    PairSplit,
    convert_embeddings,
    normalize_rows,
    split_pairs,
)
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.evaluation.verification import far_at_frr, scenario_pairs
from embcompat.testing import check_aligner, make_pairs


def labelled_split(*, normalized: bool = True) -> PairSplit:
    return split_pairs(
        make_pairs(600, source_dim=10, target_dim=8, noise=0.6, subjects=100, normalized=normalized).pairs
    )


def euclidean_split(**options: Any) -> PairSplit:
    return split_pairs(make_pairs(500, source_dim=10, target_dim=8, noise=1.0, similarity="euclidean", **options).pairs)


def total_variance(vectors: np.ndarray) -> float:
    return float(vectors.var(axis=0, dtype=np.float64).sum())


@pytest.mark.parametrize("normalized", [False, True])
def test_corrected_aligners_pass_the_suite(normalized: bool) -> None:
    split = labelled_split(normalized=normalized)
    for aligner in (fit_affine(split.train, split.validation), fit_kernel(split.train, split.validation, landmarks=30)):
        check_aligner(match_variance(aligner, split.train), split)
        check_aligner(reweight(aligner, split.validation), split)


def test_matched_output_varies_as_the_target_about_the_same_mean() -> None:
    split = euclidean_split()
    aligner = fit_affine(split.train, split.validation)
    original = aligner.transform(split.train.source.vectors)
    after = match_variance(aligner, split.train).transform(split.train.source.vectors)
    assert total_variance(original) < 0.8 * total_variance(split.train.target.vectors)
    assert total_variance(after) == pytest.approx(total_variance(split.train.target.vectors), rel=1e-5)
    np.testing.assert_allclose(after.mean(axis=0), original.mean(axis=0), atol=1e-5)


def test_matching_variance_keeps_the_order_of_distances_among_converted_rows() -> None:
    split = euclidean_split()
    aligner = fit_affine(split.train, split.validation)
    rows = split.test.source.vectors
    original, after = aligner.transform(rows), match_variance(aligner, split.train).transform(rows)
    ratio = np.linalg.norm(after[1:] - after[:-1], axis=1) / np.linalg.norm(original[1:] - original[:-1], axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert ratio[0] > 1


def test_matching_variance_twice_changes_nothing_more() -> None:
    split = labelled_split()
    once = match_variance(fit_affine(split.train, split.validation), split.train)
    twice = match_variance(once, split.train)
    np.testing.assert_allclose(twice.weight, once.weight, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(twice.bias, once.bias, rtol=1e-4, atol=1e-6)


def test_matching_variance_reaches_the_last_step_of_a_chain() -> None:
    split = labelled_split()
    chain = ChainAligner([AffineAligner(np.eye(10), np.zeros(10)), fit_affine(split.train, split.validation)])
    plain = match_variance(fit_affine(split.train, split.validation), split.train)
    rows = split.test.source.vectors
    np.testing.assert_allclose(match_variance(chain, split.train).transform(rows), plain.transform(rows), atol=1e-6)


def reweighted_by_hand(aligner: Aligner, held_out: PairedEmbeddings, strength: float) -> np.ndarray:
    """Compute the matrix from its definition, with loops over subjects."""
    converted = aligner.transform(held_out.source.vectors).astype(np.float64)
    residual = held_out.target.vectors - converted
    residual = residual - residual.mean(axis=0)
    spread = sum(np.outer(row, row) for row in residual) / len(residual)
    if held_out.labels is not None:
        within, freedom = np.zeros_like(spread), 0
        for label in sorted(set(held_out.labels.tolist())):
            images = held_out.target.vectors[held_out.labels == label].astype(np.float64)
            within += sum(np.outer(row, row) for row in images - images.mean(axis=0))
            freedom += len(images) - 1
        spread = spread + within / freedom
    return np.linalg.inv(spread + strength * np.trace(spread) / len(spread) * np.eye(len(spread)))


@pytest.mark.parametrize(("labels", "strength"), [(True, 1.0), (False, 2.0)])
def test_reweighting_is_its_definition(labels: bool, strength: float) -> None:
    split = labelled_split()
    held_out = split.validation
    if not labels:
        held_out = PairedEmbeddings(
            *(Embeddings(side.vectors, side.ids, side.space) for side in (held_out.source, held_out.target))
        )
    aligner = fit_affine(split.train, held_out)
    matrix = reweighted_by_hand(aligner, held_out, strength)
    rows = split.test.source.vectors
    expected = normalize_rows(aligner.transform(rows) @ matrix.T)
    np.testing.assert_allclose(reweight(aligner, held_out).transform(rows), expected, atol=1e-5)
    np.testing.assert_allclose(reweight(aligner, held_out, strength=strength).transform(rows), expected, atol=1e-5)


def test_a_centre_is_subtracted_before_the_weighting() -> None:
    split = labelled_split()
    aligner = fit_affine(split.train, split.validation)
    matrix = reweighted_by_hand(aligner, split.validation, 1.0)
    rows, centre = split.test.source.vectors, aligner.transform(split.validation.source.vectors).mean(axis=0)
    expected = normalize_rows((aligner.transform(rows) - centre) @ matrix.T)
    centred = reweight(aligner, split.validation, centre=centre)
    np.testing.assert_allclose(centred.transform(rows), expected, atol=1e-5)


def test_labelled_vectors_take_the_place_of_the_held_out_ones() -> None:
    split = labelled_split()
    aligner = fit_affine(split.train, split.validation)
    rows = split.test.source.vectors
    same = reweight(aligner, split.validation, labelled=split.validation.target)
    np.testing.assert_array_equal(same.transform(rows), reweight(aligner, split.validation).transform(rows))
    more = reweight(aligner, split.validation, labelled=split.train.target)
    assert not np.allclose(more.transform(rows), same.transform(rows), atol=1e-4)


def test_a_direction_that_is_noise_is_weighed_down() -> None:
    rng = np.random.default_rng(0)
    source = rng.standard_normal((500, 4)).astype(np.float32)
    target = source.copy()
    target[:, 3] += 5 * rng.standard_normal(500).astype(np.float32)
    synthetic = make_pairs(500, source_dim=4, target_dim=4).pairs
    pairs = PairedEmbeddings(
        *(Embeddings(vectors, synthetic.ids, synthetic.source.space) for vectors in (source, target))
    )
    weights = np.diag(reweight(AffineAligner(np.eye(4), np.zeros(4)), pairs).weight)
    assert weights[3] < 0.5 * weights[:3].min()


def test_reweighting_keeps_the_mean_length_where_vectors_are_not_normalized() -> None:
    split = labelled_split(normalized=False)
    aligner = fit_affine(split.train, split.validation)
    rows = split.validation.source.vectors
    original, after = aligner.transform(rows), reweight(aligner, split.validation).transform(rows)
    assert np.mean(after**2) == pytest.approx(np.mean(original**2), rel=1e-5)


def test_a_perfect_aligner_is_left_alone() -> None:
    pairs = make_pairs(20, source_dim=4, target_dim=4, noise=0.0).pairs
    same = PairedEmbeddings(pairs.source, pairs.source)
    identity = AffineAligner(np.eye(4), np.zeros(4))
    np.testing.assert_array_equal(reweight(identity, same).weight, identity.weight)


@pytest.mark.parametrize("subjects", [100, None])
def test_reweighting_gives_distances_one_length_about_the_mean(subjects: int | None) -> None:
    split = euclidean_split(subjects=subjects)
    held_out = split.validation
    aligner = fit_affine(split.train, held_out)
    after = reweight(aligner, held_out)
    check_aligner(after, split)
    mean = held_out.target.vectors.mean(axis=0, dtype=np.float64)
    rows = split.test.source.vectors
    weighted = (aligner.transform(rows) - mean) @ reweighted_by_hand(aligner, held_out, 1.0 if subjects else 2.0).T
    lengths = np.linalg.norm(held_out.target.vectors - mean, axis=1)
    expected = mean + 2 * np.sqrt(np.mean(lengths**2)) * normalize_rows(weighted)
    np.testing.assert_allclose(after.transform(rows), expected, rtol=1e-4, atol=1e-4)


def test_reweighted_distances_tell_people_apart_where_lengths_mislead() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(normalize_rows(rng.standard_normal((300, 12))), 3, axis=0)
    images = normalize_rows(people + 0.1 * rng.standard_normal(people.shape))
    lengths = np.exp(0.5 * rng.standard_normal((2, len(images), 1)))  # of quality alone, in either model
    synthetic = make_pairs(900, source_dim=12, target_dim=12, similarity="euclidean", subjects=300).pairs
    labels = [f"person-{row // 3}" for row in range(900)]
    sides = zip((synthetic.source, synthetic.target), lengths, strict=True)
    embeddings = [
        Embeddings((length * images).astype(np.float32), synthetic.ids, side.space, labels) for side, length in sides
    ]
    split = split_pairs(PairedEmbeddings(*embeddings), validation=0.2, test=0.4)
    plain = fit_affine(split.train, split.validation)
    far = []
    for aligner in (plain, reweight(plain, split.validation)):
        converted = convert_embeddings(aligner, split.test.source, split.test.target.space)
        scenarios = scenario_pairs(split.test.source, split.test.target, converted, all_images=True)
        far.append(far_at_frr(scenarios["S3"], 0.05).far)
    assert far[1] < 0.3 * far[0]


def test_what_cannot_be_corrected_is_refused() -> None:
    split = euclidean_split()
    aligner = fit_affine(split.train, split.validation)
    products = split_pairs(make_pairs(100, source_dim=10, target_dim=8, similarity="dot").pairs)
    with pytest.raises(InputError, match=r"needs a target space of directions.*not normalized and compared by dot"):
        reweight(fit_affine(products.train, products.validation), products.validation)
    with pytest.raises(InputError, match=r"a covariance needs at least two pairs\. Got 1"):
        match_variance(aligner, split.validation.select([0]))
    with pytest.raises(InputError, match=r"must vary to be stretched"):
        match_variance(AffineAligner(np.zeros((8, 10)), np.ones(8)), split.validation)
    with pytest.raises(InputError, match=r"must be of the aligner's dimensions, 3 and 8\. Got \(10, 8\)"):
        match_variance(AffineAligner(np.zeros((8, 3)), np.ones(8)), split.validation)
    labelled = labelled_split()
    aligner = fit_affine(labelled.train, labelled.validation)
    with pytest.raises(InputError, match=r"strength must be positive\. Got 0"):
        reweight(aligner, labelled.validation, strength=0)
    with pytest.raises(SpaceMismatchError, match=r"The labelled vectors must be in space 'made-new@1'"):
        reweight(aligner, labelled.validation, labelled=labelled.validation.source)
