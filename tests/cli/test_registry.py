from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from embcompat.aligners import fit_affine
from embcompat.artifact import WEIGHTS, Artifact, Metric, read_artifact
from embcompat.cli.registry import registry
from embcompat.doctor import SpaceReference
from embcompat.embeddings import Embeddings, PairedEmbeddings, split_pairs
from embcompat.errors import InputError, RegistryError, UnknownNameError
from embcompat.export import save_artifact
from embcompat.registry import Registry
from embcompat.spaces import SpaceVersion

DIM = 6


def run(*arguments: str | Path, fails: bool = False) -> Result:
    result = CliRunner().invoke(registry, [str(argument) for argument in arguments])
    assert fails or result.exit_code == 0, result.output
    return result


def said(*words: object) -> str:
    """Return what a command prints, unwrapped: where a line breaks depends on the length of paths."""
    return " ".join(run(*words).stdout.split())


def as_json(*arguments: str | Path) -> dict[str, Any]:
    result = dict(json.loads(run(*arguments, "--json").stdout))
    assert result.pop("schema_version") == 1
    return result


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the same 200 items in three versions."""
    folder, rng = tmp_path_factory.mktemp("versions"), np.random.default_rng(0)
    latent = rng.standard_normal((200, DIM))
    paths = {}
    for version in ("3", "11", "46.4"):
        vectors = latent @ np.linalg.qr(rng.standard_normal((DIM, DIM)))[0] + 0.02 * rng.standard_normal(latent.shape)
        space = SpaceVersion(name="facenet", version=version, dim=DIM)
        paths[version] = folder / f"{version}.parquet"
        Embeddings(vectors, [f"item-{row}" for row in range(200)], space).save(paths[version])
    return paths


@pytest.fixture(scope="module")
def artifacts(versions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("artifacts")
    result = {}
    for source, target, low in (("3", "11", 0.95), ("11", "46.4", 0.95), ("3", "46.4", 0.8)):
        sides = [Embeddings.load(versions[version]) for version in (source, target)]
        split = split_pairs(PairedEmbeddings(*sides))
        result[f"{source}-{target}"] = save_artifact(
            fit_affine(split.train, split.validation),
            folder / f"{source}-{target}",
            source=sides[0].space,
            target=sides[1].space,
            split=split,
            metrics=[Metric(name="retention", value=0.97, low=low, high=1.0, count=40)],
        )
    return result


@pytest.fixture
def team(tmp_path: Path, artifacts: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "team"
    registry = Registry(path, create=True)
    for artifact in artifacts.values():
        registry.publish(artifact)
    registry.promote("production", "facenet@46.4")
    return path


def test_from_nothing_to_a_published_artifact(tmp_path: Path, artifacts: dict[str, Artifact]) -> None:
    team = tmp_path / "team"
    assert as_json("init", team) == {"registry": str(team)}
    assert "There is a registry at" in said("init", team)
    artifact = artifacts["3-11"]
    published = as_json("publish", team, artifact.path)["published"]
    assert published == [{"id": artifact.id, "source": "facenet@3", "target": "facenet@11"}]
    assert "facenet@3 → facenet@11 (affine)" in run("publish", team, artifact.path).stdout
    fetched = as_json("get", team, artifact.id[:8], tmp_path / "fetched")
    assert fetched == {"id": artifact.id, "path": str(tmp_path / "fetched")}
    assert read_artifact(tmp_path / "fetched").id == artifact.id
    assert "is at" in said("get", team, artifact.id[:8], tmp_path / "fetched")


def test_a_pair_is_published_as_two_aligners(tmp_path: Path, artifacts: dict[str, Artifact]) -> None:
    pair = tmp_path / "pair"
    pair.mkdir()
    for name, artifact in (("forward", artifacts["3-46.4"]), ("backward", artifacts["11-46.4"])):
        (pair / name).symlink_to(artifact.path)
    run("init", tmp_path / "team")
    assert len(as_json("publish", tmp_path / "team", pair)["published"]) == 2


def test_a_space_is_registered_with_its_reference(tmp_path: Path, versions: dict[str, Path]) -> None:
    team = tmp_path / "team"
    run("init", team)
    added = as_json("add-space", team, versions["3"], "--sketch-rows", "20")
    assert added["space"]["version"] == "3"
    assert added["reference_rows"] == 180
    data = Registry(team).reference(SpaceVersion(name="facenet", version="3", dim=DIM))
    assert data is not None
    assert len(SpaceReference.from_bytes(data).sketch) == 20
    assert "with a reference of 160 vectors" in said("add-space", team, versions["3"])
    assert "without a reference" in said("add-space", team, versions["11"], "--no-reference")
    np.save(tmp_path / "raw.npy", Embeddings.load(versions["11"]).vectors)
    named = as_json("add-space", team, tmp_path / "raw.npy", "--space", "other@1", "--similarity", "dot")
    assert named["space"]["similarity"] == "dot"


def test_lists_and_trees(team: Path, artifacts: dict[str, Artifact]) -> None:
    artifact = artifacts["3-46.4"]
    run("retire", team, artifact.id[:10])
    listed = as_json("list", team)
    assert [space["id"] for space in listed["spaces"]] == ["facenet@11", "facenet@3", "facenet@46.4"]
    assert listed["labels"] == {"production": "facenet@46.4"}
    assert len(listed["aligners"]) == 2
    assert len(as_json("list", team, "--retired")["aligners"]) == 3
    table = run("list", team, "--retired").stdout
    assert "production" in table
    assert "≥ 0.950" in table
    assert "affine (retired)" in table
    tree = run("show", team).stdout
    assert f"→ facenet@46.4  affine {artifact.id[:12]}, retention ≥ 0.800 retired" in tree
    assert "facenet@46.4  6-d, cosine  production" in tree
    assert len(as_json("show", team)["aligners"]) == 3
    assert run("show", team, "--mermaid").stdout.startswith("flowchart LR\n")


def test_one_space_and_one_aligner(team: Path, artifacts: dict[str, Artifact]) -> None:
    run("promote", team, "serving", artifacts["3-11"].id[:8], "--reason", "fast")
    result = as_json("show", team, "serving")
    assert result["id"] == artifacts["3-11"].id
    assert result["kind"] == "affine"
    assert [event["reason"] for event in result["events"]] == ["fast"]
    space = as_json("show", team, "production")
    assert (space["version"], space["has_reference"]) == ("46.4", False)
    assert json.loads(run("show", team, "production").stdout) == space
    assert "serving" in run("show", team).stdout


def test_paths_are_shown_and_measured(team: Path, versions: dict[str, Path]) -> None:
    result = as_json("path", team, "facenet@3", "production")
    assert [(step["source"], step["target"]) for step in result["steps"]] == [
        ("facenet@3", "facenet@11"),
        ("facenet@11", "facenet@46.4"),
    ]
    assert result["retention_product"] == pytest.approx(0.95**2)
    assert result["measured"] is None
    galleries = ("--old-gallery", versions["3"], "--new-gallery", versions["46.4"])
    measured = as_json("path", team, "facenet@3", "production", *galleries)["measured"]
    assert measured["pairs"] == 40
    assert measured["chain"]["value"] > 0.9
    plain = run("path", team, "facenet@3", "production", *galleries).stdout
    assert "facenet@3 → facenet@11 → facenet@46.4" in plain
    assert "Measured on 40 held-out pairs" in plain
    alone = run("path", team, "facenet@3", "production", *galleries[:2], fails=True)
    assert isinstance(alone.exception, InputError)
    assert "must be given together" in str(alone.exception)


def test_what_cannot_be_compared_with_is_said(team: Path, versions: dict[str, Path]) -> None:
    galleries = ("--old-gallery", versions["11"], "--new-gallery", versions["3"])
    failed = run("path", team, "facenet@11", "production", *galleries, fails=True)
    assert isinstance(failed.exception, RegistryError)
    assert "no aligner leads straight from facenet@11 to facenet@3" in str(failed.exception)
    assert isinstance(run("show", team, "facenet@9", fails=True).exception, UnknownNameError)


def test_the_best_path_becomes_one_artifact(team: Path, tmp_path: Path) -> None:
    result = as_json("compose", team, "facenet@3", "production", tmp_path / "composed")
    artifact = read_artifact(tmp_path / "composed")
    assert (artifact.id, len(result["steps"])) == (result["id"], 2)
    assert (artifact.source.id, artifact.target.id) == ("facenet@3", "facenet@46.4")
    plain = run("compose", team, "facenet@3", "production", tmp_path / "again").stdout
    assert "Composed 2 steps, facenet@3 → facenet@46.4" in plain


def test_promotions_and_retirements(team: Path) -> None:
    assert as_json("promote", team, "production", "facenet@11") == {"label": "production", "subject": "facenet@11"}
    assert "next is now facenet@46.4." in said("promote", team, "next", "facenet@46.4")
    assert as_json("retire", team, "facenet@3", "--reason", "old") == {"retired": "facenet@3"}
    assert "facenet@3 is retired." in said("retire", team, "facenet@3")
    assert isinstance(run("retire", team, "production", fails=True).exception, RegistryError)


def test_damage_is_named_and_the_exit_code_says_so(team: Path, artifacts: dict[str, Artifact]) -> None:
    assert "is intact" in said("verify", team)
    assert as_json("verify", team) == {"damaged": [], "void_events": {}}
    digest = artifacts["3-11"].manifest.files[WEIGHTS]
    (team / "blobs" / "sha256" / digest[:2] / digest).write_bytes(b"x")
    plain = run("verify", team, fails=True)
    assert plain.exit_code == 1
    assert digest in plain.stdout.replace("\n", "")
    result = run("verify", team, "--json", fails=True)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["damaged"][0]["path"].endswith(digest)


def test_garbage_is_listed_first(team: Path) -> None:
    assert as_json("gc", team) == {"would_delete": [], "size_bytes": 0}
    assert "Nothing was changed" in said("gc", team)
    blob = team / "blobs" / "sha256" / "ab" / ("ab" * 32)
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(b"old")
    os.utime(blob, (time.time() - 8 * 86_400,) * 2)
    listed = run("gc", team).stdout
    assert "3 bytes" in listed
    assert "Would delete 1 file, 3 bytes" in listed
    assert as_json("gc", team, "--delete")["size_bytes"] == 3
    assert not blob.exists()


def test_an_event_that_came_too_late_is_reported(team: Path) -> None:
    run("retire", team, "facenet@3")
    registry = Registry(team)
    with pytest.raises(RegistryError, match="another writer was faster"):
        registry._log.append("promote", "facenet@3", label="production")
    assert "came too late and changed nothing: facenet@3 was retired" in said("verify", team)
    assert len(as_json("verify", team)["void_events"]) == 1
