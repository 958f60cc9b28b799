from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, fit_affine, reweight
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.errors import InputError
from embcompat.selection import Candidate, parse_candidate
from embcompat.selection.crossfit import assign_folds, correct, correct_folds, cross_fit, fit_candidate
from embcompat.testing import make_pairs

RIDGE = Candidate("ridge", "ridge", {"penalty": 0.1})


def test_every_pair_is_converted_by_an_aligner_that_never_saw_it() -> None:
    pairs = make_pairs(120, source_dim=6, target_dim=5).pairs
    (fit,) = cross_fit([RIDGE], pairs, folds=3, seed=1)
    for number in range(3):
        rows = fit.fold == number
        rest = pairs.select(~rows)
        alone = fit_affine(rest, rest.select([]), penalty=0.1)
        np.testing.assert_allclose(fit.converted[rows], alone.transform(pairs.source.vectors[rows]), atol=1e-4)


def test_a_label_is_in_one_fold() -> None:
    pairs = make_pairs(100, source_dim=3, target_dim=3, subjects=20).pairs
    fold = assign_folds(pairs, 4, 0)
    assert pairs.labels is not None
    assert len(set(zip(pairs.labels.tolist(), fold.tolist(), strict=True))) == 20
    assert set(fold.tolist()) == {0, 1, 2, 3}
    with pytest.raises(InputError, match="at least 42 pairs with different labels, or without labels. Got 20"):
        assign_folds(pairs, 21, 0)


def test_kinds_that_candidates_share_are_fitted_once() -> None:
    pairs = make_pairs(80, source_dim=4, target_dim=4, normalized=True).pairs
    fits = cross_fit([RIDGE, Candidate("other", "ridge", {"penalty": 0.1}, "reweighted")], pairs, folds=2, seed=0)
    assert fits[0] is fits[1]


def test_corrections_come_from_the_other_folds() -> None:
    pairs = make_pairs(200, source_dim=6, target_dim=6, noise=0.5, normalized=True).pairs
    candidate = Candidate("r", "ridge", {"penalty": 0.1}, "reweighted")
    (fit,) = cross_fit([candidate], pairs, folds=2, seed=0)
    corrected = correct_folds(candidate, fit, pairs)
    first = fit.fold == 0
    rest = pairs.target.select(~first)
    identity = AffineAligner(np.eye(6), np.zeros(6), normalize=True)
    between = PairedEmbeddings(Embeddings(fit.converted[~first], rest.ids, rest.space), rest)
    expected = reweight(identity, between).transform(fit.converted[first])
    np.testing.assert_allclose(corrected[first], expected, atol=1e-5)


def test_the_final_correction_is_that_of_reweight_on_cross_fitted_conversions() -> None:
    pairs = make_pairs(200, source_dim=6, target_dim=6, noise=0.5, subjects=40, normalized=True).pairs
    candidate = parse_candidate("ridge, reweighted")
    (fit,) = cross_fit([candidate], pairs, folds=2, seed=0)
    aligner = fit_candidate(candidate, pairs, pairs.select([]))
    expected = reweight(aligner, pairs, labelled=pairs.target, converted=fit.converted)
    rows = pairs.source.vectors
    np.testing.assert_allclose(
        correct(aligner, candidate, fit, pairs).transform(rows), expected.transform(rows), atol=1e-5
    )


def test_rows_that_are_not_held_out_are_fitted_on_in_every_fold() -> None:
    pairs = make_pairs(120, source_dim=6, target_dim=5).pairs
    rows = np.arange(0, 120, 4)
    (fit,) = cross_fit([RIDGE], pairs, folds=1, seed=1, rows=rows)
    rest = pairs.select(np.setdiff1d(np.arange(120), rows))
    alone = fit_affine(rest, rest.select([]), penalty=0.1)
    assert set(np.flatnonzero(fit.fold == 0)) == set(rows)
    np.testing.assert_allclose(fit.converted[rows], alone.transform(pairs.source.vectors[rows]), atol=1e-4)
    assert np.isnan(fit.converted[fit.fold == -1]).all(), "a row that every fit saw must not be scored"
