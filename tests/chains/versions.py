"""The same items in four versions of a model, and aligners between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embcompat.aligners import fit_affine
from embcompat.artifact import Artifact, Metric
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, normalize_rows, split_pairs
from embcompat.export import save_artifact
from embcompat.spaces import SpaceVersion

VERSIONS = ("3", "11", "16", "46.4")
DIM = 6


def space(version: str, *, normalized: bool = False, **fingerprint: str) -> SpaceVersion:
    return SpaceVersion(name="facenet", version=version, dim=DIM, normalized=normalized, fingerprint=dict(fingerprint))


def make_versions(*, normalized: bool, count: int = 300) -> dict[str, Embeddings]:
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((count, DIM))
    versions = {}
    for version in VERSIONS:
        rotation = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
        vectors = latent @ rotation + 0.02 * rng.standard_normal(latent.shape)
        ids = [f"item-{row}" for row in range(count)]
        vectors = normalize_rows(vectors) if normalized else vectors
        versions[version] = Embeddings(vectors, ids, space(version, normalized=normalized))
    return versions


def fit(versions: dict[str, Embeddings], source: str, target: str, folder: Path, *, seed: int = 0) -> Artifact:
    split: PairSplit = split_pairs(PairedEmbeddings(versions[source], versions[target]), seed=seed)
    return save_artifact(
        fit_affine(split.train, split.validation),
        folder / f"{source}-{target}",
        source=versions[source].space,
        target=versions[target].space,
        split=split,
        metrics=[Metric(name="retention", value=0.95, low=0.9, high=1.0, count=60)],
    )
