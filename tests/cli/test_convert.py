from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from embcompat.aligners import fit_affine
from embcompat.artifact import Artifact
from embcompat.cli.convert import convert
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import SpaceMismatchError
from embcompat.export import save_artifact


@pytest.fixture(scope="module")
def artifact(split: PairSplit, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("artifact") / "old-to-new"
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    return save_artifact(fit_affine(split.train, split.validation), path, split=split, **spaces)


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(convert)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_file_is_converted_and_the_report_is_json(artifact: Artifact, split: PairSplit, tmp_path: Path) -> None:
    split.test.source.save(tmp_path / "old.parquet")
    target = tmp_path / "new.parquet"
    result = run(artifact.path, tmp_path / "old.parquet", target, "--batch-size", "20", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["rows"] == len(split.test)
    assert report["artifact_id"] == artifact.id
    assert report["target_space"] == Embeddings.load(target).space.id
    assert report["canary"]["outranked"] > 0.99


def test_the_plain_report_says_what_was_checked(artifact: Artifact, split: PairSplit, tmp_path: Path) -> None:
    np.save(tmp_path / "old.npy", split.test.source.vectors)
    options = ("--old-space", artifact.source.id, "--similarity", "cosine", "--no-resume")
    result = run(artifact.path, tmp_path / "old.npy", tmp_path / "new.npy", *options)
    assert result.exit_code == 0, result.output
    assert "rows in made-new@1" in result.stdout
    assert "rows counted" in result.stdout
    assert "canary 100.0%" in result.stdout
    assert np.load(tmp_path / "new.npy").shape == (len(split.test), artifact.target.dim)


@pytest.mark.parametrize("options", [("--old-space", "other@2"), ("--old-space", "made-old@1", "--similarity", "dot")])
def test_another_space_is_refused(
    artifact: Artifact, split: PairSplit, tmp_path: Path, options: tuple[str, ...]
) -> None:
    np.save(tmp_path / "old.npy", split.test.source.vectors)
    result = run(artifact.path, tmp_path / "old.npy", tmp_path / "new.npy", *options)
    assert isinstance(result.exception, SpaceMismatchError)
    assert "must be 'made-old@1' with --similarity cosine" in str(result.exception)
    assert not (tmp_path / "new.npy").exists()
