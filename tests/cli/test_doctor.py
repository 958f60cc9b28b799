from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from embcompat.cli.doctor import doctor
from embcompat.doctor import fit_reference
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.registry import Registry
from embcompat.spaces import SpaceVersion

DIM = 8


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def draw(name: str, count: int, seed: int) -> Embeddings:
    """Draw vectors of a space that lies about a point of its own."""
    rng = np.random.default_rng(seed)
    centre = np.eye(DIM)[0 if name == "alpha" else 1] * 8
    space = SpaceVersion(name=name, version="1", dim=DIM, similarity="euclidean")
    return Embeddings(centre + rng.standard_normal((count, DIM)), [f"{name}-{row}" for row in range(count)], space)


@pytest.fixture
def known(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for name in ("alpha", "beta"):
        paths[name] = tmp_path / f"{name}.parquet"
        draw(name, 600, seed=1).save(paths[name])
    return paths


@pytest.fixture
def team(tmp_path: Path, known: dict[str, Path]) -> Path:
    registry = Registry(tmp_path / "team", create=True)
    for path in known.values():
        loaded = Embeddings.load(path)
        registry.add_space(loaded.space, reference=fit_reference(loaded).to_bytes())
    return tmp_path / "team"


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A gallery of alpha in which rows 3, 50 and 99 are of beta."""
    gallery, other = draw("alpha", 100, seed=2), draw("beta", 100, seed=2)
    vectors = gallery.vectors.copy()
    vectors[[3, 50, 99]] = other.vectors[[3, 50, 99]]
    Embeddings(vectors, gallery.ids, gallery.space).save(tmp_path / "mixed.parquet")
    return tmp_path / "mixed.parquet"


def test_a_healthy_gallery_exits_with_0(team: Path, tmp_path: Path) -> None:
    draw("alpha", 100, seed=2).save(tmp_path / "clean.parquet")
    result = run(tmp_path / "clean.parquet", "--registry", team)
    assert result.exit_code == 0, result.output
    assert "100 rows, judged as alpha@1: healthy" in result.stdout
    assert "told apart from beta@1: 100.0% of its rows would be found" in result.stdout


def test_a_sick_gallery_exits_with_3_and_names_its_rows(team: Path, mixed: Path, tmp_path: Path) -> None:
    result = run(mixed, "--registry", team, "--rows", tmp_path / "rows.csv")
    assert result.exit_code == 3
    assert "3 of 100 rows fit space beta@1 better than alpha@1" in result.stdout
    assert "first: alpha-3, alpha-50, alpha-99" in result.stdout
    with (tmp_path / "rows.csv").open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [(line["row"], line["id"], line["finding"]) for line in written] == [
        ("3", "alpha-3", "other_space"),
        ("50", "alpha-50", "other_space"),
        ("99", "alpha-99", "other_space"),
    ]


def test_references_from_files(known: dict[str, Path], mixed: Path, tmp_path: Path) -> None:
    fit_reference(Embeddings.load(known["beta"])).save(tmp_path / "beta.safetensors")
    result = run(mixed, "--reference", known["alpha"], "--reference", tmp_path / "beta.safetensors", "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert report["sick"]
    assert [(finding["kind"], finding["rows"]) for finding in report["findings"]] == [("other_space", 3)]
    assert report["separations"][0]["can_tell"]


def test_an_npy_gallery_is_told_its_space(team: Path, mixed: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "raw.npy", Embeddings.load(mixed).vectors)
    named = run(tmp_path / "raw.npy", "--registry", team, "--space", "alpha@1", "--json")
    assert json.loads(named.stdout)["space"] == "alpha@1"
    other = run(tmp_path / "raw.npy", "--space", "gamma@1", "--similarity", "euclidean", "--json")
    assert (other.exit_code, json.loads(other.stdout)["space"]) == (0, "gamma@1")
    refused = run(mixed, "--space", "gamma@1")
    assert isinstance(refused.exception, InputError)
    assert "--space gamma@1 must be the space of a reference" in str(refused.exception)


def test_without_a_reference_it_says_what_it_cannot_tell(mixed: Path) -> None:
    result = run(mixed)
    assert result.exit_code == 0
    assert "no reference was given" in result.stdout
