"""`embcompat thresholds` on people that the artifact has not seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from embcompat.aligners import fit_affine
from embcompat.cli.thresholds import thresholds
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import InputError
from embcompat.evaluation.verification.pairs import VerificationPairs
from embcompat.export import save_artifact
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def people() -> PairSplit:
    made = make_pairs(600, source_dim=6, target_dim=6, subjects=150, similarity="euclidean")
    return split_pairs(made.pairs, test=0.5)


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
