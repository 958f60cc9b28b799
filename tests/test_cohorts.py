"""A score cohort from the fit to the served score: what an artifact carries, and what it is worth nothing without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embcompat.aligners.affine import fit_affine
from embcompat.artifact import COHORT, STATISTICS
from embcompat.cohorts import Cohort
from embcompat.embeddings import PairSplit, normalize_rows, split_pairs
from embcompat.errors import ArtifactError, InputError
from embcompat.evaluation import pairwise_scores, scenario_pairs
from embcompat.evaluation.verification import normalized_scenarios
from embcompat.export import save_artifact
from embcompat.runtime import OnnxAligner
from embcompat.serving import Scorer
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def split() -> PairSplit:
    pairs = make_pairs(
        240, source_dim=10, target_dim=8, subjects=60, noise=0.4, normalized=True, similarity="cosine"
    ).pairs
    return split_pairs(pairs, test=0.3)


def save(split: PairSplit, path: Path, **options: object) -> OnnxAligner:
    aligner = fit_affine(split.train, split.validation)
    source, target = split.train.source.space, split.train.target.space
    return OnnxAligner(save_artifact(aligner, path, source=source, target=target, split=split, **options))


def test_what_is_served_is_what_is_evaluated(split: PairSplit, tmp_path: Path) -> None:
    aligner = save(split, tmp_path / "faces", score_cohort=20)
    cohort = aligner.cohort()
    assert cohort is not None
    assert cohort.native.vectors.shape == cohort.converted.vectors.shape == (20, 8)
    assert aligner.artifact.manifest.calibration["score_cohort"] == {"people": 20, "top": 20}
    fitted = {tuple(vector) for vector in split.train.target.vectors.tolist()}
    assert {tuple(vector) for vector in cohort.native.vectors.tolist()} <= fitted
    old, new = split.test.source, split.test.target
    gallery = aligner.convert(old)
    scores = Scorer(cohort.converted).normalize(new.vectors, new.vectors @ gallery.vectors.T)
    pairs = scenario_pairs(old, new, gallery, all_images=True)
    measured = normalized_scenarios(pairs, cohort)["S3"].genuine.scores
    same = (new.labels[:, None] == new.labels) & ~np.eye(len(new), dtype=bool)
    np.testing.assert_allclose(np.sort(scores[same]), measured, rtol=1e-4, atol=1e-5)
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(order, np.argsort(-(new.vectors @ gallery.vectors.T), axis=1, kind="stable"))


@pytest.mark.parametrize("options", [{"score_cohort": 20}, {"score_statistics": True}])
def test_distances_are_served_normalized_as_they_are_evaluated(tmp_path: Path, options: dict[str, object]) -> None:
    pairs = make_pairs(600, source_dim=10, target_dim=8, subjects=300, noise=0.4, similarity="euclidean").pairs
    split = split_pairs(pairs, test=0.3)
    aligner = save(split, tmp_path / "faces", **options)
    cohort = aligner.cohort()
    assert cohort is not None
    old, new = split.test.source, split.test.target
    gallery = aligner.convert(old)
    plain = pairwise_scores(new.vectors, gallery.vectors, "euclidean")
    scores = Scorer(cohort.converted).normalize(new.vectors, plain)
    np.testing.assert_array_equal(np.argmax(scores, axis=1), np.argmax(plain, axis=1))
    measured = normalized_scenarios(scenario_pairs(old, new, gallery, all_images=True), cohort)["S3"].genuine.scores
    same = (new.labels[:, None] == new.labels) & ~np.eye(len(new), dtype=bool)
    np.testing.assert_allclose(np.sort(scores[same]), measured, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="minus the Euclidean distance, 0 or less"):
        Scorer(cohort.converted).normalize(new.vectors, -plain)


def test_no_artifact_carries_people_unless_it_is_asked_to(split: PairSplit, tmp_path: Path) -> None:
    aligner = save(split, tmp_path / "faces")
    assert aligner.cohort() is None
    assert not (tmp_path / "faces" / COHORT).exists()


def test_a_cohort_needs_pairs_and_a_plausible_file(split: PairSplit, tmp_path: Path) -> None:
    aligner = fit_affine(split.train, split.validation)
    source, target = split.train.source.space, split.train.target.space
    with pytest.raises(InputError, match="needs the fitted pairs"):
        save_artifact(aligner, tmp_path / "faces", source=source, target=target, score_cohort=20)
    assert not (tmp_path / "faces").exists()
    artifact = save(split, tmp_path / "faces", score_cohort=20).artifact
    (tmp_path / "faces" / COHORT).write_bytes(b"no arrays")
    with pytest.raises(ArtifactError, match="not a readable safetensors file"):
        artifact.cohort()


def test_statistics_hold_nobody_and_are_served_as_they_are_evaluated(tmp_path: Path) -> None:
    pairs = make_pairs(600, source_dim=10, target_dim=8, subjects=300, noise=0.4, normalized=True).pairs
    split = split_pairs(pairs, test=0.3)
    aligner = save(split, tmp_path / "faces", score_statistics=True)
    cohort = aligner.cohort()
    assert cohort is not None
    assert not (tmp_path / "faces" / COHORT).exists()
    rows = load_file(tmp_path / "faces" / STATISTICS)
    people = np.concatenate([split.train.target.vectors, aligner.convert(split.train.source).vectors])
    for array in rows.values():
        if array.shape[-1] == 8:
            units = normalize_rows(np.atleast_2d(array))
            assert (units @ people.T).max() < 0.999
    old, new = split.test.source, split.test.target
    gallery = aligner.convert(old)
    scores = Scorer(cohort.converted).normalize(new.vectors, new.vectors @ gallery.vectors.T)
    measured = normalized_scenarios(scenario_pairs(old, new, gallery, all_images=True), cohort)["S3"].genuine.scores
    same = (new.labels[:, None] == new.labels) & ~np.eye(len(new), dtype=bool)
    np.testing.assert_allclose(np.sort(scores[same]), measured, rtol=1e-4, atol=1e-5)


def test_statistics_are_checked_and_exclude_a_cohort(split: PairSplit, tmp_path: Path) -> None:
    pairs = make_pairs(400, source_dim=6, target_dim=8, subjects=200, normalized=True).pairs
    with pytest.raises(InputError, match="Got both: choose one"):
        save(split, tmp_path / "both", score_cohort=20, score_statistics=True)
    with pytest.raises(InputError, match="at least 100 people"):
        save(split, tmp_path / "few", score_statistics=True)
    artifact = save(split_pairs(pairs), tmp_path / "faces", score_statistics=True).artifact
    save_file({"converted.mean": np.zeros(8, dtype=np.float32)}, tmp_path / "faces" / STATISTICS)
    with pytest.raises(ArtifactError, match="must hold mean, covariance and weights"):
        artifact.score_statistics()


def test_messages() -> None:
    cohort = Cohort(np.eye(3, dtype=np.float32), "cosine", 2)
    with pytest.raises(InputError, match="between 2 and the number of people in the cohort, 3. Got 4"):
        Cohort(np.eye(3, dtype=np.float32), "cosine", 4)
    with pytest.raises(InputError, match=r"shape \(n, 3\), as the cohort. Got \(1, 2\)"):
        cohort.statistics([[1.0, 2.0]])
    with pytest.raises(InputError, match=r"one row for each of 2 queries. Got \(1, 1\)"):
        Scorer(cohort).normalize(np.eye(3, dtype=np.float32)[:2], [[1.0]])
