"""Corrections of an aligner's output, fitted on pairs."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners.base import Aligner
from embcompat.aligners.reweighted import ReweightedAligner
from embcompat.aligners.sums import Float64
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.errors import InputError
from embcompat.spaces import require_space

AnyAligner = TypeVar("AnyAligner", bound=Aligner)

LENGTH = 2.0
"""How far reweighted vectors are from the mean in a space of Euclidean distances, in multiples of what native vectors
are. Found on two upgrades of raw face vectors (mfn_b → mfn_a, dlib → mfn_a), where 1 and 5 accepted several times as
many impostors; at 1.5 and 3 it was up to 1.4 times as many [ours]."""


def match_variance(aligner: AnyAligner, pairs: PairedEmbeddings) -> AnyAligner:
    """Stretch the output about its mean until it varies as much as the target does.

    Regression pulls converted vectors toward the mean, so that distances between them are too small. One factor for
    all directions undoes that: y' = ȳ + s (y − ȳ) with s² = Σ var(target) / Σ var(y), before normalization. In a space
    compared by Euclidean distance it cannot change a ranking among converted vectors, nor any figure that chooses its
    own threshold; at a threshold that stays fixed it buys false accepts with false rejects.

    Args:
        aligner: What to correct.
        pairs: Pairs on which both variances are measured, in the aligner's spaces.

    Raises:
        InputError: If there are fewer than two pairs, or the output does not vary.
    """
    _require_rows(aligner, pairs)
    raw = type(aligner).from_state({**aligner.config(), "normalize": False}, aligner.state())
    output = raw.transform(pairs.source.vectors).astype(np.float64)
    mean = output.mean(axis=0)
    variance, goal = float(output.var(axis=0).sum()), float(pairs.target.vectors.var(axis=0, dtype=np.float64).sum())
    if variance == 0:
        raise InputError("the aligner's output must vary to be stretched. Got the same vector for every pair.")
    factor = np.sqrt(goal / variance)
    return aligner.with_output_map(factor * np.eye(aligner.target_dim), (1 - factor) * mean)


def reweight(
    aligner: Aligner,
    held_out: PairedEmbeddings,
    *,
    labelled: Embeddings | None = None,
    strength: float | None = None,
    converted: NDArray[np.float32] | None = None,
    centre: NDArray[np.floating] | None = None,
) -> ReweightedAligner:
    """Weigh down the directions in which converted vectors are unreliable.

    The output f becomes C⁻¹ f, normalized again, with C = C_residual + C_within + s·tr(C_residual + C_within)/k·I: the
    covariance of target − f over held-out pairs, the pooled covariance of the target vectors of one subject where
    there are labels, and a part s of their mean diagonal over the k dimensions. Only the converted side is moved, so
    scores among native vectors stay as they are; scores of a query against converted rows are on another scale than
    scores against native rows, and the two must not be ranked in one list as they stand: where native rows stand among
    converted ones (lazy or partial backfill), take `unweight` of the result. [ours]

    Weighting shrinks a vector the more, the more of it lies in unreliable directions, and normalizing undoes that: of
    documents, those that say little would then come near every query. Most of it is what all items have in common, so
    where queries are of another kind than items, subtract the items' mean first: C⁻¹ (f − ``centre``). [ours]

    In a space whose vectors have different lengths and are compared by Euclidean distance, the output becomes
    m + ℓ u: u is the unit vector of C⁻¹ (f − m), m the mean of the target vectors, and ℓ twice the root mean square of
    their distances from m (`LENGTH`). A distance then depends on directions and on the length of the native vector
    alone: the length of a converted vector, which regression shrinks, no longer decides. All distances grow, so a
    threshold of the target space must be transferred. [ours]

    Args:
        aligner: What to correct.
        held_out: Pairs that the aligner was not fitted on; any pairs where ``converted`` is given.
        labelled: Labelled vectors of the target space, fitted on or not, from which C_within is taken; the target
            side of ``held_out`` when None.
        strength: s; 2 without labels and 1 with them when None.
        converted: What aligners of the same kind, each fitted without the pairs that it converts, make of the sources
            of ``held_out`` (n, target_dim): so that an aligner can be fitted on all pairs. The aligner's own
            conversions when None.
        centre: The mean of converted items (target_dim,), subtracted before the weighting. When None, nothing is
            subtracted; m in a space of Euclidean distances.

    Raises:
        InputError: If the target space compares unnormalized vectors by their product, the aligner has another target
            space, there are fewer than two pairs, or ``strength`` is not positive.
    """
    _require_rows(aligner, held_out)
    space = held_out.target.space
    directions = aligner.normalize or space.similarity == "cosine"
    if not directions and space.similarity != "euclidean":
        raise InputError(
            "reweighting needs a target space of directions, normalized or compared by cosine, or one of distances. "
            f"Got {space.id!r}, not normalized and compared by {space.similarity}. match_variance keeps lengths."
        )
    if labelled is not None:
        require_space(labelled.space, space, what="The labelled vectors")
    vectors = held_out.target.vectors if labelled is None else labelled.vectors
    labels = held_out.labels if labelled is None else labelled.labels
    if strength is None:
        strength = 2.0 if labels is None else 1.0
    if not strength > 0:
        raise InputError(f"strength must be positive. Got {strength}.")
    if converted is None:
        converted = aligner.transform(held_out.source.vectors)
    residual = held_out.target.vectors - converted.astype(np.float64)
    spread = np.cov(residual, rowvar=False, ddof=0).reshape(space.dim, space.dim)
    if labels is not None:
        spread = spread + _covariance_within(vectors, labels)
    level = float(np.trace(spread)) / space.dim
    if level == 0:
        return ReweightedAligner(aligner, np.eye(space.dim), normalize=aligner.normalize)
    matrix = np.linalg.inv(spread + strength * level * np.eye(space.dim))
    if not directions:
        origin = vectors.mean(axis=0, dtype=np.float64)
        length = LENGTH * float(np.sqrt(np.mean(np.sum((vectors - origin) ** 2, axis=1))))
        offset = -matrix @ (origin if centre is None else np.asarray(centre, dtype=np.float64))
        return ReweightedAligner(aligner, matrix, offset, length=length, origin=origin)
    # The length changes nothing where vectors are normalized, and stays what it was on average elsewhere.
    exact = converted.astype(np.float64)
    offset = np.zeros(space.dim) if centre is None else np.asarray(centre, dtype=np.float64)
    matrix *= np.sqrt(np.sum(exact**2) / np.sum(((exact - offset) @ matrix.T) ** 2))
    return ReweightedAligner(aligner, matrix, -matrix @ offset, normalize=aligner.normalize)


def _covariance_within(vectors: NDArray[np.float32], labels: NDArray[np.object_]) -> Float64:
    """Return the pooled covariance (dim, dim) of vectors about the mean of their label; zero if none repeats."""
    _, subject, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, subject, vectors)
    centred = vectors - (means / counts[:, np.newaxis])[subject]
    return np.asarray(centred.T @ centred / max(len(vectors) - len(counts), 1))


def _require_rows(aligner: Aligner, pairs: PairedEmbeddings) -> None:
    dims = pairs.source.space.dim, pairs.target.space.dim
    if dims != (aligner.source_dim, aligner.target_dim):
        raise InputError(
            f"the pairs must be of the aligner's dimensions, {aligner.source_dim} and {aligner.target_dim}. Got {dims}."
        )
    if len(pairs) < 2:
        raise InputError(f"a covariance needs at least two pairs. Got {len(pairs)}.")
