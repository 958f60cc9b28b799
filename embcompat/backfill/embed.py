"""Where native vectors come from, and where they go: what eager and lazy backfill share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import SpaceMismatchError, StoreError
from embcompat.extractors import Extractor, SkippedItem, extract_embeddings
from embcompat.spaces import SpaceVersion, require_space
from embcompat.stores.values import Job, TargetRows

Embed = Callable[[Sequence[str]], Embeddings]
"""Takes ids and returns what the new model makes of their items. Items that are gone, or that it cannot embed, are left
out."""

Vectors = dict[str, NDArray[np.float32]]
"""Vectors by id."""

REFUSALS_IN_A_ROW = 8
"""Single items refused one after the other before the model or the store is held to be the trouble [ours]."""


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
        on_skip: Called with each item that is not there or cannot be embedded.

    Example:
        >>> from embcompat.spaces import SpaceVersion
        >>> class Lengths:
        ...     space = SpaceVersion(name="lengths", version="1", dim=1, similarity="euclidean")
        ...     chunk_size = 64
        ...     def extract(self, items):
        ...         return np.array([[len(item)] for item in items], dtype=np.float32)
        >>> found = embed_items(Lengths(), {"a": "one", "b": "three"})(["b", "c"])
        >>> found.ids.tolist(), found.vectors.tolist()
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
    """Take native vectors that are known already: from a file, or to try a backfill out.

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


def native_vectors(found: Embeddings, space: SpaceVersion) -> Vectors:
    """Return the vectors of an `Embed` by id.

    Raises:
        SpaceMismatchError: If they are not in the target space.
    """
    require_space(found.space, space, what="The native vectors")
    return dict(zip(found.ids.tolist(), found.vectors, strict=True))


def isolate(ids: Sequence[str], attempt: Callable[[Sequence[str]], None]) -> dict[str, str]:
    """Do ``attempt`` on all ids, in one go where possible, and find those that it refuses by bisection.

    Args:
        ids: The ids.
        attempt: Raises, having done nothing that may not be done twice, when one of its ids is refused.

    Returns:
        The reason for each refused id.

    Raises:
        SpaceMismatchError: If ``attempt`` raises it: then no item is to blame.
        StoreError: If item after item is refused: then it is not the items.

    Example:
        >>> def attempt(ids):
        ...     if "b" in ids:
        ...         raise ValueError("b is right out")
        >>> isolate(["a", "b", "c"], attempt)
        {'b': 'b is right out'}
    """
    refused: dict[str, str] = {}
    in_a_row = 0
    waiting = [list(ids)] if ids else []
    while waiting:
        part = waiting.pop()
        try:
            attempt(part)
            in_a_row = 0
        except SpaceMismatchError:
            raise
        except Exception as error:
            if len(part) > 1:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
                continue
            refused[part[0]] = str(error) or type(error).__name__
            in_a_row += 1
            if in_a_row >= REFUSALS_IN_A_ROW:
                raise StoreError(
                    f"item after item is refused; the last, {part[0]!r}: {error}. It is not the items: look at "
                    "the model and the store."
                ) from error
    return refused
