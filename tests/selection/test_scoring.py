from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner, fit_affine
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, cut_texts, split_pairs
from embcompat.errors import InputError
from embcompat.selection import scoring
from embcompat.selection.scoring import HeldOutQueries, neighbour_scores, piece_scores, sample_rows, subject_scores
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs

Scores = dict[str, dict[str, list[float]]]


def faces(*, noise: float = 0.3) -> PairSplit:
    """Pairs of 60 subjects with unequal numbers of images."""
    pairs = make_pairs(360, source_dim=24, target_dim=24, noise=noise, subjects=60, normalized=True).pairs
    few = np.arange(360) % 60 < 20
    return split_pairs(pairs.select(~few | (np.arange(360) < 180)), validation=0.3)


def converted_by(aligner: AffineAligner, pairs: PairedEmbeddings) -> NDArray[np.float32]:
    return aligner.transform(pairs.source.vectors)


def naive(converted: NDArray[np.float32], pairs: PairedEmbeddings) -> tuple[dict[str, list[float]], Scores]:
    """Score every converted row against every other new row, one pair at a time; impostors by the other subject."""
    assert pairs.labels is not None
    genuine: dict[str, list[float]] = {label: [] for label in sorted(set(pairs.labels))}
    impostor: Scores = {label: {other: [] for other in genuine if other != label} for label in genuine}
    for row, label in enumerate(pairs.labels):
        for other, other_label in enumerate(pairs.labels):
            if row != other:
                scores = genuine[label] if label == other_label else impostor[label][other_label]
                scores.append(float(converted[row] @ pairs.target.vectors[other]))
    return genuine, impostor


def test_the_balanced_score_is_its_definition_by_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embcompat.evaluation.verification.subjects._BLOCK_ROWS", 7)
    pairs = faces().validation
    converted = converted_by(fit_affine(faces().train, pairs), pairs)
    genuine, impostor = naive(converted, pairs)
    votes = [scores for others in impostor.values() for scores in others.values()]
    mean = np.mean([np.mean(scores) for scores in votes])
    deviation = np.sqrt(np.mean([np.mean(np.square(scores)) for scores in votes]) - mean**2)
    expected = [(np.mean(scores) - mean) / deviation for scores in genuine.values() if scores]
    np.testing.assert_allclose(subject_scores(converted, pairs, "balanced"), expected, rtol=1e-5)


def test_one_person_with_many_images_has_one_vote() -> None:
    pairs = faces().validation
    assert pairs.labels is not None
    converted = converted_by(fit_affine(faces().train, pairs), pairs)
    rows = np.flatnonzero(pairs.labels == pairs.labels[0])
    repeated = np.concatenate([np.arange(len(pairs)), *[rows] * 30])

    def side(vectors: NDArray[np.float32], space: SpaceVersion) -> Embeddings:
        return Embeddings(vectors[repeated], [str(row) for row in range(len(repeated))], space, pairs.labels[repeated])

    many = PairedEmbeddings(
        *(side(each.vectors, each.space) for each in (pairs.source, pairs.target)),
    )
    original, after = (
        subject_scores(vectors, part, "balanced") for vectors, part in ((converted, pairs), (converted[repeated], many))
    )
    others = np.unique(pairs.labels.astype(str)) != pairs.labels[0]
    np.testing.assert_allclose(after[others], original[others], rtol=1e-5)


def test_the_lowest_far_score_counts_what_passes_the_threshold_of_new_vectors() -> None:
    pairs = faces().validation
    converted = converted_by(fit_affine(faces().train, pairs), pairs)
    _, native = naive(pairs.target.vectors, pairs)
    votes = [(score, 1 / len(scores)) for others in native.values() for scores in others.values() for score in scores]
    votes.sort(reverse=True)
    labels = np.unique(pairs.labels.astype(str), return_inverse=True)[1]
    total = sum(int(np.count_nonzero(labels != label)) for label in labels)
    allowed = max(scoring.FIXED_FAR, 30 / total) * sum(vote for _, vote in votes)
    passed = np.cumsum([vote for _, vote in votes])
    threshold = votes[int(np.count_nonzero(passed <= allowed * (1 + 1e-9)))][0]
    _, impostor = naive(converted, pairs)
    expected = [
        -1e4 * np.mean([np.mean(np.array(scores) > threshold) for scores in others.values()])
        for others in impostor.values()
    ]
    np.testing.assert_allclose(subject_scores(converted, pairs, "lowest_far"), expected, atol=1e-9)


@pytest.mark.parametrize("objective", ["balanced", "lowest_far"])
def test_a_better_map_scores_higher(objective: scoring.Objective) -> None:
    split = faces(noise=0.05)
    good = fit_affine(split.train, split.validation)
    poor = fit_affine(split.train, split.validation, solver="low_rank", rank=2)
    scores = [np.mean(subject_scores(converted_by(each, split.test), split.test, objective)) for each in (good, poor)]
    assert scores[0] > scores[1]


