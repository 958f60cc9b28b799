"""The subject bootstrap against explicitly copied subjects."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.evaluation.verification.bootstrap import (
    SubjectDraws,
    choose_threshold,
    draw_subjects,
    far_ratio,
    ratio_estimate,
    replicate_far,
    replicate_frr,
)
from embcompat.evaluation.verification.counts import count_impostors
from embcompat.evaluation.verification.figures import threshold_at_frr
from embcompat.evaluation.verification.pairs import VerificationPairs


def made_pairs(noise=0.8, subjects=60, *, images=1, seed=0, weight="person", dropped=0):
    """Make pairs of people, of whom, where rows are dropped, some have more images than others."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(subjects), images)[dropped:]
    if dropped:
        codes = np.where(codes < subjects // 2, codes // 4 * 4, codes)
    centres = rng.standard_normal((subjects, 6))[codes]
    sides = [centres + noise * rng.standard_normal(centres.shape) for _ in range(2)]
    if images > 1:
        return VerificationPairs(sides[0], sides[0], codes, codes, "cosine", same_items=True, weight=weight)
    return VerificationPairs(*sides, codes, codes, "cosine", weight=weight)


@pytest.mark.parametrize("weight", ["person", "pairs"])
@pytest.mark.parametrize("images", [1, 3])
def test_a_replicate_is_the_data_with_subjects_copied(images, weight):
    pairs = made_pairs(images=images, weight=weight, dropped=20 if images > 1 else 0)
    draws = draw_subjects(pairs, seed=3, replicates=6)
    thresholds = choose_threshold(pairs, draws, 0.1).replicates
    tail = count_impostors(pairs, 0.0, tails_above=[float(thresholds.min())]).tails[0]
    frr = replicate_frr(pairs.genuine, draws, thresholds)
    far = replicate_far(tail, draws, thresholds)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (pairs.anchors, pairs.positives)]
    scores = unit[0] @ unit[1].T
    codes = pairs.anchor_subjects
    same = codes[:, None] == codes
    usable = same & ~np.eye(len(scores), dtype=bool) if images > 1 else same
    rows = np.bincount(codes)[codes]
    votes = 1 / np.outer(rows, rows) if weight == "person" else np.ones(scores.shape)
    own_votes = np.where(usable, 1 / usable.sum(axis=1)[:, None] / rows[:, None], 0) if weight == "person" else usable
    for row, drawn in enumerate(draws.drawn.astype(int)):
        copies = np.outer(drawn[codes], drawn[codes]) * ~same * votes
        weights = (own_votes * drawn[codes][:, None])[usable]
        assert draws.genuine_votes[row] == pytest.approx(weights.sum())
        assert draws.impostor_votes[row] == pytest.approx(copies.sum())
        assert thresholds[row] == pytest.approx(threshold_at_frr(scores[usable], 0.1, votes=weights))
        assert frr[row] == pytest.approx(np.sum(weights * (scores[usable] < thresholds[row] - 1e-9)) / weights.sum())
        assert far[row] == pytest.approx(np.sum(copies * (scores > thresholds[row])) / copies.sum())


def test_weights_of_one_everywhere_give_the_figures_themselves():
    pairs = made_pairs()
    ones = SubjectDraws(np.ones((1, 60), dtype=np.uint8), np.array([60.0]), np.array([60.0 * 59]))
    threshold = threshold_at_frr(pairs.genuine.scores, 0.05, votes=pairs.genuine.votes)
    thresholds = choose_threshold(pairs, ones, 0.05).replicates
    assert thresholds.tolist() == [threshold]
    counts = count_impostors(pairs, threshold, tails_above=[threshold])
    assert replicate_far(counts.tails[0], ones, thresholds)[0] == pytest.approx(counts.above[0] / counts.total)


def test_weights_are_seeded_and_each_replicate_draws_as_many_subjects():
    pairs = made_pairs()
    drawn = draw_subjects(pairs, seed=1, replicates=50).drawn
    assert drawn.sum(axis=1).tolist() == [60] * 50
    assert np.array_equal(drawn, draw_subjects(pairs, seed=1, replicates=50).drawn)
    assert not np.array_equal(drawn, draw_subjects(pairs, seed=2, replicates=50).drawn)


def test_every_replicate_of_two_subjects_holds_both_kinds_of_pairs():
    draws = draw_subjects(made_pairs(subjects=2), seed=0, replicates=20)
    assert draws.drawn.tolist() == [[1, 1]] * 20
    assert draws.impostor_votes.tolist() == [2.0] * 20


def test_an_aligner_against_itself_has_ratio_one():
    pairs = made_pairs()
    ratio = far_ratio(pairs, made_pairs(), frr=0.1, seed=0, replicates=100)
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)


def test_the_paired_ratio_tells_a_better_aligner():
    better, worse = made_pairs(0.3, 200), made_pairs(0.8, 200)
    ratio = far_ratio(better, worse, frr=0.05, seed=0, replicates=200)
    assert ratio.low <= ratio.value <= ratio.high < 1
    assert far_ratio(worse, better, frr=0.05, seed=0, replicates=200).low > 1


def test_the_interval_covers_the_rate_of_the_population():
    # 40 samples of 60 subjects against the FAR of 3,000 subjects: most intervals must hold it.
    population = made_pairs(subjects=3_000, seed=99)
    threshold = threshold_at_frr(population.genuine.scores, 0.1, votes=population.genuine.votes)
    truth = count_impostors(population, threshold).above[0] / population.impostor_count
    covered = 0
    for start in range(0, 2_400, 60):
        rows = slice(start, start + 60)
        sample = VerificationPairs(
            population.anchors[rows], population.positives[rows], np.arange(60), np.arange(60), "cosine"
        )
        draws = draw_subjects(sample, seed=start, replicates=200)
        thresholds = choose_threshold(sample, draws, 0.1).replicates
        tail = count_impostors(sample, 0.0, tails_above=[float(thresholds.min())]).tails[0]
        low, high = np.quantile(replicate_far(tail, draws, thresholds), [0.025, 0.975])
        covered += low <= truth <= high
    assert covered >= 34


def test_a_replicate_without_errors_bounds_nothing():
    ratio = ratio_estimate(0.5, 0.25, np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.0, 0.0]))
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 1.0, np.inf)


def test_messages():
    pairs = made_pairs()
    with pytest.raises(InputError, match="same subjects with equally many rows"):
        far_ratio(pairs, made_pairs(subjects=50), frr=0.1, seed=0)
    with pytest.raises(InputError, match="replicates must be at least 1. Got 0"):
        draw_subjects(pairs, seed=0, replicates=0)
    perfect = made_pairs(0.0)
    with pytest.raises(InputError, match="needs errors to divide by"):
        far_ratio(pairs, perfect, frr=0.05, seed=0, replicates=5)
