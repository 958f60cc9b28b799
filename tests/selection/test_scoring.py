from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner, fit_affine
from embcompat.embeddings import PairedEmbeddings, PairSplit, split_pairs
from embcompat.errors import InputError
from embcompat.selection import scoring
from embcompat.selection.scoring import neighbour_scores, subject_scores
from embcompat.testing import make_pairs

Array = NDArray[np.float64]


def faces(*, noise: float = 0.3) -> PairSplit:
    return split_pairs(
        make_pairs(360, source_dim=24, target_dim=24, noise=noise, subjects=60, normalized=True).pairs, validation=0.3
    )


def naive(aligner: AffineAligner, pairs: PairedEmbeddings) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Score every converted row against every other new row, one pair at a time."""
    converted, native = aligner.transform(pairs.source.vectors), pairs.target.vectors
    assert pairs.labels is not None
    genuine: dict[str, list[float]] = {label: [] for label in sorted(set(pairs.labels))}
    impostor: dict[str, list[float]] = {label: [] for label in genuine}
    for row, label in enumerate(pairs.labels):
        for other, other_label in enumerate(pairs.labels):
            if row != other:
                side = genuine if label == other_label else impostor
                side[label].append(float(converted[row] @ native[other]))
    return genuine, impostor


def test_the_balanced_score_is_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embcompat.evaluation.verification.subjects._BLOCK_ROWS", 7)
    split = faces()
    aligner = fit_affine(split.train, split.validation)
    genuine, impostor = naive(aligner, split.validation)
    every = np.concatenate(list(impostor.values()))
    wanted = [(np.mean(found) - every.mean()) / every.std() for found in genuine.values() if found]
    np.testing.assert_allclose(subject_scores(aligner, split.validation, "balanced"), wanted, rtol=1e-5)


def test_the_lowest_far_score_counts_what_passes_the_threshold_of_new_vectors() -> None:
    split = faces()
    aligner = fit_affine(split.train, split.validation)
    identity = AffineAligner(np.eye(24), np.zeros(24))
    native = PairedEmbeddings(split.validation.target, split.validation.target)
    scores = np.sort(np.concatenate(list(naive(identity, native)[1].values())))
    threshold = scores[-31]  # so few pairs that 30 errors decide, not the rate
    _, impostor = naive(aligner, split.validation)
    wanted = [-1e4 * np.mean(np.array(found) > threshold) for found in impostor.values()]
    np.testing.assert_allclose(subject_scores(aligner, split.validation, "lowest_far"), wanted, atol=1e-9)


@pytest.mark.parametrize("objective", ["balanced", "lowest_far"])
def test_a_better_map_scores_higher(objective: scoring.Objective) -> None:
    split = faces(noise=0.05)
    good = fit_affine(split.train, split.validation)
    rank = fit_affine(split.train, split.validation, solver="low_rank", rank=2)
    assert np.mean(subject_scores(good, split.test, objective)) > np.mean(subject_scores(rank, split.test, objective))


def test_rejecting_everyone_is_no_merit() -> None:
    split = faces()
    away = AffineAligner(np.zeros((24, 24)), -split.test.target.vectors.mean(axis=0), normalize=True)
    np.testing.assert_array_equal(subject_scores(away, split.test, "lowest_far"), -1e4)


def test_a_score_does_not_depend_on_the_order_of_rows() -> None:
    split = faces()
    aligner = fit_affine(split.train, split.validation)
    order = np.random.default_rng(0).permutation(len(split.validation))
    for objective in ("balanced", "lowest_far"):
        np.testing.assert_allclose(
            subject_scores(aligner, split.validation.select(order), objective),
            subject_scores(aligner, split.validation, objective),
            atol=1e-5,
        )


def test_a_perfect_map_finds_every_neighbour() -> None:
    pairs = make_pairs(60, source_dim=6, target_dim=6, noise=0.0).pairs
    same = PairedEmbeddings(pairs.source, pairs.source)
    np.testing.assert_array_equal(neighbour_scores(AffineAligner(np.eye(6), np.zeros(6)), same), 1.0)


def test_too_few_subjects_are_refused(split: PairSplit) -> None:
    aligner = fit_affine(split.train, split.validation)
    with pytest.raises(InputError, match=r"needs a label, the subject, of each pair\. Got none"):
        subject_scores(aligner, split.validation, "balanced")
    pairs = make_pairs(20, source_dim=12, target_dim=8, subjects=19).pairs
    with pytest.raises(InputError, match=r"two or more held-out subjects with two or more pairs\. Got 1"):
        subject_scores(aligner, pairs, "balanced")
