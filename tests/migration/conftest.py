"""An artifact and the files it converts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import fit_affine
from embcompat.artifact import Artifact
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.export import save_artifact


@pytest.fixture(scope="session")
def artifact(split: PairSplit, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An affine artifact, 12 → 8."""
    return save_artifact(
        fit_affine(split.train, split.validation),
        tmp_path_factory.mktemp("artifact") / "old-to-new",
        source=split.train.source.space,
        target=split.train.target.space,
        split=split,
    )


@pytest.fixture
def gallery(artifact: Artifact) -> Embeddings:
    """1,000 vectors of the artifact's source space, with labels."""
    vectors = np.random.default_rng(1).standard_normal((1000, artifact.source.dim)).astype(np.float32)
    labels = [f"subject-{row % 7}" for row in range(1000)]
    return Embeddings(vectors, [f"item-{row}" for row in range(1000)], artifact.source, labels)


@pytest.fixture
def source(gallery: Embeddings, tmp_path: Path) -> Path:
    """The gallery as a Parquet file."""
    path = tmp_path / "old.parquet"
    gallery.save(path)
    return path
