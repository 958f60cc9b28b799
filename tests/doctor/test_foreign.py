from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embcompat.doctor import SpaceReference, examine, fit_reference
from embcompat.doctor.foreign import separation
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.spaces import SpaceVersion
from tests.doctor.galleries import draw, embeddings, mix, rows_of, space


def test_one_percent_of_another_space_is_found(references: list[SpaceReference]) -> None:
    gallery, foreign = mix("alpha", "beta", 4_000, 40)
    report = examine(gallery, references)
    assert report.sick
    assert set(foreign.tolist()) <= set(rows_of(report, "other_space"))
    assert len(rows_of(report, "other_space")) <= 40 + 0.01 * 4_000
    named = report.finding("other_space")
    assert named is not None
    assert "fit space beta@1 better than alpha@1" in named.message
    assert named.examples == tuple(gallery.ids[named.rows[:10]])
    assert [(each.other, each.can_tell) for each in report.separations] == [("beta@1", True), (None, True)]


def test_a_clean_gallery_is_healthy(references: list[SpaceReference]) -> None:
    report = examine(embeddings("alpha", 4_000, seed=7, normalized=True), references)
    assert not report.sick
    assert len(rows_of(report, "other_space")) <= 40
    assert report.notes == ()


def test_a_space_without_a_reference_is_found_by_distance(references: list[SpaceReference]) -> None:
    gallery, foreign = mix("alpha", "gamma", 4_000, 80)
    report = examine(gallery, references[:1])
    finding = report.finding("unlike_reference")
    assert finding is not None
    assert finding.severity == "error"
    assert np.isin(foreign, finding.rows).mean() >= 0.95
    assert len(np.setdiff1d(finding.rows, foreign)) <= 40


def test_spaces_that_are_nearly_the_same_cannot_be_told(references: list[SpaceReference]) -> None:
    vectors = draw("alpha", 3_000, seed=0, normalized=True)
    nearly = normalize_rows(vectors + 0.001 * np.random.default_rng(1).standard_normal(vectors.shape))
    other = fit_reference(Embeddings(nearly, [str(row) for row in range(3_000)], space("nearly", normalized=True)))
    apart = separation(references[0], other)
    assert not apart.can_tell
    assert apart.recall is not None
    assert apart.recall < 0.5
    report = examine(embeddings("alpha", 2_000, seed=7, normalized=True), [references[0], other])
    assert not report.sick
    assert any("rows of nearly@1 are among those of alpha@1 cannot be told reliably" in note for note in report.notes)


def test_without_a_sketch_nothing_is_promised() -> None:
    bare = [fit_reference(embeddings(name, 3_000, normalized=True), sketch_rows=0) for name in ("alpha", "beta")]
    gallery, foreign = mix("alpha", "beta", 4_000, 200)
    report = examine(gallery, bare)
    assert set(foreign.tolist()) <= set(rows_of(report, "other_space"))
    assert (report.separations[0].recall, report.separations[0].can_tell) == (None, False)
    assert any("the sketch of a reference is too small" in note for note in report.notes)


def test_a_gallery_of_another_space_altogether(references: list[SpaceReference]) -> None:
    vectors = draw("beta", 500, seed=5, normalized=True)
    wrong = Embeddings(vectors, [str(row) for row in range(500)], space("alpha", normalized=True))
    report = examine(wrong, references)
    finding = report.finding("other_space")
    assert finding is not None
    assert "Is this a gallery of beta@1?" in finding.message
    unknown = examine(wrong, references[:1])
    assert unknown.sick
    assert "as a whole" in unknown.findings[0].message


def test_a_gallery_without_a_space_is_judged_by_what_fits(references: list[SpaceReference], tmp_path: Path) -> None:
    gallery, foreign = mix("beta", "alpha", 2_000, 20)
    np.save(tmp_path / "gallery.npy", gallery.vectors)
    report = examine(tmp_path / "gallery.npy", references)
    assert report.space == "beta@1"
    assert set(foreign.tolist()) <= set(rows_of(report, "other_space"))
    assert "most of its rows fit beta@1 best" in report.notes[0]


