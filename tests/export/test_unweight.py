"""An artifact without its reweighting computes what was weighted, and keeps the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

import embcompat as ec
from embcompat.aligners import fit_affine, query_weights, reweight
from embcompat.cli import app
from embcompat.errors import ArtifactError, InputError
from embcompat.export import convert_unweighted, read_query_weights, unweight_artifact
from embcompat.selection import fit_artifact
from embcompat.testing import make_pairs

PAIRS = make_pairs(400, source_dim=10, target_dim=8, noise=0.6, subjects=100, normalized=True).pairs
ROWS = PAIRS.source.vectors[:50]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> ec.Artifact:
    path = tmp_path_factory.mktemp("reweighted") / "map"
    return fit_artifact(PAIRS, path, kind="kernel, reweighted", landmarks=30, score_cohort=20).artifacts[0]


def test_it_computes_what_was_weighted(artifact: ec.Artifact, tmp_path: Path) -> None:
    bare = unweight_artifact(artifact, tmp_path / "bare")
    assert (artifact.manifest.kind, bare.manifest.kind) == ("reweighted", "kernel")
    assert (artifact.manifest.is_reweighted, bare.manifest.is_reweighted) == (True, False)
    assert bare.id != artifact.id
    expected = ec.load_aligner(artifact).base.transform(ROWS)  # type: ignore[attr-defined]
    np.testing.assert_allclose(ec.OnnxAligner(bare).transform(ROWS), expected, atol=1e-5)


def test_rows_of_one_length_are_converted_anew_without_it(tmp_path: Path) -> None:
    pairs = make_pairs(400, source_dim=10, target_dim=8, noise=0.6, subjects=100, similarity="euclidean").pairs
    artifact = fit_artifact(pairs, tmp_path / "map", kind="ridge, reweighted", score_cohort=20).artifacts[0]
    aligner = ec.OnnxAligner(artifact)
    expected = ec.load_aligner(artifact).base.transform(pairs.source.vectors)  # type: ignore[attr-defined]
    np.testing.assert_allclose(convert_unweighted(aligner, pairs.source).vectors, expected, rtol=1e-5, atol=1e-5)
    bare = unweight_artifact(artifact, tmp_path / "bare")
    np.testing.assert_allclose(ec.OnnxAligner(bare).transform(pairs.source.vectors), expected, rtol=1e-4, atol=1e-4)
    assert bare.query_weights() is None
    assert artifact.cohort() is not None
    assert bare.cohort() is None, "its rows do not tell what length they had without the weighting"
    assert "score_cohort" not in bare.manifest.calibration


def test_everything_but_the_map_stays(artifact: ec.Artifact, tmp_path: Path) -> None:
    bare = unweight_artifact(artifact, tmp_path / "bare")
    assert set(bare.manifest.files) == {*artifact.manifest.files, "query_weights.safetensors"}
    assert bare.pair_ids("train") == artifact.pair_ids("train")
    for side, other in zip(bare.canary() or (), artifact.canary() or (), strict=True):
        np.testing.assert_array_equal(side, other)
    scores = [ec.OnnxAligner(each).convertibility(ROWS) for each in (bare, artifact)]
    np.testing.assert_array_equal(*scores)
    assert (bare.source, bare.target) == (artifact.source, artifact.target)


def test_its_figures_and_its_cohort_are_those_of_the_bare_aligner(tmp_path: Path) -> None:
    split = ec.split_pairs(PAIRS, seed=0)
    base = fit_affine(split.train, split.validation)
    spaces = {"source": PAIRS.source.space, "target": PAIRS.target.space}
    options = {**spaces, "split": split, "score_cohort": 20}
    weighted = ec.save_artifact(reweight(base, split.validation), tmp_path / "weighted", **options)
    plain = ec.save_artifact(base, tmp_path / "plain", **options)
    bare = unweight_artifact(weighted, tmp_path / "bare")
    assert bare.manifest.metrics == plain.manifest.metrics
    cohorts = [each.cohort() for each in (bare, plain)]
    assert cohorts[0] is not None
    assert cohorts[1] is not None
    np.testing.assert_allclose(cohorts[0][0], cohorts[1][0], atol=1e-4)


def test_the_weighting_becomes_weights_of_queries(artifact: ec.Artifact, tmp_path: Path) -> None:
    bare = unweight_artifact(artifact, tmp_path / "bare")
    expected = query_weights(ec.load_aligner(artifact))
    assert expected is not None
    for weights in (bare.query_weights(), read_query_weights(bare), read_query_weights(artifact)):
        np.testing.assert_array_equal(weights, expected)
    assert artifact.query_weights() is None  # its rows are weighted, so its queries must not be


def test_damaged_weights_of_queries_are_refused(artifact: ec.Artifact, tmp_path: Path) -> None:
    bare = unweight_artifact(artifact, tmp_path / "bare")
    (bare.path / "query_weights.safetensors").write_bytes(save({"weights": np.eye(3, dtype=np.float32)}))
    with pytest.raises(ArtifactError, match=r"must hold float32 weights of shape \(8, 8\)"):
        bare.query_weights()
    with pytest.raises(ArtifactError, match="is damaged"):
        ec.read_artifact(bare.path)


def test_statistics_of_reweighted_rows_are_left_out(tmp_path: Path) -> None:
    pairs = make_pairs(400, source_dim=6, target_dim=6, noise=0.6, subjects=200, normalized=True).pairs
    fit_artifact(pairs, tmp_path / "weighted", kind="ridge, reweighted", score_statistics=True)
    assert ec.OnnxAligner(tmp_path / "weighted").cohort() is not None
    assert ec.OnnxAligner(unweight_artifact(tmp_path / "weighted", tmp_path / "bare")).cohort() is None


def test_what_is_not_reweighted_is_refused(artifact: ec.Artifact, tmp_path: Path) -> None:
    bare = unweight_artifact(artifact, tmp_path / "bare")
    with pytest.raises(InputError, match="must be reweighted. It is not"):
        unweight_artifact(bare, tmp_path / "again")
    with pytest.raises(InputError, match="exists already"):
        unweight_artifact(artifact, tmp_path / "bare")


def test_int8_is_refused(tmp_path: Path) -> None:
    fit_artifact(PAIRS, tmp_path / "int8", kind="ridge, reweighted", int8=True)
    with pytest.raises(InputError, match="computes in int8"):
        unweight_artifact(tmp_path / "int8", tmp_path / "bare")


def test_the_command_makes_the_same_artifact(artifact: ec.Artifact, tmp_path: Path) -> None:
    copy = unweight_artifact(artifact, tmp_path / "one")
    result = CliRunner().invoke(app, ["unweight", str(artifact.path), "--out", str(tmp_path / "two")])
    assert result.exit_code == 0, result.output
    assert "without reweighting" in result.stdout
    assert ec.read_artifact(tmp_path / "two").id == copy.id
