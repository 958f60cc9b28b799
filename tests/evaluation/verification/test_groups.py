"""False rates within groups against counting them one by one."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import fit_affine
from embcompat.embeddings import PairedEmbeddings, convert_embeddings
from embcompat.errors import InputError
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.evaluation.verification import (
    VerificationPairs,
    evaluate_verification,
    groups_of_subjects,
    rates_by_group,
    scenario_pairs,
    subject_names,
)
from embcompat.results import GroupRates, VerificationReport
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def people() -> PairedEmbeddings:
    return make_pairs(240, source_dim=6, target_dim=6, noise=0.4, subjects=60, normalized=True).pairs


def groups_of(people: PairedEmbeddings) -> dict[str, str]:
    names = sorted(set(people.labels.tolist()))
    return {name: ("a", "b", "c")[number % 3] for number, name in enumerate(names[:50])}


@pytest.mark.parametrize("weight", ["person", "pairs"])
def test_rates_are_those_of_the_groups_own_pairs_counted_one_by_one(people: PairedEmbeddings, weight) -> None:
    groups = groups_of(people)
    sides = people.source, people.target, people.target
    pairs = scenario_pairs(*sides, all_images=True, weight=weight)["S1"]
    names = subject_names(people.target, all_images=True)
    rates = rates_by_group({"S1": pairs}, [groups.get(name, "") for name in names], {"S1": 0.6}, replicates=20)
    assert list(rates) == ["a", "b", "c"]
    labels = people.labels
    scores = pairwise_scores(people.target.vectors, people.target.vectors, "cosine").astype(np.float64)
    for group, scenarios in rates.items():
        rows = [row for row, label in enumerate(labels) if groups.get(label) == group]
        genuine: dict[str, list[bool]] = {}
        impostor: dict[tuple[str, str], list[bool]] = {}
        for i in rows:
            for j in rows:
                if i != j and labels[i] == labels[j]:
                    genuine.setdefault(labels[i], []).append(bool(scores[i, j] <= 0.6))
                elif i != j:
                    impostor.setdefault((labels[i], labels[j]), []).append(bool(scores[i, j] > 0.6))
        mean = np.mean if weight == "person" else lambda values: np.mean(np.concatenate([np.ravel(v) for v in values]))
        expected = [
            mean([np.mean(each) for each in side.values()]) if weight == "person" else mean(list(side.values()))
            for side in (genuine, impostor)
        ]
        result = scenarios["S1"]
        assert [result.frr.value, result.far.value] == pytest.approx(expected, rel=1e-6)
        assert result.false_acceptances == sum(sum(each) for each in impostor.values())
        assert result.impostor_pairs == sum(len(each) for each in impostor.values())
        assert result.people == len({labels[row] for row in rows})
        assert result.far.low <= result.far.value <= result.far.high


def test_one_group_of_everybody_has_everybodys_rates(people: PairedEmbeddings) -> None:
    aligner = fit_affine(people, people)
    converted = convert_embeddings(aligner, people.source, people.target.space)
    everybody = dict.fromkeys(people.labels.tolist(), "all")
    for all_images in (False, True):
        report = evaluate_verification(
            people.source, people.target, converted, groups=everybody, all_images=all_images, replicates=20
        )
        assert report.ungrouped == 0
        for name, rates in report.groups["all"].items():
            scenario = report.old if name == "old" else report.scenarios[name]
            assert rates.far.value == pytest.approx(scenario.far_at_frr.value)
            assert rates.people == report.subjects
            assert rates.frr.value <= report.target_frr + 1e-9
        assert VerificationReport.from_dict(report.to_dict()).groups == report.groups


def test_without_groups_the_report_is_silent_about_them(people: PairedEmbeddings) -> None:
    report = evaluate_verification(people.source, people.target, people.target, replicates=2)
    assert report.groups is None
    assert not {"groups", "ungrouped"} & set(report.to_dict())


def test_people_without_a_group_are_counted(people: PairedEmbeddings) -> None:
    report = evaluate_verification(
        people.source, people.target, people.target, groups=groups_of(people), all_images=True, replicates=2
    )
    assert report.ungrouped == 10
    assert sum(each["S3"].people for each in report.groups.values()) == 50


def test_a_group_of_one_person_has_no_rates() -> None:
    vectors = np.array([[0.0], [0.1], [5.0], [5.1], [7.0]])
    codes = [0, 0, 1, 1, 2]
    pairs = VerificationPairs(vectors, vectors, codes, codes, "euclidean", same_items=True)
    rates = rates_by_group({"S1": pairs}, ["alone", "two", "two"], {"S1": -0.5}, replicates=5)
    assert rates["alone"]["S1"] == GroupRates(people=1)
    assert rates["two"]["S1"].frr.value == 0.0
    assert rates["two"]["S1"].far.value == 0.0
    assert rates["two"]["S1"].far.high == 1.0, "the rule of three, and no more than everybody"


def test_names_that_are_not_the_labels_are_refused(people: PairedEmbeddings) -> None:
    with pytest.raises(InputError, match=r"groups must name the people that are compared, such as .* Got 'nobody'"):
        groups_of_subjects({"nobody": "a"}, people.target)
    pairs = scenario_pairs(people.source, people.target, people.target)["S1"]
    with pytest.raises(InputError, match="a group for each of 60 subjects"):
        rates_by_group({"S1": pairs}, ["a"], {"S1": 0.5})
    with pytest.raises(InputError, match="at least one of the people"):
        rates_by_group({"S1": pairs}, [""] * 60, {"S1": 0.5})
