"""N:N counts against the naive double loop, rates and curves against scikit-learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn import metrics

from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.verification import products as pair_products
from embcompat.evaluation.verification.counts import count_impostors, largest_impostors
from embcompat.evaluation.verification.figures import (
    det_curve,
    det_curve_of_pairs,
    far_at_frr,
    frr_at_far,
    one_in,
    rates_at,
    threshold_at_far,
    threshold_at_frr,
)
from embcompat.evaluation.verification.pairs import SIMILARITIES, VerificationPairs, genuine_rows, pair_scores


def made_pairs(similarity="cosine", subjects=60, dim=8, *, seed=0, offset=0.0, spread=1.0, noise=0.5):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((subjects, dim))
    sides = [
        (offset + spread * (centres + noise * rng.standard_normal(centres.shape))).astype(np.float32) for _ in range(2)
    ]
    return VerificationPairs(*sides, np.arange(subjects), np.arange(subjects), similarity)


def made_images(similarity="cosine", images=80, subjects=25, dim=6, seed=0, *, weight="person", symmetric=True):
    """Make images of people, of whom the first have many."""
    rng = np.random.default_rng(seed)
    codes = np.minimum(rng.geometric(0.12, images) - 1, subjects - 1)
    vectors = rng.standard_normal((subjects, dim))[codes] + 0.4 * rng.standard_normal((images, dim))
    vectors = vectors.astype(np.float32)
    others = vectors if symmetric else vectors + np.float32(0.1) * rng.standard_normal(vectors.shape, dtype=np.float32)
    return VerificationPairs(vectors, others, codes, codes, similarity, same_items=True, weight=weight)


def naive_scores(pairs):
    """Score all pairs one by one in float64: genuine scores and impostor scores."""
    genuine, impostor = naive_pairs(pairs)
    return np.sort([score for score, _, _ in genuine]), np.sort([score for score, _, _ in impostor])[::-1]


def naive_rate(scored, accepted, weight):
    """Average over pairs, or over the images of each pair of people first and then over the pairs of people."""
    hits = [(accepted(score), people) for score, *people in scored]
    if weight == "pairs":
        return np.mean([hit for hit, _ in hits])
    by_people = {}
    for hit, people in hits:
        by_people.setdefault(tuple(people), []).append(hit)
    return np.mean([np.mean(each) for each in by_people.values()])


def naive_pairs(pairs):
    """Score all pairs one by one in float64: (score, subject, subject) of genuine and of impostor pairs."""
    genuine, impostor = [], []
    for i, x in enumerate(pairs.anchors.astype(np.float64)):
        for j, y in enumerate(pairs.positives.astype(np.float64)):
            if pairs.same_items and i == j:
                continue
            if pairs.similarity == "euclidean":
                score = -float(np.sqrt(np.sum((x - y) ** 2)))
            else:
                score = float(np.dot(x, y))
                if pairs.similarity == "cosine":
                    score /= float(np.linalg.norm(x) * np.linalg.norm(y))
            same = pairs.anchor_subjects[i] == pairs.positive_subjects[j]
            people = int(pairs.anchor_subjects[i]), int(pairs.positive_subjects[j])
            (genuine if same else impostor).append((score, *people))
    return genuine, impostor


@pytest.mark.parametrize("weight", ["person", "pairs"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rates_equal_the_naive_average(similarity, symmetric, weight):
    pairs = made_images(similarity, weight=weight, symmetric=symmetric)
    genuine, impostor = naive_pairs(pairs)
    thresholds = np.quantile([score for score, *_ in impostor], [0.1, 0.6, 0.95, 0.99])
    counts = count_impostors(pairs, thresholds, tails_above=[thresholds[1]])
    for threshold, far in zip(thresholds, counts.far, strict=True):
        assert far == pytest.approx(naive_rate(impostor, lambda score, t=threshold: score > t, weight), rel=1e-12)
        rejected = naive_rate(genuine, lambda score, t=threshold: score <= t, weight)
        assert pairs.genuine.rejected(threshold) == pytest.approx(rejected, rel=1e-12)
    assert counts.tails[0].votes.sum() == pytest.approx(counts.far[1] * pairs.impostor_votes)
    distance = naive_rate(impostor, lambda score: 1 - score if similarity == "cosine" else -score, weight)
    assert counts.mean_distance == pytest.approx(distance, rel=1e-6)
    people = len({tuple(people) for _, *people in impostor}), len({tuple(people) for _, *people in genuine})
    votes = (len(impostor), len(genuine)) if weight == "pairs" else people
    assert (pairs.impostor_votes, pairs.genuine_votes) == votes


@pytest.mark.parametrize("weight", ["person", "pairs"])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.4])
def test_thresholds_are_the_best_that_the_rate_allows(rate, weight):
    pairs = made_images(images=60, weight=weight)
    genuine, impostor = naive_pairs(pairs)

    def frr(threshold):
        return naive_rate(genuine, lambda score: score <= threshold, weight)

    def far(threshold):
        return naive_rate(impostor, lambda score: score > threshold, weight)

    at_frr, at_far = far_at_frr(pairs, rate), frr_at_far(pairs, rate)
    assert frr(at_frr.threshold - 1e-12) <= rate + 1e-12
    assert frr(pairs.genuine.scores[pairs.genuine.scores > at_frr.threshold][0] + 1e-12) > rate
    assert far(at_far.threshold + 1e-12) <= rate + 1e-12
    assert far(at_far.threshold - 1e-9) > rate
    assert (at_frr.frr, at_frr.far) == pytest.approx((frr(at_frr.threshold - 1e-12), far(at_frr.threshold - 1e-12)))


def test_copies_of_one_persons_images_change_no_rate_by_person():
    pairs = made_images(symmetric=False)
    anchors = np.concatenate([np.arange(80), np.flatnonzero(pairs.anchor_subjects == 0)])
    more = VerificationPairs(
        pairs.anchors[anchors], pairs.positives, pairs.anchor_subjects[anchors], pairs.positive_subjects, "cosine"
    )
    once = VerificationPairs(pairs.anchors, pairs.positives, pairs.anchor_subjects, pairs.positive_subjects, "cosine")
    assert far_at_frr(more, 0.1).far == pytest.approx(far_at_frr(once, 0.1).far)
    assert far_at_frr(more, 0.1).threshold == far_at_frr(once, 0.1).threshold


def test_the_largest_share_is_that_of_the_person_with_most_pairs():
    codes = np.array([0, 0, 0, 0, 1, 1, 2])
    vectors = np.random.default_rng(0).standard_normal((7, 3))
    pairs = VerificationPairs(vectors, vectors, codes, codes, "cosine", same_items=True)
    assert pairs.largest_share == pytest.approx(12 / 14)
    assert pairs.genuine_votes == 2


def test_each_pair_is_compared_once_and_progress_adds_up():
    for pairs in (made_images(images=1_200, subjects=40), made_images(images=700, symmetric=False)):
        steps = []
        count_impostors(pairs, 0.5, progress=steps.append)
        assert sum(steps) == len(pairs.anchors) ** 2


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rates_are_monotone_in_the_threshold(similarity):
    pairs = made_pairs(similarity, 120)
    thresholds = np.sort(np.random.default_rng(1).permutation(pairs.genuine.scores)[:40])
    above = count_impostors(pairs, thresholds).above
    assert (np.diff(above) <= 0).all()
    rates = [rates_at(pairs, threshold) for threshold in thresholds]
    assert [rate.false_acceptances for rate in rates] == above.tolist()
    assert (np.diff([rate.frr for rate in rates]) >= 0).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rates_do_not_change_under_rotation(similarity):
    pairs = made_pairs(similarity, 90)
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0]
    turned = VerificationPairs(
        pairs.anchors @ rotation, pairs.positives @ rotation, pairs.anchor_subjects, pairs.positive_subjects, similarity
    )
    ours, reference = far_at_frr(pairs, 0.1), far_at_frr(turned, 0.1)
    assert (ours.false_acceptances, ours.false_rejections) == (reference.false_acceptances, reference.false_rejections)
    assert ours.threshold == pytest.approx(reference.threshold, rel=1e-6)


def test_thresholds_may_come_in_any_order():
    pairs = made_pairs()
    thresholds = [0.3, -0.2, 0.9, 0.3]
    one_by_one = [int(count_impostors(pairs, threshold).above[0]) for threshold in thresholds]
    assert count_impostors(pairs, thresholds).above.tolist() == one_by_one


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (300, 1), (0, 1e4), (0, 1e-12)])
def test_counts_equal_the_double_loop(similarity, offset, spread):
    pairs = made_pairs(similarity, offset=offset, spread=spread)
    genuine, impostor = naive_scores(pairs)
    thresholds = np.concatenate([np.quantile(impostor, [0.05, 0.5, 0.9, 0.999]), genuine[:3], [impostor[0] + spread]])
    counts = count_impostors(pairs, thresholds, tails_above=[float(impostor[200]), float(impostor[5])])
    assert counts.above.tolist() == [int(np.sum(impostor > threshold)) for threshold in thresholds]
    assert counts.total == len(impostor) == pairs.impostor_count
    distances = 1 - impostor if similarity == "cosine" else -impostor
    assert counts.mean_distance == pytest.approx(distances.mean(), rel=2e-5 if offset else 1e-6)
    assert np.allclose(counts.tails[0].scores, impostor[: len(counts.tails[0].scores)], rtol=1e-9, atol=0)
    assert [len(tail.scores) for tail in counts.tails] == [np.sum(impostor > impostor[rank]) for rank in (200, 5)]
    assert np.allclose(pairs.genuine.scores, genuine, rtol=1e-9, atol=0)
    assert np.allclose(largest_impostors(pairs, 49).scores, impostor[:50], rtol=1e-9, atol=0)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_every_pair_of_images_is_compared_once_each_way_but_never_with_itself(similarity):
    pairs = made_images(similarity, weight="pairs")
    genuine, impostor = naive_scores(pairs)
    threshold = float(np.median(genuine))
    assert (pairs.genuine_count, pairs.impostor_count) == (len(genuine), len(impostor))
    assert np.allclose(pairs.genuine.scores, genuine)
    counts = count_impostors(pairs, threshold)
    assert counts.above[0] == np.sum(impostor > threshold)
    distances = 1 - impostor if similarity == "cosine" else -impostor
    assert counts.mean_distance == pytest.approx(distances.mean(), rel=1e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_blocks_add_up(similarity, monkeypatch):
    pairs = made_pairs(similarity, 150)
    threshold = float(np.median(pairs.genuine.scores))
    whole = count_impostors(pairs, threshold, tails_above=[threshold])
    monkeypatch.setattr(pair_products, "_BITS", 5)
    monkeypatch.setattr(pair_products, "_TILE", 32)
    blocks = count_impostors(pairs, threshold, tails_above=[threshold])
    assert blocks.above.tolist() == whole.above.tolist()
    assert blocks.mean_distance == pytest.approx(whole.mean_distance, rel=1e-5)
    assert blocks.tails[0].scores.tolist() == whole.tails[0].scores.tolist()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_scores_within_rounding_of_the_threshold_count_as_in_float64(similarity):
    rng = np.random.default_rng(5)
    base = rng.standard_normal(32)
    base /= np.linalg.norm(base)
    other = rng.standard_normal(32)
    other /= np.linalg.norm(other)
    # All impostor scores lie within a few float32 roundings of each other.
    anchors = (base + 2e-8 * rng.standard_normal((150, 32))).astype(np.float32)
    positives = (other + 2e-8 * rng.standard_normal((150, 32))).astype(np.float32)
    pairs = VerificationPairs(anchors, positives, np.arange(150), np.arange(150), similarity)
    _, impostor = naive_scores(pairs)
    gaps = (impostor[:-1] + impostor[1:]) / 2
    thresholds = gaps[[10, 500, 5_000, 11_000, 20_000]]
    assert np.ptp(impostor) < 1e-6
    counts = count_impostors(pairs, thresholds)
    naive = np.array([np.sum(impostor > threshold) for threshold in thresholds])
    # The two float64 sums may differ in the last place; float32 would be wrong by thousands.
    exact = pair_scores(pairs, *np.nonzero(~np.eye(150, dtype=bool)))
    assert counts.above.tolist() == [int(np.sum(exact > threshold)) for threshold in thresholds]
    assert np.abs(counts.above - naive).max() <= 2
    assert np.allclose(np.sort(exact), impostor[::-1], rtol=1e-14, atol=1e-15)
    assert largest_impostors(pairs, 299).scores.tolist() == np.sort(exact)[::-1][:300].tolist()


def test_one_huge_vector_spoils_no_count():
    rng = np.random.default_rng(2)
    anchors = rng.standard_normal((80, 16)).astype(np.float32)
    positives = anchors + np.float32(0.5) * rng.standard_normal((80, 16)).astype(np.float32)
    anchors[3] *= 1e6
    positives[3] *= 1e6
    for similarity in SIMILARITIES:
        pairs = VerificationPairs(anchors, positives, np.arange(80), np.arange(80), similarity)
        _, impostor = naive_scores(pairs)
        thresholds = (impostor[[7, 70, 700]] + impostor[[8, 71, 701]]) / 2
        assert count_impostors(pairs, thresholds).above.tolist() == [8, 71, 701]


@pytest.mark.parametrize(("similarity", "threshold"), [("euclidean", -5.0), ("dot", 12.0)])
def test_a_tie_with_the_threshold_is_no_match(similarity, threshold):
    # Integer vectors: scores are exact. 3-4-5 and 12.
    anchors, positives = np.array([[0.0, 0.0], [4.0, 3.0]]), np.array([[3.0, 4.0], [3.0, 4.0]])
    if similarity == "dot":
        anchors = np.array([[4.0, 0.0], [0.0, 3.0]])
    pairs = VerificationPairs(anchors, positives, [0, 1], [0, 1], similarity)
    just_below = float(np.nextafter(threshold, -np.inf))
    exact = naive_scores(pairs)[1]
    assert threshold in exact
    assert count_impostors(pairs, [threshold, just_below]).above.tolist() == [
        int(np.sum(exact > threshold)),
        int(np.sum(exact > threshold)) + int(np.sum(exact == threshold)),
    ]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_identical_vectors_tie_everywhere(similarity):
    vectors = np.tile(np.array([[0.3, -0.7, 0.2]], dtype=np.float32), (50, 1))
    pairs = VerificationPairs(vectors, vectors, np.arange(50), np.arange(50), similarity)
    score = float(pairs.genuine.scores[0])
    assert set(pairs.genuine.scores.tolist()) == {score}
    assert count_impostors(pairs, [score, np.nextafter(score, -np.inf)]).above.tolist() == [0, 50 * 49]
    rates = far_at_frr(pairs, 0.05)
    assert (rates.frr, rates.far) == (0.0, 1.0)
    if similarity == "euclidean":
        assert count_impostors(pairs, -1.0).mean_distance == 0.0


def test_memory_stays_far_below_all_pairs():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((5_000, 16)).astype(np.float32)
    pairs = VerificationPairs(vectors, vectors[::-1].copy(), np.arange(5_000), np.arange(5_000), "euclidean")
    threshold = float(pairs.genuine.scores[-1])
    tracemalloc.start()
    count_impostors(pairs, threshold)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000**2 * 4 / 4


def test_a_long_tail_is_thinned_without_bias():
    pairs = made_pairs(subjects=300)
    counts = count_impostors(pairs, 0.0, tails_above=[0.0], tail_limit=5_000, seed=1)
    tail = counts.tails[0]
    assert len(tail.scores) <= 5_000
    assert tail.fraction < 1
    assert len(tail.scores) / tail.fraction == pytest.approx(counts.above[0], rel=0.1)
    assert (np.diff(tail.scores) <= 0).all()
    assert tail.scores[-1] > 0


def test_a_low_cut_does_not_thin_the_tail_of_a_high_one():
    pairs = made_pairs(subjects=300)
    low, high = count_impostors(pairs, 0.0, tails_above=[0.0, 0.8], tail_limit=5_000).tails
    assert low.fraction < 1
    assert high.fraction == 1
    assert len(high.scores) == count_impostors(pairs, 0.8).above[0]


def test_the_largest_impostors_of_a_bigger_set_are_found_from_a_sample():
    pairs = made_pairs(subjects=900)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (pairs.anchors, pairs.positives)]
    scores = (unit[0].astype(np.float64) @ unit[1].T.astype(np.float64))[~np.eye(900, dtype=bool)]
    assert np.allclose(largest_impostors(pairs, 39).scores, np.sort(scores)[::-1][:40])
    assert np.allclose(largest_impostors(pairs, 8_999).scores, np.sort(scores)[::-1][:9_000])


def test_of_few_impostors_all_can_be_wanted():
    pairs = made_pairs(subjects=12)
    assert np.allclose(largest_impostors(pairs, 1_000).scores, naive_scores(pairs)[1])


def test_curves_agree_with_scikit_learn():
    rng = np.random.default_rng(4)
    genuine, impostor = np.round(rng.normal(1.5, 1, 300), 1), np.round(rng.normal(0, 1, 2_000), 1)
    truth = np.concatenate([np.ones(300), np.zeros(2_000)])
    scores = np.concatenate([genuine, impostor])
    far, frr, thresholds = metrics.det_curve(truth, scores, drop_intermediate=False)
    ours = det_curve(genuine, impostor)
    # scikit-learn accepts scores >= its threshold; ours accepts those above: one score further down.
    at = np.searchsorted(ours.thresholds, thresholds, side="left") - 1
    assert np.allclose(ours.far[at], far)
    assert np.allclose(ours.frr[at], frr)
    false_alarm, hit, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    for rate in (0.01, 0.05, 0.2):
        threshold = threshold_at_frr(genuine, rate)
        assert np.mean(genuine <= threshold) <= rate
        assert np.mean(impostor > threshold) == pytest.approx(false_alarm[hit >= 1 - rate].min())
        threshold = threshold_at_far(impostor, rate)
        assert np.mean(impostor > threshold) <= rate
        assert np.mean(genuine > threshold) == pytest.approx(hit[false_alarm <= rate].max())
    crossing = np.argmin(np.abs(far - frr))
    assert ours.eer == pytest.approx((far[crossing] + frr[crossing]) / 2, abs=0.01)


def test_curve_of_pairs_lies_on_the_curve_of_their_scores():
    pairs = made_pairs(noise=1.0, subjects=80)
    genuine, impostor = naive_scores(pairs)
    full, sampled = det_curve(genuine, impostor), det_curve_of_pairs(pairs)
    assert np.allclose(sampled.far, [np.mean(impostor > threshold) for threshold in sampled.thresholds])
    assert np.allclose(sampled.frr, np.arange(80) / 80)
    assert sampled.eer == pytest.approx(full.eer, abs=1 / 80)
    few = det_curve_of_pairs(pairs, points=20)
    assert len(few.thresholds) <= 20
    assert set(few.thresholds) <= set(sampled.thresholds)
    assert few.eer == pytest.approx(full.eer, abs=0.05)


@pytest.mark.parametrize("far", [0.0, 0.001, 0.05])
def test_frr_at_far_is_the_least_that_the_scores_allow(far):
    pairs = made_pairs(noise=1.0)
    genuine, impostor = naive_scores(pairs)
    rates = frr_at_far(pairs, far)
    curve = det_curve(genuine, impostor)
    assert rates.far <= far
    assert rates.frr == pytest.approx(curve.frr[curve.far <= far].min())


def test_equal_error_rate_of_two_gaussians():
    # Means 2 apart, unit variance: the errors are equal halfway, at Φ(−1) = 0.158655.
    rng = np.random.default_rng(0)
    assert det_curve(rng.normal(2, 1, 100_000), rng.normal(0, 1, 100_000)).eer == pytest.approx(0.158655, abs=3e-3)


def test_equal_error_rate_at_the_ends():
    assert det_curve([0.8, 0.9], [0.1, 0.2]).eer == 0.0
    assert det_curve([0.1, 0.2], [0.8, 0.9]).eer == 1.0
    assert det_curve([0.5], [0.5]).eer == 0.5


def test_allowed_errors_are_counted_without_floating_point_loss():
    genuine = np.arange(100.0)
    assert np.sum(genuine <= threshold_at_frr(genuine, 0.29)) == 29  # 0.29 * 100 is 28.999… in floating point
    assert np.sum(genuine <= threshold_at_frr(genuine, 0.0)) == 0
    assert threshold_at_frr([1.0, 1.0, 2.0], 0.34) < 1.0  # rejecting one of two ties would reject both


def test_rates_are_written_as_one_in_n():
    assert one_in(1 / 30_775) == "1 in 30,775"
    assert one_in(1 / 17) == "1 in 17"
    assert one_in(0.8) == "1 in 1.25"
    assert one_in(0.0) == "none"
    assert one_in(0.0, trials=704_760) == "none in 704,760"


def test_genuine_rows_list_each_genuine_pair():
    pairs = VerificationPairs(np.ones((3, 1)), np.ones((4, 1)), [0, 1, 0], [1, 0, 0, 2], "dot")
    assert sorted(zip(*(rows.tolist() for rows in genuine_rows(pairs)), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 0),
        (2, 1),
        (2, 2),
    ]


def test_messages():
    vectors = np.eye(3)
    with pytest.raises(InputError, match=r"at least one genuine and one impostor pair. Got 1 and 0: .*two subjects"):
        VerificationPairs(vectors[:1], vectors[:1], [0], [0], "cosine")
    with pytest.raises(InputError, match=r"Got 0 and 9"):
        VerificationPairs(vectors, vectors, [0, 1, 2], [3, 4, 5], "cosine")
    with pytest.raises(UnknownNameError, match="no similarity called 'manhattan'"):
        VerificationPairs(vectors, vectors, [0, 1, 2], [0, 1, 2], "manhattan")
    with pytest.raises(InputError, match="equally long rows. Got 3 and 2"):
        VerificationPairs(vectors, vectors[:, :2], [0, 1, 2], [0, 1, 2], "dot")
    with pytest.raises(InputError, match=r"anchors must be a float array \(n, dim\)"):
        VerificationPairs([1.0], vectors, [0], [0, 1, 2], "dot")
    with pytest.raises(InputError, match="must be 3 integers from 0 upwards"):
        VerificationPairs(vectors, vectors, [0, 1], [0, 1, 2], "dot")
    with pytest.raises(InputError, match="anchors must be finite"):
        VerificationPairs(vectors * np.nan, vectors, [0, 1, 2], [0, 1, 2], "dot")
    with pytest.raises(InputError, match="anchors must have at least one row"):
        VerificationPairs(vectors[:0], vectors, [], [0, 1, 2], "dot")
    with pytest.raises(InputError, match="must be equal where row i is the same item"):
        VerificationPairs(vectors, vectors, [0, 1, 2], [0, 1, 1], "dot", same_items=True)
    pairs = made_pairs()
    with pytest.raises(InputError, match="one or more numbers"):
        count_impostors(pairs, [np.nan])
    with pytest.raises(InputError, match="votes must be at least 0. Got -1"):
        largest_impostors(pairs, -1)
    with pytest.raises(UnknownNameError, match="no weight called 'image'"):
        VerificationPairs(vectors, vectors, [0, 1, 2], [0, 1, 2], "dot", weight="image")
    with pytest.raises(InputError, match="frr must be a fraction from 0 to below 1. Got 1.5"):
        far_at_frr(pairs, 1.5)
    with pytest.raises(InputError, match="genuine must be one or more finite scores"):
        threshold_at_frr([], 0.05)
