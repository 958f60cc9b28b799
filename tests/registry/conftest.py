"""Registries to test with, and artifacts to put into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner
from embcompat.artifact import Artifact
from embcompat.export import save_artifact
from embcompat.registry import Registry
from embcompat.spaces import SpaceVersion

DAY = 86_400.0


def space(version: str, name: str = "facenet", **fingerprint: str) -> SpaceVersion:
    return SpaceVersion(name=name, version=version, dim=3, fingerprint=dict(fingerprint))


def artifact(path: Path, source: SpaceVersion, target: SpaceVersion, seed: int = 0) -> Artifact:
    weight = np.random.default_rng(seed).standard_normal((3, 3))
    return save_artifact(AffineAligner(weight, np.zeros(3)), path, source=source, target=target)


@pytest.fixture(params=["disk", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return Registry("memory://" if request.param == "memory" else tmp_path / "registry", create=True)


@pytest.fixture
def disk(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", create=True)


@pytest.fixture
def artifact_3_11(tmp_path: Path) -> Artifact:
    return artifact(tmp_path / "old-to-new", space("3"), space("11"))


def all_files(registry: Registry) -> list[Path]:
    return sorted(path for path in Path(registry.url).rglob("*") if path.is_file())
