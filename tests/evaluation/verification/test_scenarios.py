"""The four scenarios: what they compare, what must come out when the conversion is known, and the report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embcompat.aligners.affine import AffineAligner, fit_affine
from embcompat.embeddings import Embeddings, normalize_rows, pair_embeddings, split_pairs
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.evaluation.verification import far_at_frr, make_score_cohort, normalized_pairs
from embcompat.evaluation.verification.report import evaluate_verification
from embcompat.evaluation.verification.scenarios import SCENARIOS, anchor_rows, scenario_pairs
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs


def world(similarity="euclidean", *, noise=0.0, count=240, subjects=80):
    """Old, new and perfectly converted embeddings: new is old, rotated."""
    synthetic = make_pairs(count, source_dim=8, target_dim=8, subjects=subjects, noise=noise, similarity=similarity)
    converted = AffineAligner(synthetic.matrix, synthetic.offset).transform(synthetic.pairs.source.vectors)
    return synthetic.pairs.source, synthetic.pairs.target, as_new(synthetic.pairs.target, converted)


def as_new(new, vectors):
    return Embeddings(vectors, new.ids, new.space, new.labels)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("all_images", [False, True])
def test_a_perfect_conversion_changes_nothing(similarity, all_images):
    old, new, converted = world(similarity)
    report = evaluate_verification(old, new, converted, frr=0.1, all_images=all_images, replicates=50)
    first = report.scenarios["S1"]
    for result in (report.old, *report.scenarios.values()):
        assert result.frr.value == pytest.approx(first.frr.value, abs=0.02)
        assert result.far.value == pytest.approx(first.far.value, rel=0.02)
        assert result.far_at_frr.value == pytest.approx(first.far_at_frr.value, rel=0.02)
        assert result.mean_genuine == pytest.approx(first.mean_genuine, rel=1e-4)
        assert result.mean_impostor == pytest.approx(first.mean_impostor, rel=1e-4)
    assert report.status_quo_ratio.value == pytest.approx(1, abs=0.02)


def test_a_better_new_model_makes_conversion_worth_it_and_a_shuffled_map_does_not():
    rng = np.random.default_rng(0)
    _, new, _ = world(count=300, subjects=100)
    old = Embeddings(
        new.vectors + 0.6 * rng.standard_normal(new.vectors.shape).astype(np.float32),
        new.ids,
        SpaceVersion(name="noisy", version="1", dim=8, similarity="euclidean"),
        new.labels,
    )
    good = evaluate_verification(old, new, as_new(new, old.vectors), replicates=50)
    assert good.status_quo_ratio.high < 1
    shuffled = evaluate_verification(old, new, as_new(new, new.vectors[rng.permutation(300)]), replicates=50)
    assert shuffled.status_quo_ratio.low > 1
    assert shuffled.same_item_distance > good.same_item_distance
    assert shuffled.scenarios["S1"] == good.scenarios["S1"]


def test_scenarios_compare_what_their_names_say():
    old, new, converted = world(noise=0.2)
    pairs = scenario_pairs(old, new, converted, seed=4)
    assert list(pairs) == list(SCENARIOS)
    codes = np.unique(old.labels.astype(str), return_inverse=True)[1]
    anchors, positives = anchor_rows(codes, seed=4)
    sides = {"old": (old, old), "S1": (new, new), "S2": (converted, converted), "S3": (converted, new)}
    sides["S4"] = (new, converted)
    for name, (left, right) in sides.items():
        assert np.array_equal(pairs[name].anchors, left.vectors[anchors])
        assert np.array_equal(pairs[name].positives, right.vectors[positives])
        assert (pairs[name].genuine_count, pairs[name].impostor_count) == (80, 80 * 79)


def test_a_report_equals_the_double_loop():
    old, new, converted = world(noise=0.3, count=120, subjects=50)
    report = evaluate_verification(old, new, converted, frr=0.1, seed=2, replicates=20)
    pairs = scenario_pairs(old, new, converted, seed=2)
    distances = {
        name: np.linalg.norm(side.anchors[:, np.newaxis].astype(np.float64) - side.positives.astype(np.float64), axis=2)
        for name, side in pairs.items()
    }
    impostor = ~np.eye(50, dtype=bool)
    fixed = np.sort(distances["S1"].diagonal())[::-1][5]  # the sixth largest genuine distance of 50 is accepted
    for name, result in report.scenarios.items():
        genuine = distances[name].diagonal()
        distance = np.sort(genuine)[::-1][5]
        assert result.frr.value == pytest.approx(np.mean(genuine > fixed + 1e-9))
        assert result.far.value == pytest.approx(np.mean(distances[name][impostor] <= fixed + 1e-9))
        assert result.far_at_frr.value == pytest.approx(np.mean(distances[name][impostor] <= distance + 1e-9))
        assert result.threshold_at_frr.value == pytest.approx(-distance)
        assert result.mean_genuine == pytest.approx(genuine.mean())
        assert result.mean_impostor == pytest.approx(distances[name][impostor].mean(), rel=1e-6)
        assert result.far_at_frr.low <= result.far_at_frr.value <= result.far_at_frr.high
    same = np.linalg.norm(converted.vectors - new.vectors, axis=1).mean()
    assert report.same_item_distance == pytest.approx(same, rel=1e-5)


def test_all_images_leaves_out_pairs_of_one_item_and_makes_scenario_4_the_mirror_of_3():
    old, new, converted = world(noise=0.3)
    pairs = scenario_pairs(old, new, converted, all_images=True)
    assert {side.genuine_count for side in pairs.values()} == {80 * 3 * 2}
    assert {side.impostor_count for side in pairs.values()} == {240 * 237}
    report = evaluate_verification(old, new, converted, all_images=True, replicates=20)
    third, fourth = report.scenarios["S3"], report.scenarios["S4"]
    assert third.false_acceptances == fourth.false_acceptances
    assert third.frr.value == fourth.frr.value
    assert third.threshold_at_frr.value == fourth.threshold_at_frr.value


def test_anchors_are_seeded_and_are_two_rows_of_each_subject_that_has_them():
    codes = np.array([0, 1, 1, 2, 2, 2, 3])
    drawn = [tuple(map(tuple, anchor_rows(codes, seed=seed))) for seed in range(30)]
    assert drawn[0] == tuple(map(tuple, anchor_rows(codes, seed=0)))
    assert len(set(drawn)) > 5
    for anchors, positives in drawn:
        assert codes[list(anchors)].tolist() == codes[list(positives)].tolist() == [1, 2]
        assert not set(anchors) & set(positives)
    assert {anchors[1] for anchors, _ in drawn} == {3, 4, 5}


def test_a_report_is_json_with_the_intervals_by_name():
    report = evaluate_verification(*world(noise=0.2), replicates=20, seed=7)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(values["scenarios"]) == ["S1", "S2", "S3", "S4"]
    third = values["scenarios"]["S3"]
    assert {"threshold", "frr", "far", "far_at_frr", "mean_genuine", "mean_impostor", "intervals"} <= set(third)
    assert set(third["intervals"]) == {"frr", "far", "far_at_frr", "threshold_at_frr"}
    low, high = third["intervals"]["far_at_frr"]
    assert low <= third["far_at_frr"] <= high
    assert third["threshold"] == values["scenarios"]["S1"]["threshold_at_frr"]
    assert values["old"]["threshold"] == values["old"]["threshold_at_frr"]
    assert (values["subjects"], values["seed"], values["target_frr"]) == (80, 7, 0.05)
    assert evaluate_verification(*world(noise=0.2), replicates=20, seed=7).to_dict() == report.to_dict()


def test_a_cohort_adds_normalized_scores_beside_the_plain_ones():
    old, new, converted = world("cosine", noise=0.3)
    half = np.flatnonzero(np.isin(new.labels, np.unique(new.labels)[:40]))
    rest = np.setdiff1d(np.arange(240), half)
    cohort = make_score_cohort(converted.select(half), new.select(half), people=30)
    sides = [side.select(rest) for side in (old, new, converted)]
    report = evaluate_verification(*sides, all_images=True, cohort=cohort, replicates=20)
    pairs = scenario_pairs(*sides, all_images=True)
    statistics = cohort.converted.statistics(sides[1].vectors)
    threshold = far_at_frr(normalized_pairs(pairs["S3"], None, statistics), 0.05)
    assert report.normalized["S3"].threshold_at_frr.value == threshold.threshold
    assert report.normalized["S3"].far_at_frr.value == pytest.approx(threshold.far)
    assert report.normalized["S3"].threshold == report.normalized["S1"].threshold_at_frr.value
    plain = evaluate_verification(*sides, all_images=True, replicates=20)
    assert plain.scenarios == report.scenarios
    assert list(report.to_dict()["normalized"]) == ["S1", "S3"]
    assert "normalized" not in plain.to_dict()


def test_no_error_seen_is_not_certainty():
    subjects = np.eye(12, dtype=np.float32).repeat(2, axis=0)
    space = SpaceVersion(name="apart", version="1", dim=12, similarity="cosine")
    items = Embeddings(subjects, [str(row) for row in range(24)], space, [f"s{row // 2}" for row in range(24)])
    report = evaluate_verification(items, items, items, replicates=20)
    far = report.scenarios["S3"].far_at_frr
    assert (far.value, far.low) == (0.0, 0.0)
    assert far.high == pytest.approx(3 / (12 * 11))
    assert report.status_quo_ratio is None
    assert report.to_dict()["status_quo_ratio"] is None


def test_messages():
    old, new, converted = world()
    bare = [Embeddings(side.vectors, side.ids, side.space) for side in (old, new, converted)]
    with pytest.raises(InputError, match="needs labels that name the subject of each row"):
        evaluate_verification(*bare)
    with pytest.raises(InputError, match="same ids in the same order.*pair_embeddings"):
        evaluate_verification(old.select(np.arange(239)), new, converted)
    with pytest.raises(SpaceMismatchError, match="The converted embeddings must be in space 'made-new@1'"):
        evaluate_verification(old, new, old)
    with pytest.raises(InputError, match="agree on the labels"):
        evaluate_verification(old, new, Embeddings(new.vectors, new.ids, new.space, ["x"] * 240))
    one = [side.select(np.flatnonzero(old.labels == "subject-0")) for side in (old, new, converted)]
    with pytest.raises(InputError, match="at least two subjects with two or more rows each. Got 1 among 1"):
        evaluate_verification(*one)
    with pytest.raises(InputError, match="at least one genuine and one impostor pair. Got 6 and 0"):
        evaluate_verification(*one, all_images=True)
    none = [side.select([]) for side in (old, new, converted)]
    with pytest.raises(InputError, match="Got 0 among 0 subjects and 0 rows"):
        evaluate_verification(*none)
    with pytest.raises(InputError, match="frr must be a fraction"):
        evaluate_verification(old, new, converted, frr=1.0)


def test_real_faces(shared_data):
    labels = np.load(shared_data / "faces" / "lfw_labels.npz")
    rows = np.flatnonzero(labels["detected"])
    subjects = [str(subject) for subject in labels["ids"][rows]]

    def load(model):
        space = SpaceVersion(name=model.replace("_", "-"), version="1", dim=128, normalized=True)
        vectors = np.load(shared_data / "faces" / f"lfw_{model}_128.npy")[rows]
        return Embeddings(normalize_rows(vectors), [str(row) for row in rows], space, subjects)

    pairs = split_pairs(pair_embeddings(load("mfn_a"), load("mfn_b")), validation=0.1, test=0.5)
    aligner = fit_affine(pairs.train, pairs.validation)
    old, new = pairs.test.source, pairs.test.target
    report = evaluate_verification(old, new, as_new(new, aligner.transform(old.vectors)), replicates=50)
    first, third = report.scenarios["S1"], report.scenarios["S3"]
    assert report.subjects > 700
    assert first.far_at_frr.value < 1 / 10_000
    assert first.far_at_frr.value < third.far_at_frr.value < 1 / 2_000
    assert third.mean_impostor == pytest.approx(1, abs=0.02)
