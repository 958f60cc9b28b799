"""Read a gallery as it is, block by block, even one that other commands refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import UNIT_NORM_TOLERANCE, Embeddings
from embcompat.errors import InputError
from embcompat.similarities import Similarity
from embcompat.spaces import SpaceVersion, parse_space_id
from embcompat.stores.sampling import SampledRows

if TYPE_CHECKING:
    import pyarrow as pa

    from embcompat.files.reading.streams import VectorFile

BLOCK_ROWS = 8_192


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of a gallery.

    Attributes:
        ids: The n ids as stored, None where one is missing; row numbers where the gallery has no ids.
        lengths: Number of values in each row (n,), −1 where there is no vector.
        vectors: Array (n, dim) float32; NaN where a row has another length.
    """

    ids: list[Any]
    lengths: NDArray[np.int64]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Gallery:
    """A gallery to examine: embeddings, rows of a store, or a file of vectors.

    Attributes:
        origin: The embeddings or the file.
        stated: The space that it states, or None.
        dim: Length that its vectors should have: that of the space, else of the file's type or first vector.
    """

    origin: Embeddings | SampledRows | VectorFile
    stated: SpaceVersion | None
    dim: int

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in order.

        Raises:
            FileFormatError: If the file is damaged or holds something else.
        """
        if isinstance(self.origin, SampledRows):
            yield from _array_blocks(self.origin.vectors, list(self.origin.ids), self.dim)
        elif isinstance(self.origin, Embeddings):
            yield from _array_blocks(self.origin.vectors, self.origin.ids.tolist(), self.dim)
        else:
            yield from _file_blocks(self.origin)

    def ids_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the ids of some rows, given in ascending order, as text."""
        names: list[str] = []
        first = 0
        for ids in self._id_blocks():
            if len(names) == len(rows):
                break
            upto = int(np.searchsorted(rows, first + len(ids)))
            names += [str(ids[row - first]) for row in rows[len(names) : upto].tolist()]
            first += len(ids)
        return names

    def _id_blocks(self) -> Iterator[list[Any]]:
        if isinstance(self.origin, Embeddings | SampledRows):
            yield list(self.origin.ids)
        elif self.origin.roles.id is None:
            yield list(range(self.origin.rows))
        else:
            for batch in self.origin.source.batches(0, BLOCK_ROWS, [self.origin.roles.id]):
                yield list(batch.column(0).to_pylist())


def open_gallery(
    origin: str | Path | Embeddings | SampledRows | VectorFile | Gallery, *, space: SpaceVersion | None = None
) -> Gallery:
    """Open a gallery without judging it.

    Args:
        origin: Embeddings, rows of a store, or a file or folder of vectors of any format, opened or not.
        space: The space that it should be in, for a file that does not state one.

    Raises:
        FileFormatError: If the file is missing, damaged, or has no column of vectors.
    """
    from embcompat.files.columns import Columns, find_roles
    from embcompat.files.reading.opening import open_source, split_address
    from embcompat.files.reading.streams import VectorFile
    from embcompat.files.vectors import space_of

    if isinstance(origin, Gallery):
        return origin if origin.stated is not None or space is None else replace(origin, stated=space, dim=space.dim)
    if isinstance(origin, Embeddings):
        return Gallery(origin, origin.space, origin.space.dim)
    if isinstance(origin, SampledRows):
        stated = origin.space or space
        return Gallery(origin, stated, origin.vectors.shape[1] if stated is None else stated.dim)
    if not isinstance(origin, VectorFile):
        path, columns = split_address(origin, Columns())
        source = open_source(path, columns=columns)
        roles = find_roles(source.schema, columns, where=str(path))
        origin = VectorFile(source, roles, space_of(source.schema, str(path)))
    stated = origin.space or space
    return Gallery(origin, stated, origin.dim if stated is None else stated.dim)


def named_space(gallery: Gallery, name: str, similarity: Similarity) -> SpaceVersion:
    """Make the space of a gallery from ``name@version``: normalized when most of its first vectors have unit norm.

    Raises:
        InputError: If the gallery names another space.
    """
    if gallery.stated is not None:
        if gallery.stated.id != name:
            raise InputError(f"--space {name} must be the space of a reference. The gallery names {gallery.stated.id}.")
        return gallery.stated
    block = next(gallery.blocks(), None)
    norms = np.ones(1) if block is None else np.linalg.norm(block.vectors.astype(np.float64), axis=1)
    normalized = bool((np.abs(norms - 1) <= UNIT_NORM_TOLERANCE).mean() > 0.5)
    family, version = parse_space_id(name)
    return SpaceVersion(name=family, version=version, dim=gallery.dim, similarity=similarity, normalized=normalized)


def _array_blocks(vectors: NDArray[Any], ids: list[str], dim: int) -> Iterator[Block]:
    for start in range(0, len(vectors), BLOCK_ROWS):
        part = vectors[start : start + BLOCK_ROWS]
        yield Block(ids[start : start + BLOCK_ROWS], np.full(len(part), dim, dtype=np.int64), part)


def _file_blocks(file: VectorFile) -> Iterator[Block]:
    from embcompat.files.vectors import lengths_and_vectors

    first = 0
    where = f"{file.path}: column {file.roles.vectors[0]}"
    names = dict.fromkeys(name for name in (*file.roles.vectors, file.roles.id) if name is not None)
    for batch in file.source.batches(0, BLOCK_ROWS, list(names)):
        columns = [batch.column(name) for name in file.roles.vectors]
        lengths, vectors = lengths_and_vectors(columns, file.dim, where)
        yield Block(_ids(batch, file.roles.id, first), lengths, vectors)
        first += batch.num_rows


def _ids(batch: pa.RecordBatch, column: str | None, first: int) -> list[Any]:
    if column is None:
        return list(range(first, first + batch.num_rows))
    return list(batch.column(column).to_pylist())
