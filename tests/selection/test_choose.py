from __future__ import annotations

import json

import numpy as np
import pytest

from embcompat.aligners import Aligner, fit_affine
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, split_pairs
from embcompat.errors import InputError
from embcompat.selection import Candidate, choose, learning_curve, select_aligner
from embcompat.testing import make_pairs

CHEAP = (Candidate("procrustes", "procrustes"), Candidate("ridge", "ridge"))


def shuffled(pairs: PairedEmbeddings) -> PairedEmbeddings:
    """Break every pair: what is left is no relation at all."""
    order = np.random.default_rng(0).permutation(len(pairs))
    target = pairs.target
    return PairedEmbeddings(pairs.source, Embeddings(target.vectors[order], target.ids, target.space))


def test_the_cheapest_wins_a_tie() -> None:
    parts = split_pairs(make_pairs(600, source_dim=12, target_dim=12, noise=0.001).pairs)
    found = select_aligner(parts.train, parts.validation, candidates=CHEAP)
    assert found.chosen.candidate.name == "procrustes"
    assert all(row.as_good for row in found.candidates)


def test_a_better_one_wins_over_a_cheaper_one() -> None:
    # An affine map with very unequal stretches is beyond any rotation.
    pairs = make_pairs(900, source_dim=10, target_dim=10, how="affine", noise=0.01).pairs
    stretch = np.geomspace(0.05, 5, 10).astype(np.float32)
    source = Embeddings(pairs.source.vectors * stretch, pairs.ids, pairs.source.space)
    parts = split_pairs(PairedEmbeddings(source, pairs.target))
    found = select_aligner(parts.train, parts.validation, candidates=CHEAP)
    assert found.chosen.candidate.name == "ridge"
    assert not found.candidates[0].as_good
    assert found.candidates[0].against_best.high < 0


def test_pairs_that_are_not_pairs_score_as_chance(split: PairSplit) -> None:
    broken = select_aligner(shuffled(split.train), shuffled(split.validation), candidates=CHEAP)
    whole = select_aligner(split.train, split.validation, candidates=CHEAP)
    assert broken.chosen.score.value < 0.5 < whole.chosen.score.value


def test_verification_chooses_by_how_well_subjects_are_kept_apart() -> None:
    pairs = make_pairs(1_200, source_dim=16, target_dim=16, noise=0.2, subjects=200, normalized=True).pairs
    parts = split_pairs(pairs)
    useless = Candidate("of rank 1", "low_rank", {"rank": 1})
    for objective in ("balanced", "lowest_far"):
        found = select_aligner(
            parts.train, parts.validation, task="verification", candidates=(useless, *CHEAP), objective=objective
        )
        assert found.chosen.candidate.name in ("procrustes", "ridge")
        assert not found.candidates[0].as_good
        json.dumps([row.to_dict() for row in found.candidates], allow_nan=False)


def test_an_ensemble_takes_the_network_that_was_fitted_before_it(
    monkeypatch: pytest.MonkeyPatch, split: PairSplit
) -> None:
    given: dict[str, object] = {}
    network = fit_affine(split.train, split.validation)

    def fit(kind: str, train: PairedEmbeddings, held_out: PairedEmbeddings, *, seed: int, **options: object) -> Aligner:
        given[kind] = options
        return network

    monkeypatch.setattr(choose, "fit_aligner", fit)
    candidates = [Candidate(kind, kind) for kind in ("kernel", "residual", "ensemble")]
    found = select_aligner(split.train, split.validation, candidates=candidates).candidates
    assert given == {"kernel": {}, "residual": {}, "ensemble": {"network": network}}
    assert found[2].fit_seconds >= found[1].fit_seconds


def test_the_pairs_that_score_are_not_those_that_fits_see(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[str]] = {"fit": set(), "score": set()}

    def fit(kind: str, train: PairedEmbeddings, held_out: PairedEmbeddings, *, seed: int) -> Aligner:
        seen["fit"] |= set(held_out.labels.tolist())
        return fit_affine(train, held_out)

    def score(aligner: Aligner, held_out: PairedEmbeddings) -> np.ndarray:
        seen["score"] |= set(held_out.labels.tolist())
        return np.ones(5)

    monkeypatch.setattr(choose, "fit_aligner", fit)
    monkeypatch.setattr(choose, "neighbour_scores", score)
    parts = split_pairs(make_pairs(400, source_dim=6, target_dim=6, subjects=80).pairs)
    select_aligner(parts.train, parts.validation, candidates=[Candidate("ridge", "ridge", reweighted=True)])
    assert seen["fit"]
    assert seen["score"]
    assert not seen["fit"] & seen["score"]


def test_verification_needs_labels(split: PairSplit) -> None:
    with pytest.raises(InputError, match="label"):
        select_aligner(split.train, split.validation, task="verification", candidates=CHEAP)


def test_pairs_of_aligners_cannot_be_compared(split: PairSplit) -> None:
    with pytest.raises(InputError, match="fits a pair"):
        select_aligner(split.train, split.validation, candidates=[Candidate("cca", "canonical")])
    with pytest.raises(InputError, match="at least one candidate"):
        select_aligner(split.train, split.validation, candidates=[])


def test_a_learning_curve_rises_and_says_when_to_stop() -> None:
    parts = split_pairs(make_pairs(4_000, source_dim=12, target_dim=12, noise=0.05).pairs)
    curve = learning_curve("ridge", parts.train, parts.validation, sizes=[15, 100, 1_000, 2_000])
    values = [score.value for score in curve.scores]
    assert values[0] < values[-1]
    assert 15 < curve.enough <= 1_000
    assert "enough" in curve.verdict
    assert json.loads(json.dumps(curve.to_dict()))["pairs"] == [15, 100, 1_000, 2_000]


def test_sizes_out_of_range_are_refused(split: PairSplit) -> None:
    with pytest.raises(InputError, match="between 2 and"):
        learning_curve("ridge", split.train, split.validation, sizes=[10, 10_000])
