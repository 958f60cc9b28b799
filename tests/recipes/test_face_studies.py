"""The studies of faces run, small and without data."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from embcompat.aligners.kernel import fit_kernel
from embcompat.evaluation.verification.bootstrap import draw_subjects, far_ratio
from embcompat.evaluation.verification.figures import far_at_frr, threshold_at_frr
from embcompat.evaluation.verification.scenarios import scenario_pairs
from embcompat.testing import make_pairs

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = ROOT / "recipes" / "expected"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a recipe as it is imported when it runs as a script: its folder comes first."""
    monkeypatch.syspath_prepend(str(ROOT / "recipes" / "face"))
    import torch

    torch.set_num_threads(1)
    return importlib.import_module


def smoke(recipe: ModuleType, output: Path, *arguments: str) -> dict[str, Any]:
    recipe.main(["--smoke", "--output", str(output), *arguments])
    name = recipe.__name__
    assert not (output / f"{name}.json").exists(), "a smoke run never writes where figures are"
    result = json.loads((output / f"{name}.smoke.json").read_text())
    assert result["smoke"] is True
    return result


def test_beat_the_paper_goes_on_where_it_stopped(
    load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load("beat_the_paper")
    result = smoke(recipe, tmp_path)
    (upgrade,) = result["upgrades"].values()
    assert upgrade["lines"]["S1"]["fixed_frr"] == pytest.approx(0.05, abs=0.005)
    assert {f"S3: {recipe.OURS} / {base}" for base in recipe.BASES} <= set(upgrade["ratios"])
    assert "S3, score normalization: dense_paper" in capsys.readouterr().out
    monkeypatch.setattr(recipe, "measure_fold", None)
    assert smoke(recipe, tmp_path)["upgrades"] == result["upgrades"]


def test_pooled_counts_of_one_fold_are_those_of_the_library(load: Any) -> None:
    pooled = load("pooled")
    pairs = make_pairs(600, source_dim=8, target_dim=8, noise=0.3, subjects=60, normalized=True).pairs
    splits = pooled.person_folds(pairs, folds=3, seed=0)
    held_out = [set(split.test.labels.tolist()) for split in splits]
    assert set.union(*held_out) == set(pairs.labels.tolist())
    assert sum(map(len, held_out)) == 60
    split = splits[0]
    few = fit_kernel(split.train, split.validation, landmarks=5)
    many = fit_kernel(split.train, split.validation, landmarks=80)
    test = split.test
    scenarios = []
    for aligner in (few, many):
        converted = load("fitted").convert(aligner, test)
        scenarios.append(scenario_pairs(test.source, test.target, converted, all_images=True)["S3"])
    weights = draw_subjects(scenarios[0], seed=0, replicates=100)
    counts = [
        pooled.count_errors(each, threshold_at_frr(each.genuine.scores, 0.05, votes=each.genuine.votes), weights)
        for each in scenarios
    ]
    result = pooled.pooled_ratio(counts[:1], counts[1:], [weights.impostor_votes.tolist()])
    expected = far_ratio(*scenarios, frr=0.05, seed=0, replicates=100)
    assert [result[end] for end in ("value", "low", "high")] == pytest.approx(
        [expected.value, expected.low, expected.high], rel=1e-6
    )
    far = pooled.pool(counts[:1], [weights.impostor_votes.tolist()])["far_at_frr"]["value"]
    assert far == pytest.approx(far_at_frr(scenarios[0], 0.05).far)


def test_what_was_tried_is_measured_line_by_line(load: Any, tmp_path: Path) -> None:
    result = smoke(load("tried"), tmp_path)["upgrades"]["stand-in"]
    assert result["dense"]["far_at_frr"] > 0
    assert len(result) > 30


def test_lambda_moves_away_from_orthogonality(load: Any, tmp_path: Path) -> None:
    result = smoke(load("lambda_orthogonality"), tmp_path, "--parts", "faces", "picture")
    rows = result["faces"]["stand-in"]["lambdas"]
    assert rows["strict"]["deviation"] < 1e-4 < rows["inf"]["deviation"]
    assert rows["strict"]["B/B"] == pytest.approx(result["faces"]["stand-in"]["raw"]["new/new"], abs=0.01)
    assert {"relaxation.png", "relaxation.svg"} <= {path.name for path in tmp_path.iterdir()}


def test_lambda_is_compared_with_the_strict_map(load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study,) = smoke(load("lambda_orthogonality"), tmp_path, "--parts", "weak")["weak"].values()
    rows = study["lambdas"]
    assert list(rows) == ["strict", "12.0", "inf"]
    for row in rows.values():
        for name in ("B/F", "B/B"):
            low, high = row["intervals"][name]
            assert low <= row[name] <= high
    assert rows["strict"]["intervals"]["B/F against strict"] == [0, 0]
    assert rows["strict"]["B/B"] == pytest.approx(study["raw"]["new/new"], abs=0.01)
    changes = [name for name in rows["strict"] if name.endswith(" change")]
    assert changes
    assert [rows["strict"][name] for name in changes] == pytest.approx([0] * len(changes), abs=1e-3)
    printed = capsys.readouterr().out
    assert "12: 70.72 75.44" in printed


def test_what_a_service_adds_is_measured(load: Any, tmp_path: Path) -> None:
    upgrade = smoke(load("served"), tmp_path)["upgrades"]["stand-in"]
    assert {"ours", "all people", "100 people", "300 people", "strength 2"} <= set(upgrade["lines"])
    assert upgrade["lines"]["ours"]["to_ours"]["value"] == 1
    assert {"converted, mean", "old, one image"} <= set(upgrade["templates"])
    assert all(0 <= share <= 1 for shares in upgrade["canary"].values() for share in shares)


def test_raw_spaces_are_measured_at_three_thresholds(load: Any, tmp_path: Path) -> None:
    result = smoke(load("raw_spaces"), tmp_path, "--parts", "cells", "normalized")
    (cell,) = result["cells"].values()
    assert cell["paper"]["S1"]["far"] == pytest.approx(1 / 30_775)
    assert cell["S1"]["far"] == cell["S1"]["far_at_frr"]
    assert cell["ways"]["kernel, reweighted"]["S3"]["far_at_frr"] == cell["lengths"]["2"]
    assert cell["ways"]["kernel, reweighted"]["S3"]["frr"] > 0.9, "its distances are longer than scenario 1's threshold"
    for scenarios in cell["ways"].values():
        assert 0 <= scenarios["S3"]["transferred_far"] < scenarios["S3"]["transferred_frr"] <= 1
    strict, paper = cell["oracle"]
    assert strict["frr"] < cell["ways"]["kernel"]["S3"]["frr"]
    assert (strict["times"], paper["times"]) == pytest.approx((1.1, 30_775 / 21_765))
    (lines,) = result["normalized"].values()
    assert list(lines) == ["S1", "old", "S3", "S1, 100 people", "S3, 100 people"]


@pytest.mark.soak
def test_networks_are_measured_in_raw_spaces(load: Any, tmp_path: Path) -> None:
    (networks,) = smoke(load("raw_spaces"), tmp_path, "--parts", "networks")["networks"].values()
    assert list(networks["ways"]) == ["kernel, reweighted", "residual", "residual, reweighted", "ensemble, reweighted"]


def test_transport_moves_one_gaussian_to_another(load: Any) -> None:
    raw = load("raw_ways")
    pairs = make_pairs(4_000, source_dim=5, target_dim=4, how="affine", noise=0.5, similarity="euclidean").pairs
    aligner = fit_kernel(pairs, pairs, landmarks=20)
    matrix, mean = raw.transport(aligner, pairs)
    assert np.allclose(matrix, matrix.T)
    output = raw.moved_per_direction(aligner, pairs).transform(pairs.source.vectors)
    assert np.allclose(np.cov(output.T), np.cov(pairs.target.vectors.T), rtol=1e-3, atol=1e-3)
    assert np.allclose(output.mean(axis=0), mean, atol=1e-4)


def test_inference_speed_is_exact(load: Any, tmp_path: Path) -> None:
    result = smoke(load("inference_speed"), tmp_path)["kinds"]
    assert result["dense"]["floats"] == 1_337_600
    assert all(row["parity_mean_euclidean"] < 1e-5 for row in result.values())
    assert all(row["20_million"] == "extrapolated" for row in result.values())


def test_migration_cost_adds_up(load: Any, tmp_path: Path) -> None:
    result = smoke(load("migration_cost"), tmp_path, "--items", "1000000", "--price-per-gigabyte-month", "0")
    for gallery in result["galleries"].values():
        assert gallery["times_cheaper"] == pytest.approx(gallery["times_faster"])
        assert gallery["bytes"]["backfill"] == 1_000_000 * (20_000 + 2 * 512)


def test_partial_backfill_ends_at_the_full_reindex(load: Any, tmp_path: Path) -> None:
    curves = smoke(load("partial_backfill"), tmp_path)["curves"]
    assert len(curves) == 2
    for result in curves.values():
        assert {"random", "class_mean"} <= set(result["orders"])
        assert all(order["metric"][-1] == pytest.approx(result["full_reindex"]) for order in result["orders"].values())


def test_the_study_shows_the_recorded_figures(load: Any) -> None:
    study = load("study_tables")
    assert study.make_page() == study.PAGE.read_text()


@pytest.mark.parametrize("old", ["mfn_a", "dlib"])
def test_the_recommended_aligner_meets_the_aims(old: str) -> None:
    path = EXPECTED / "beat_the_paper.json"
    result = json.loads(path.read_text())
    assert result["smoke"] is False
    ratios = result["upgrades"][f"{old} → mfn_b"]["ratios"]
    for base in result["baselines"]:
        plain = ratios[f"S3: {result['recommended']} / {base}"]
        assert plain["value"] <= result["aims"]["plain"]
        assert plain["high"] < 1
        assert max(plain["by_fold"]) < 1
        assert np.isfinite(plain["low"])
        actual = ratios[f"S3, queries normalized: {result['recommended']} / S3: {base}"]
        assert actual["value"] < plain["value"]
