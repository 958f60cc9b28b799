"""Embed items and write their native vectors: shared by eager and lazy backfill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.extractors import Extractor, SkippedItem, extract_embeddings
from embcompat.spaces import SpaceVersion, require_space
from embcompat.stores.values import Job, TargetRows

Embed = Callable[[Sequence[str]], Embeddings]
"""Takes ids and returns the embeddings of their items under the new model. Items that are gone, or that the model
cannot embed, are left out."""

Vectors = dict[str, NDArray[np.float32]]
"""Vectors (dim,) by id."""

REFUSALS_IN_A_ROW = 8
"""Consecutive refusals of single items after which the model or the store is to blame [ours]."""


class NativeRows(Protocol):
    """The part of a `GalleryStore` that a backfill needs."""

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Replace target vectors by native ones (n, target_dim); return how many rows were written."""

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target side of the given rows; rows without a target vector are left out."""


def embed_items(
    extractor: Extractor, items: Mapping[str, Any], *, on_skip: Callable[[SkippedItem], None] | None = None
) -> Embed:
    """Embed items by id with an extractor.

    Args:
        extractor: The new model.
        items: The item of each id.
        on_skip: Called with each item that does not exist or cannot be embedded.

    Example:
        >>> from embcompat.spaces import SpaceVersion
        >>> class Lengths:
        ...     space = SpaceVersion(name="lengths", version="1", dim=1, similarity="euclidean")
        ...     chunk_size = 64
        ...     def extract(self, items):
        ...         return np.array([[len(item)] for item in items], dtype=np.float32)
        >>> new = embed_items(Lengths(), {"a": "one", "b": "three"})(["b", "c"])
        >>> new.ids.tolist(), new.vectors.tolist()
        (['b'], [[5.0]])
    """

    def skip(item: SkippedItem) -> None:
        if on_skip is not None:
            on_skip(item)

    def embed(ids: Sequence[str]) -> Embeddings:
        known = [identifier for identifier in ids if identifier in items]
        for row, identifier in enumerate(ids):
            if identifier not in items:
                skip(SkippedItem(row, identifier, "there is no such item"))
        return extract_embeddings(extractor, [items[identifier] for identifier in known], ids=known, on_skip=skip)

    return embed


def look_up(new: Embeddings) -> Embed:
    """Return an embedder that looks native vectors up instead of running a model.

    Args:
        new: The vectors that are known already.

    Example:
        >>> from embcompat.spaces import SpaceVersion
        >>> space = SpaceVersion(name="new", version="1", dim=1, similarity="euclidean")
        >>> look_up(Embeddings(np.array([[1.0], [2.0]], dtype=np.float32), ["a", "b"], space))(["b", "c"]).ids.tolist()
        ['b']
    """
    row_of = {identifier: row for row, identifier in enumerate(new.ids.tolist())}

    def embed(ids: Sequence[str]) -> Embeddings:
        return new.select([row_of[identifier] for identifier in ids if identifier in row_of])

    return embed


def native_vectors(embeddings: Embeddings, space: SpaceVersion) -> Vectors:
    """Return the vectors of an `Embed` by id.

    Raises:
        SpaceMismatchError: If they are not in the target space.
    """
    require_space(embeddings.space, space, what="The native vectors")
    return dict(zip(embeddings.ids.tolist(), embeddings.vectors, strict=True))
