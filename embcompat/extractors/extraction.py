"""From items to embeddings: in chunks, with every failure named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import ExtractionError, InputError, ServiceError
from embcompat.extractors.base import Extractor
from embcompat.extractors.parts import Parts
from embcompat.files.validation import validate_strings
from embcompat.spaces import SpaceVersion


@dataclass(frozen=True)
class SkippedItem:
    """An item that has no vector.

    Attributes:
        row: Its position among the items.
        id: Its id.
        reason: Why the extractor could not embed it.
    """

    row: int
    id: str
    reason: str


def extract_embeddings(
    extractor: Extractor,
    items: Sequence[Any],
    *,
    ids: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    on_skip: Callable[[SkippedItem], None] | None = None,
    progress: Callable[[int], None] | None = None,
    parts: Path | None = None,
) -> Embeddings:
    """Embed items with an extractor.

    An item that the extractor refuses, or answers with zeros, NaN or infinity, never gets a vector. Without
    ``on_skip`` it ends the run with an error that names it; with it, the item is left out and reported.

    Args:
        extractor: The model.
        items: n items, as the extractor takes them.
        ids: n unique strings; row numbers ("0", "1", …) when None.
        labels: n strings, or None.
        on_skip: Called with each item that is left out, in order; for instance ``skipped.append``.
        progress: Called with the number of items newly done.
        parts: A file in which vectors are kept as they are computed: a run that was stopped or killed and starts
            again with the same file asks the model only for the rest. Delete it when the embeddings are saved.

    Raises:
        InputError: If ids or labels do not fit the items.
        ExtractionError: If an item cannot be embedded and ``on_skip`` is None, or if what the extractor returns is
            not a float32 array (n, space.dim).
        ServiceError: If a service of models is down, refuses or is at a limit; ``parts`` has what was computed.

    Example:
        >>> from embcompat.spaces import SpaceVersion
        >>> class Lengths:
        ...     space = SpaceVersion(name="lengths", version="1", dim=1, similarity="euclidean")
        ...     chunk_size = 64
        ...     def extract(self, items):
        ...         return np.array([[len(item)] for item in items], dtype=np.float32)
        >>> skipped = []
        >>> embedded = extract_embeddings(Lengths(), ["one", "", "three"], on_skip=skipped.append)
        >>> embedded.vectors.tolist(), embedded.ids.tolist(), skipped[0].reason
        ([[3.0], [5.0]], ['0', '2'], 'the extractor returned all zeros')
    """
    if isinstance(items, (str, bytes)) or not hasattr(items, "__len__"):
        raise InputError(
            f"items must be a sequence of items. Got {type(items).__name__}. Pass a list; [item] for a single one."
        )
    keys = [str(row) for row in range(len(items))] if ids is None else ids
    names = validate_strings(keys, len(items), what="ids", unique=True)
    marks = validate_strings(labels, len(items), what="labels")
    vectors = np.empty((len(items), extractor.space.dim), dtype=np.float32)
    missing, keep = _resume(vectors, items, extractor.space, parts)
    if progress is not None and len(missing) < len(items):
        progress(len(items) - len(missing))
    survivors = np.ones(len(items), dtype=bool)
    for start in range(0, len(missing), extractor.chunk_size):
        rows = missing[start : start + extractor.chunk_size]
        whole = len(missing) == len(items)
        chunk = items[rows[0] : rows[-1] + 1] if whole else [items[row] for row in rows]
        fresh: list[int] = []
        try:
            for row, outcome in zip(rows, _embed_chunk(extractor, chunk), strict=True):
                if isinstance(outcome, str):
                    _skip(SkippedItem(row, names[row], outcome), on_skip)
                    survivors[row] = False
                else:
                    vectors[row] = outcome
                    fresh.append(row)
        finally:
            keep(fresh)
        if progress is not None:
            progress(len(chunk))
    if not survivors.all():
        vectors, names, marks = vectors[survivors], names[survivors], None if marks is None else marks[survivors]
    return Embeddings(vectors, names, extractor.space, marks, row_numbers=ids is None)


def _resume(
    vectors: NDArray[np.float32], items: Sequence[Any], space: SpaceVersion, path: Path | None
) -> tuple[list[int], Callable[[list[int]], None]]:
    """Fill in vectors that were computed before; return the rows that are missing, and what keeps new ones."""
    if path is None:
        return list(range(len(items))), lambda _rows: None
    parts = Parts(path, space)
    digests, known = parts.digests(items), parts.load()
    missing = []
    for row, digest in enumerate(digests):
        vector = None if digest is None else known.get(digest)
        if vector is None:
            missing.append(row)
        else:
            vectors[row] = vector

    def keep(rows: list[int]) -> None:
        named = [(row, digest) for row in rows if (digest := digests[row]) is not None]
        if named:
            parts.add([digest for _, digest in named], vectors[[row for row, _ in named]])

    return missing, keep


def _embed_chunk(extractor: Extractor, chunk: Sequence[Any]) -> Iterator[NDArray[np.float32] | str]:
    """Give each item its vector, or the reason why it has none."""
    try:
        vectors = extractor.extract(chunk)
    except ServiceError as error:
        if error.vectors is not None:
            yield from _outcomes(error.vectors, extractor.space, len(error.vectors))
        raise
    except ExtractionError as error:
        if len(chunk) == 1:
            yield str(error)
            return
        half = len(chunk) // 2  # one item spoils the chunk: find out which
        yield from _embed_chunk(extractor, chunk[:half])
        yield from _embed_chunk(extractor, chunk[half:])
        return
    yield from _outcomes(vectors, extractor.space, len(chunk))


def _outcomes(vectors: Any, space: SpaceVersion, count: int) -> Iterator[NDArray[np.float32] | str]:
    shape, dtype = getattr(vectors, "shape", None), getattr(vectors, "dtype", None)
    if shape != (count, space.dim) or dtype != np.float32:
        raise ExtractionError(
            f"the extractor of space {space.id!r} must return a float32 array of shape ({count}, {space.dim}). "
            f"Got {type(vectors).__name__} of shape {shape} and dtype {dtype}."
        )
    for vector in vectors:
        if not np.isfinite(vector).all():
            yield "the extractor returned NaN or infinity"
        elif not vector.any():
            yield "the extractor returned all zeros"
        else:
            yield vector


def _skip(item: SkippedItem, on_skip: Callable[[SkippedItem], None] | None) -> None:
    if on_skip is None:
        raise ExtractionError(
            f"item {item.id!r} (row {item.row}) cannot be embedded: {item.reason}. "
            "Remove it, or have such items skipped and listed (on_skip=…)."
        )
    on_skip(item)
