"""A gallery in use as embeddings: all of it, or a uniform random sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.similarities import Similarity
from embcompat.spaces import SpaceVersion, require_space
from embcompat.stores.url import open_store
from embcompat.stores.values import Job, Rows

if TYPE_CHECKING:
    from embcompat.stores.base import GalleryStore

_NO_JOB = "0" * 64
"""Reading needs a job only for its names; no side of this one exists."""


@dataclass(frozen=True)
class SampledRows:
    """Rows of a store as they are: nothing about them was checked.

    Attributes:
        ids: n native ids as strings, without loss.
        vectors: Array (n, dim), float32.
        texts: n texts, or None.
        labels: n labels, or None.
        space: The space that the store names, or None.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    texts: Sequence[str] | None
    labels: Sequence[str] | None
    space: SpaceVersion | None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"SampledRows(n={len(self)}, space={None if self.space is None else self.space.id!r})"


def sample_rows(
    gallery: str | GalleryStore,
    *,
    rows: int | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    where: str | None = None,
    seed: int = 0,
) -> SampledRows:
    """Read rows of a gallery in use as they are; see `sample_gallery`."""
    if rows is not None and rows < 1:
        raise InputError(f"rows must be at least 1. Got {rows}.")
    with _opened(gallery) as store:
        job = _reading_job(store, text_column)
        columns = [name for name in (text_column, label_column) if name is not None]
        drawn, values = store.draw(job, rows, seed=seed, columns=columns, where=where)
        return _named(drawn, values, store.state(job).space, (text_column, label_column))


def gallery_space(store: GalleryStore) -> SpaceVersion | None:
    """Return the space that a gallery in use records, or None."""
    return store.state(_reading_job(store, None)).space


def sample_gallery(
    gallery: str | GalleryStore,
    *,
    rows: int | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    where: str | None = None,
    keep_out: Sequence[str] = (),
    include: Sequence[str] = (),
    space: SpaceVersion | str | None = None,
    similarity: Similarity = "cosine",
    seed: int = 0,
) -> Embeddings:
    """Take a uniform random sample of a gallery in use, for the pairs of an aligner.

    Ids are the store's own keys as strings, without loss. LanceDB and PostgreSQL read only the sampled rows, Qdrant
    ids and then those; other stores are scanned once, in constant memory.

    Args:
        gallery: Its address, or an open store.
        rows: Number of rows; all when None.
        text_column: Column (or payload field) with the texts or paths, so that the new model can embed them.
        label_column: Column with the labels.
        where: A condition in the store's own language, for instance ``lang = 'en'``; LanceDB, PostgreSQL,
            sqlite-vec and DuckDB take one in SQL, Qdrant and Chroma a filter as JSON, OpenSearch and Elasticsearch a
            query as JSON, Milvus an expression.
        keep_out: Ids that must not be in the sample, for instance the relevant items of judgements.
        include: Ids that must be in the sample where the gallery holds them, on top of ``rows``: the relevant items of
            judgements, so that a sample can be judged.
        space: The space of the vectors in service, or its ``name@version``, if the store does not record it.
        similarity: How a space that is given by its name compares vectors.
        seed: Seed of the draw: the same rows of an unchanged gallery.

    Raises:
        InputError: If nothing names the space, or nothing is left to sample.
        SpaceMismatchError: If the store names another space than ``space``.
        StoreError: If the store cannot read a column.
    """
    from embcompat.embeddings.tables import describe_space

    banned = frozenset(keep_out) | frozenset(include)
    extra = None if rows is None else rows + len(banned)
    columns = (text_column, label_column)
    with _opened(gallery) as store:
        sample = sample_rows(
            store, rows=extra, text_column=text_column, label_column=label_column, where=where, seed=seed
        )
        sample = _chosen(sample, [row for row, key in enumerate(sample.ids) if key not in banned][:rows])
        if include:
            job, names = _reading_job(store, text_column), [name for name in columns if name is not None]
            sample = _joined(sample, _named(*store.look_up(job, sorted(include), columns=names), None, columns))
    where = gallery if isinstance(gallery, str) else gallery.url
    if not len(sample):
        raise InputError(f"{where} must hold rows with a vector outside of keep_out. Got none.")
    vectors = np.ascontiguousarray(sample.vectors)
    stated = sample.space
    if isinstance(space, SpaceVersion):
        if stated is not None:
            require_space(stated, space, what=where)
        stated = space
    elif isinstance(space, str):
        if stated is not None and stated.id != space:
            raise InputError(f"{where} must be in space {space!r}. It says {stated.id!r}.")
        stated = stated or describe_space(vectors, space, similarity)
    if stated is None:
        raise InputError(
            f"{where} does not name its space. Say which one it is (space=…): name@version, for instance ada@2."
        )
    return Embeddings(vectors, sample.ids, stated, sample.labels, sample.texts)


@contextmanager
def _opened(gallery: str | GalleryStore) -> Iterator[GalleryStore]:
    """Open a gallery for as long as it is needed; one that is open stays open."""
    if not isinstance(gallery, str):
        yield gallery
        return
    with closing(open_store(gallery)) as store:
        yield store


def _named(
    rows: Rows,
    values: Mapping[str, Sequence[Any]],
    space: SpaceVersion | None,
    columns: tuple[str | None, str | None],
) -> SampledRows:
    """Return rows with their texts and labels, from the columns of both."""
    texts, labels = (None if name is None else _strings(values[name]) for name in columns)
    return SampledRows(list(rows.ids), rows.vectors, texts, labels, space)


def _chosen(sample: SampledRows, rows: Sequence[int]) -> SampledRows:
    texts, labels = (
        None if values is None else [values[row] for row in rows] for values in (sample.texts, sample.labels)
    )
    return SampledRows([sample.ids[row] for row in rows], sample.vectors[rows], texts, labels, sample.space)


def _joined(one: SampledRows, other: SampledRows) -> SampledRows:
    texts, labels = (
        None if first is None or second is None else [*first, *second]
        for first, second in ((one.texts, other.texts), (one.labels, other.labels))
    )
    vectors = np.concatenate([one.vectors, other.vectors])
    return SampledRows([*one.ids, *other.ids], vectors, texts, labels, one.space)


def _reading_job(store: GalleryStore, text_column: str | None) -> Job:
    anything = SpaceVersion(name="any", version="1", dim=store.dim() or 1, similarity="dot")
    return Job(_NO_JOB, anything, anything, text_column=text_column)


def _strings(values: Sequence[Any]) -> list[str]:
    return ["" if value is None else str(value) for value in values]