def test_a_space_that_changed_under_its_name_is_an_error(references: list[SpaceReference]) -> None:
    plain = embeddings("alpha", 500, seed=7, normalized=True)
    changed = Embeddings(plain.vectors, plain.ids, space("alpha", normalized=True, prompt="query: "))
    report = examine(changed, references)
    assert report.sick
    assert "gallery != registered: fingerprint.prompt: 'query: ' != None" in report.findings[0].message
    stated = examine(plain, [], space=space("beta", normalized=True))
    assert stated.findings[0].kind == "space_changed"
    assert "not beta@1: name: 'alpha' != 'beta'" in stated.findings[0].message


def test_what_hinders_is_said(references: list[SpaceReference], tmp_path: Path) -> None:
    gallery = embeddings("gamma", 50, normalized=True)
    assert "no reference was given" in examine(gallery).notes[0]
    assert "there is no reference of gamma@1" in examine(gallery, references).notes[0]
    np.save(tmp_path / "other.npy", np.ones((3, 5), np.float32))
    assert "no reference has the gallery's 5 dimensions" in examine(tmp_path / "other.npy", references).notes[0]


@pytest.mark.parametrize(("home", "other"), [("minilm", "para_l3"), ("para_l3", "minilm")])
@pytest.mark.parametrize(("fitted_on", "examined"), [("npl", "cranfield"), ("cranfield", "npl")])
def test_one_percent_of_another_text_model(
    shared_data: Path, home: str, other: str, fitted_on: str, examined: str
) -> None:
    def load(name: str, model: str) -> np.ndarray:
        return np.load(shared_data / "text" / f"{name}_{model}_docs.npy")[:2_500]

    def named(model: str) -> SpaceVersion:
        return SpaceVersion(name=model.replace("_", "-"), version="1", dim=384, normalized=True, modality="text")

    references = []
    for model in (home, other):
        vectors = load(fitted_on, model)
        references.append(fit_reference(Embeddings(vectors, [str(row) for row in range(len(vectors))], named(model))))
    vectors = load(examined, home).copy()
    foreign = np.random.default_rng(0).permutation(len(vectors))[: round(0.01 * len(vectors))]
    clean = examine(Embeddings(vectors, [str(row) for row in range(len(vectors))], named(home)), references)
    assert not clean.sick
    vectors[foreign] = load(examined, other)[foreign]
    report = examine(Embeddings(vectors, [str(row) for row in range(len(vectors))], named(home)), references)
    rows = np.array(rows_of(report, "other_space"))
    assert report.sick
    assert report.separations[0].can_tell
    assert np.isin(foreign, rows).mean() >= 0.95
    assert len(np.setdiff1d(rows, foreign)) <= 0.01 * len(vectors)


def test_two_face_models_that_cannot_be_told_apart_well_enough(shared_data: Path) -> None:
    labels = np.load(shared_data / "faces" / "lfw_labels.npz")
    detected, people = np.flatnonzero(labels["detected"]), labels["ids"]
    references = []
    for model in ("mfn_a", "mfn_b"):
        vectors = np.load(shared_data / "faces" / f"lfw_{model}_128.npy")[detected]
        where = SpaceVersion(name=model.replace("_", "-"), version="1", dim=128, normalized=True)
        ids, subjects = [str(row) for row in detected], [str(person) for person in people[detected]]
        references.append(fit_reference(Embeddings(normalize_rows(vectors), ids, where, subjects)))
    apart = separation(*references)
    assert apart.recall is not None
    assert 0.5 < apart.recall < 0.98
    assert apart.false_alarms is not None
    assert apart.false_alarms <= 0.01


@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_rows_so_large_that_their_distance_overflows_are_named(share: float) -> None:
    reference = fit_reference(embeddings("alpha", 3_000))
    vectors = draw("alpha", 500, seed=3)
    count = round(share * len(vectors))
    vectors[:count] *= np.float32(1e30)
    gallery = Embeddings(vectors, [str(row) for row in range(len(vectors))], reference.space)
    report = examine(gallery, [reference])
    assert report.sick
    assert set(range(count)) <= set(rows_of(report, "unlike_reference"))
