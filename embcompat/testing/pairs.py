"""Synthetic paired spaces with a known map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings, PairedEmbeddings, normalize_rows
from embcompat.spaces import Similarity, SpaceVersion


@dataclass(frozen=True)
class MadePairs:
    """Pairs and the map that made them.

    Attributes:
        pairs: The pairs, labelled by subject where subjects were asked for.
        matrix: The known W (target_dim, source_dim): target = W source + offset + noise.
        offset: The known offset (target_dim,).
    """

    pairs: PairedEmbeddings
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]


def make_pairs(
    count: int = 500,
    *,
    source_dim: int = 16,
    target_dim: int = 16,
    how: Literal["orthogonal", "affine"] = "orthogonal",
    noise: float = 0.01,
    subjects: int | None = None,
    normalized: bool = False,
    similarity: Similarity = "cosine",
    seed: int = 0,
) -> MadePairs:
    """Make pairs whose target is a known linear map of the source, plus noise.

    Args:
        count: Number of pairs.
        source_dim: Length of the source vectors.
        target_dim: Length of the target vectors.
        how: ``orthogonal`` (orthonormal rows or columns, no offset) or ``affine`` (any matrix, and an offset).
        noise: Standard deviation of the Gaussian noise on each target number, relative to the target's spread.
        subjects: Number of subjects; rows of one subject lie close together and carry its label.
        normalized: Whether both spaces are normalized. The map is then exact only up to the norm.
        similarity: Similarity of both spaces.
        seed: Seed of everything.

    Example:
        >>> made = make_pairs(100, source_dim=4, target_dim=3)
        >>> made.matrix.shape, made.pairs
        ((3, 4), PairedEmbeddings(n=100, source='made-old@1', target='made-new@1'))
    """
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((target_dim, source_dim))
    offset = np.zeros(target_dim)
    if how == "orthogonal":
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        matrix = left @ right
    else:
        matrix /= np.sqrt(source_dim)
        offset = rng.standard_normal(target_dim)
    source = rng.standard_normal((count, source_dim))
    labels = None
    if subjects is not None:
        subject = np.arange(count) % subjects
        source = 0.5 * source + rng.standard_normal((subjects, source_dim))[subject]
        labels = [f"subject-{number}" for number in subject]
    if normalized:
        source = normalize_rows(source)
    target = source @ matrix.T + offset
    target += noise * float(target.std()) * rng.standard_normal(target.shape)
    if normalized:
        target = normalize_rows(target)
    ids = [f"item-{row}" for row in range(count)]
    sides = []
    for name, vectors in (("made-old", source), ("made-new", target)):
        space = SpaceVersion(
            name=name,
            version="1",
            dim=vectors.shape[1],
            similarity=similarity,
            normalized=normalized,
            modality="made",
        )
        sides.append(Embeddings(vectors, ids, space, labels))
    return MadePairs(PairedEmbeddings(*sides), matrix, offset)
