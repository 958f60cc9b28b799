"""Embeddings through an aligner: the vectors and the space change, everything else stays with its item."""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.embeddings.values import Embeddings
from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion


class Transform(Protocol):
    """Anything that maps vectors: an aligner, or an `OnnxAligner`.

    One that has ``reads_texts`` set takes the texts of the items as second argument.
    """

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) to (n, target_dim)."""


def transform_embeddings(aligner: Transform, embeddings: Embeddings) -> NDArray[np.float32]:
    """Map the vectors of embeddings, with their texts where the aligner reads texts.

    Raises:
        InputError: If the aligner reads vectors of another length, or texts and there are none.
    """
    if getattr(aligner, "reads_texts", False):
        return cast(Any, aligner).transform(embeddings.vectors, embeddings.texts)  # type: ignore[no-any-return]
    return aligner.transform(embeddings.vectors)


def convert_embeddings(aligner: Transform, embeddings: Embeddings, space: SpaceVersion) -> Embeddings:
    """Convert embeddings to another space; ids, labels and texts stay.

    An aligner knows dimensions, not spaces, so nothing checks that it was fitted on this source. `OnnxAligner.convert`
    knows both spaces of its artifact and checks them.

    Args:
        aligner: What maps the vectors.
        embeddings: The vectors to convert, in the aligner's source space.
        space: The aligner's target space.

    Raises:
        InputError: If the aligner reads or writes vectors of another length, or ``space`` asks for unit norm and the
            aligner does not normalize.

    Example:
        >>> from embcompat.aligners import fit_affine
        >>> from embcompat.testing import make_pairs
        >>> pairs = make_pairs(200, source_dim=4, target_dim=6).pairs
        >>> convert_embeddings(fit_affine(pairs, pairs), pairs.source, pairs.target.space)
        Embeddings(n=200, dim=6, space='made-new@1', labels=False)
    """
    vectors = transform_embeddings(aligner, embeddings)
    if vectors.shape != (len(embeddings), space.dim):
        raise InputError(
            f"the aligner must return vectors of shape ({len(embeddings)}, {space.dim}) for space {space.id!r}. "
            f"Got {vectors.shape}."
        )
    return Embeddings(
        vectors, embeddings.ids, space, embeddings.labels, embeddings.texts, row_numbers=embeddings.row_numbers
    )