def test_rejecting_everyone_is_no_merit() -> None:
    split = faces()
    away = AffineAligner(np.zeros((24, 24)), -split.test.target.vectors.mean(axis=0), normalize=True)
    np.testing.assert_array_equal(subject_scores(converted_by(away, split.test), split.test, "lowest_far"), -1e4)


def test_a_score_does_not_depend_on_the_order_of_rows() -> None:
    pairs = faces().validation
    converted = converted_by(fit_affine(faces().train, pairs), pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    for objective in ("balanced", "lowest_far"):
        np.testing.assert_allclose(
            subject_scores(converted[order], pairs.select(order), objective),
            subject_scores(converted, pairs, objective),
            atol=1e-5,
        )


def test_a_perfect_map_finds_every_neighbour() -> None:
    pairs = make_pairs(60, source_dim=6, target_dim=6, noise=0.0).pairs
    same = PairedEmbeddings(pairs.source, pairs.source)
    np.testing.assert_array_equal(neighbour_scores(same.source.vectors, same), 1.0)


def test_few_items_do_not_saturate_the_score() -> None:
    # 11 items are all neighbours of each other where ten neighbours count.
    pairs = make_pairs(11, source_dim=6, target_dim=6).pairs
    shuffled = pairs.target.vectors[np.random.default_rng(0).permutation(11)]
    assert neighbour_scores(shuffled, pairs).mean() < 1


def texts_and_pieces() -> PairedEmbeddings:
    cut = cut_texts(["a b c d e f", "g h i j k l", "m n o p q r", "s"], ["A", "B", "C", "D"], words=3)
    rng = np.random.default_rng(0)
    space = SpaceVersion(name="t", version="1", dim=5, similarity="cosine")
    vectors = rng.standard_normal((len(cut), 5)).astype(np.float32)
    return PairedEmbeddings(*(Embeddings(vectors, cut.ids, space, cut.labels) for _ in range(2)))


def test_texts_stand_out_when_their_pieces_search() -> None:
    pairs = texts_and_pieces()
    vectors = pairs.target.vectors / np.linalg.norm(pairs.target.vectors, axis=1, keepdims=True)
    margins = []
    for piece, row in enumerate(vectors[4:] @ vectors[:4].T):
        others = np.delete(row, piece // 2)
        margins.append((row[piece // 2] - others.mean()) / others.std())
    expected = np.mean(np.reshape(margins, (3, 2)), axis=1)
    np.testing.assert_allclose(piece_scores(pairs.source.vectors, pairs), expected, rtol=1e-5)
    held_out = HeldOutQueries(pairs)
    np.testing.assert_allclose(held_out.margins(pairs.source.vectors), margins, rtol=1e-5)


def test_the_score_of_pieces_falls_with_the_noise_of_a_map() -> None:
    rng = np.random.default_rng(0)
    names = [f"t{number}" for number in range(50)]
    cut = cut_texts(["a b c d e f"] * 50, names, words=3)
    centres = dict(zip(names, rng.standard_normal((50, 8)), strict=True))
    vectors = np.array([centres[label] for label in cut.labels]) + 0.1 * rng.standard_normal((len(cut), 8))
    space = SpaceVersion(name="t", version="1", dim=8, similarity="cosine")
    side = Embeddings(vectors.astype(np.float32), cut.ids, space, cut.labels)
    pairs, noise = PairedEmbeddings(side, side), rng.standard_normal(vectors.shape)
    means = [piece_scores((vectors + share * noise).astype(np.float32), pairs).mean() for share in (0, 1, 3)]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("place", [1.0, 0.3])
def test_a_map_to_one_place_lets_no_text_stand_out(place: float) -> None:
    pairs = texts_and_pieces()
    np.testing.assert_array_equal(piece_scores(np.full_like(pairs.source.vectors, place), pairs), 0)


def test_samples_take_whole_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SCORED_ROWS", 100)
    pairs = make_pairs(400, source_dim=4, target_dim=4, subjects=50).pairs
    rows = sample_rows(pairs, seed=0)
    assert pairs.labels is not None
    assert 90 < len(rows) <= 100
    assert len(rows) == 8 * len(set(pairs.labels[rows].tolist()))


def test_too_few_subjects_are_refused(split: PairSplit) -> None:
    vectors = split.validation.target.vectors
    with pytest.raises(InputError, match=r"needs a label, the subject, of each pair\. Got none"):
        subject_scores(vectors, split.validation, "balanced")
    pairs = make_pairs(20, source_dim=12, target_dim=8, subjects=19).pairs
    with pytest.raises(InputError, match=r"two or more held-out subjects with two or more pairs\. Got 1"):
        subject_scores(pairs.target.vectors, pairs, "balanced")
