"""`embcompat thresholds` on people that the artifact has not seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from embcompat.aligners import fit_affine
from embcompat.cli.fit import fit
from embcompat.cli.thresholds import thresholds
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import FileFormatError, InputError
from embcompat.evaluation.verification.pairs import VerificationPairs
from embcompat.export import save_artifact
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def people() -> PairSplit:
    synthetic = make_pairs(600, source_dim=6, target_dim=6, subjects=150, similarity="euclidean")
    return split_pairs(synthetic.pairs, test=0.5)


@pytest.fixture(scope="module")
def folder(people: PairSplit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thresholds")
    spaces = {"source": people.train.source.space, "target": people.train.target.space}
    save_artifact(fit_affine(people.train, people.validation), path / "artifact", split=people, **spaces)
    people.test.source.save(path / "old.parquet")
    people.test.target.save(path / "new.parquet")
    people.train.source.save(path / "fitted.parquet")
    people.train.target.save(path / "fitted-new.parquet")
    return path


def run(folder: Path, *options: str, old: str = "old.parquet", new: str = "new.parquet") -> Result:
    app = typer.Typer()
    app.command()(thresholds)
    galleries = ["--old-gallery", str(folder / old), "--new-gallery", str(folder / new)]
    return CliRunner().invoke(app, [str(folder / "artifact"), *galleries, *options])


def test_a_rotation_leaves_the_threshold_where_it_was(folder: Path, people: PairSplit) -> None:
    result = run(folder, "--threshold", "-1.5", "--all-images", "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    codes = np.unique(people.test.labels.astype(str), return_inverse=True)[1]
    vectors = people.test.source.vectors
    pairs = VerificationPairs(vectors, vectors, codes, codes, "euclidean", same_items=True)
    for name in ("converted_against_new", "new_against_new"):
        transfer = values[name]
        assert transfer["threshold"]["value"] == pytest.approx(-1.5, abs=0.05)
        assert transfer["threshold"]["low"] <= transfer["threshold"]["value"] <= transfer["threshold"]["high"]
        assert transfer["impostor_pairs"] == pairs.impostor_count
        assert transfer["frr"]["value"] == pytest.approx(transfer["old_frr"], abs=0.02)


def test_the_table_says_what_it_costs_and_warns(folder: Path) -> None:
    result = run(folder, "--threshold", "-0.6")
    assert result.exit_code == 0, result.output
    assert "A threshold of -0.6 falsely accepts" in result.stdout
    assert "converted and new" in result.stdout
    assert "too few to say" in " ".join(result.stdout.split())


def test_fitted_people_are_not_measured_on(folder: Path) -> None:
    result = run(folder, "--threshold", "-1.5", old="fitted.parquet", new="fitted-new.parquet")
    assert isinstance(result.exception, InputError)
    assert "verification needs subjects that the aligner was not fitted on" in str(result.exception)


def test_an_artifact_with_a_cohort_transfers_the_threshold_to_normalized_scores(tmp_path: Path) -> None:
    synthetic = make_pairs(
        240, source_dim=8, target_dim=8, subjects=60, noise=0.3, normalized=True, similarity="cosine", seed=1
    ).pairs
    subjects = np.unique(synthetic.labels.astype(str), return_inverse=True)[1]
    for name, rows in (("fit", subjects < 30), ("test", subjects >= 30)):
        part = synthetic.select(rows)
        part.source.save(tmp_path / f"{name}-old.parquet")
        part.target.save(tmp_path / f"{name}-new.parquet")
    pairs = [str(tmp_path / f"fit-{side}.parquet") for side in ("old", "new")]
    kind = ["--kind", "ridge", "--score-cohort", "12", "--no-canary", "--out", str(tmp_path / "artifact")]
    command = typer.Typer()
    command.command()(fit)
    fitted = CliRunner().invoke(command, [*pairs, *kind])
    assert fitted.exit_code == 0, fitted.output
    result = run(
        tmp_path, "--threshold", "0.5", "--all-images", "--json", old="test-old.parquet", new="test-new.parquet"
    )
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert set(values["normalized"]) == {"converted_against_new", "new_against_new"}
    for transfer in values["normalized"].values():
        assert transfer["far"]["value"] == values["converted_against_new"]["far"]["value"]
        assert transfer["threshold"]["low"] <= transfer["threshold"]["value"] <= transfer["threshold"]["high"]
    assert run(tmp_path, "--threshold", "1.5", old="test-old.parquet", new="test-new.parquet").exit_code != 0


def test_groups_are_measured_at_the_old_threshold_and_at_the_new_ones(folder: Path, people: PairSplit) -> None:
    names = sorted(set(people.test.labels.tolist()))
    lines = [f"{name}\t{'xy'[number % 2]}" for number, name in enumerate(names)]
    (folder / "groups.tsv").write_text("\n".join(lines))
    options = "--threshold", "-1.5", "--all-images", "--groups", str(folder / "groups.tsv")
    result = run(folder, *options, "--json")
    assert result.exit_code == 0, result.output
    groups = json.loads(result.stdout)["groups"]
    assert set(groups) == {"x", "y"}
    for scenarios in groups.values():
        assert set(scenarios) == {"old", "S1", "S3"}
        assert scenarios["S3"]["frr"] == pytest.approx(scenarios["old"]["frr"], abs=0.05)
        low, high = scenarios["S3"]["far_interval"]
        assert low <= scenarios["S3"]["far"] <= high
    assert "Within groups of people" in run(folder, *options).stdout
    (folder / "list.txt").write_text("x\ny\n")
    result = run(folder, "--threshold", "-1.5", "--groups", str(folder / "list.txt"))
    assert isinstance(result.exception, FileFormatError)
    assert "a person, a tab and a group on each line" in str(result.exception)
