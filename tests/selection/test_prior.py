"""Fits that are shrunk towards what the words say: against a least-squares oracle and a map that needs no more."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from embcompat.aligners import fit_affine, fit_kernel
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.selection.prior import first_guess, fit_towards_words
from embcompat.spaces import SpaceVersion

DIM = 8
FIT = partial(fit_kernel, landmarks=10, penalty=0.02)


def make_pairs(
    count: int, *, old: int = 3, blocks: int = 2, noise: float = 0.0, seed: int = 0, first: int = 0
) -> PairedEmbeddings:
    """Targets that are .7 of the first block and .2 of the second, the old vectors of no use."""
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((count, old + blocks * DIM))
    parts = [source[:, old + number * DIM :][:, :DIM] for number in range(blocks)]
    target = sum(factor * part for factor, part in zip((0.7, 0.2), parts, strict=False))
    target = target + noise * rng.standard_normal((count, DIM))
    target /= np.linalg.norm(target, axis=1, keepdims=True) if noise else 1
    ids = [str(row) for row in range(first, first + count)]
    spaces = (
        SpaceVersion(name="with-words", version="1", dim=source.shape[1], similarity="dot"),
        SpaceVersion(name="new", version="1", dim=DIM, similarity="cosine", normalized=bool(noise)),
    )
    return PairedEmbeddings(Embeddings(source, ids, spaces[0]), Embeddings(target, ids, spaces[1]))


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_guess_is_least_squares_of_ridge_and_features_on_held_out_pairs(blocks: int) -> None:
    train, validation = make_pairs(60, blocks=blocks, noise=0.5), make_pairs(40, blocks=blocks, noise=0.5, seed=1)
    guess = first_guess(train, validation, blocks * DIM)
    old = SpaceVersion(name="old", version="1", dim=3, similarity="dot")
    parts = [
        PairedEmbeddings(Embeddings(pairs.source.vectors[:, :3], pairs.ids, old), pairs.target)
        for pairs in (train, validation)
    ]
    rows = validation.source.vectors
    columns = [rows[:, :3] @ fit_affine(*parts).weight.T]
    columns += [rows[:, 3 + number * DIM :][:, :DIM] for number in range(blocks)]
    table = np.stack([(part - part.mean(axis=0)).ravel() for part in columns], axis=1)
    target = validation.target.vectors - validation.target.vectors.mean(axis=0)
    factors = np.linalg.lstsq(table.astype(np.float64), target.ravel().astype(np.float64), rcond=None)[0]
    expected = sum(factor * part for factor, part in zip(factors, columns, strict=True))
    np.testing.assert_allclose(rows @ guess.T, expected, atol=1e-5)


def test_what_the_words_say_needs_no_pairs_to_be_learned() -> None:
    train, validation, unseen = (make_pairs(count, seed=count) for count in (12, 10, 50))
    rows, expected = unseen.source.vectors, unseen.target.vectors
    errors = [
        float(np.mean((fit(train, validation, refit=False).transform(rows) - expected) ** 2))
        for fit in (FIT, partial(fit_towards_words, fit=FIT, features=2 * DIM))
    ]
    assert errors[1] < 1e-6 < 0.1 * errors[0]


def test_the_output_has_unit_norm_where_the_target_has() -> None:
    train, validation = make_pairs(60, noise=0.3), make_pairs(20, noise=0.3, seed=1, first=60)
    aligner = fit_towards_words(train, validation, fit=FIT, features=2 * DIM, refit=True)
    norms = np.linalg.norm(aligner.transform(validation.source.vectors), axis=1)
    assert aligner.normalize
    np.testing.assert_allclose(norms, 1, atol=1e-5)


def test_features_of_another_length_give_no_guess() -> None:
    pairs = make_pairs(60, noise=0.3)
    assert not first_guess(pairs, pairs, DIM + 1).any()
    aligners = [fit(pairs, pairs, refit=False) for fit in (FIT, partial(fit_towards_words, fit=FIT, features=DIM + 1))]
    rows = pairs.source.vectors
    np.testing.assert_allclose(aligners[0].transform(rows), aligners[1].transform(rows), atol=0.05)
