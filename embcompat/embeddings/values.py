"""Embeddings: vectors with their ids, optional labels and texts, and their space, validated once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError
from embcompat.files.validation import validate_strings, validate_vectors
from embcompat.similarities import Similarity
from embcompat.spaces import SpaceVersion

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of one space, with ids.

    Attributes:
        vectors: Array (n, dim), float32, C-contiguous, finite. Other float arrays are converted on construction.
        ids: n unique, non-empty strings, as an object array (any sequence of strings is accepted).
        space: The space that the vectors live in.
        labels: n strings (a subject, a class), or None.
        texts: n strings, what was embedded, or None; an empty string is an item whose text is not known.
        row_numbers: Whether the ids are row numbers that were invented because nothing named the items. They join only
            with as many other row numbers.

    Raises:
        InputError: If anything above does not hold, a vector of a cosine space is zero, or a vector of a normalized
            space has not unit norm. The message names the argument, what it must be, what it was, and the first
            bad row.

    Example:
        >>> space = SpaceVersion(name="toy", version="1", dim=2, similarity="euclidean")
        >>> Embeddings([[3.0, 4.0], [0.0, 1.0]], ["a", "b"], space)
        Embeddings(n=2, dim=2, space='toy@1', labels=False)
    """

    vectors: NDArray[np.float32]
    ids: NDArray[np.object_]
    space: SpaceVersion
    labels: NDArray[np.object_] | None = None
    texts: NDArray[np.object_] | None = None
    row_numbers: bool = False

    def __init__(
        self,
        vectors: ArrayLike,
        ids: Sequence[str] | NDArray[np.object_],
        space: SpaceVersion,
        labels: Sequence[str] | NDArray[np.object_] | None = None,
        texts: Sequence[str] | NDArray[np.object_] | None = None,
        *,
        row_numbers: bool = False,
    ) -> None:
        array = validate_vectors(vectors, space)
        object.__setattr__(self, "vectors", array)
        object.__setattr__(self, "ids", validate_strings(ids, len(array), what="ids", unique=True))
        object.__setattr__(self, "space", space)
        object.__setattr__(self, "labels", validate_strings(labels, len(array), what="labels"))
        object.__setattr__(self, "texts", validate_strings(texts, len(array), what="texts", empty=True))
        object.__setattr__(self, "row_numbers", row_numbers)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        texts = "" if self.texts is None else ", texts=True"
        return (
            f"Embeddings(n={len(self)}, dim={self.space.dim}, space={self.space.id!r}, "
            f"labels={self.labels is not None}{texts})"
        )

    def select(self, rows: ArrayLike) -> Embeddings:
        """Return the given rows (indices or a boolean mask), in that order."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.intp)
        labels = None if self.labels is None else self.labels[index]
        texts = None if self.texts is None else self.texts[index]
        ids = self.ids[index]
        if len(set(ids.tolist())) != len(ids):
            raise InputError("rows must name each row once. Got a row more than once.")
        return Embeddings.trusted(
            np.ascontiguousarray(self.vectors[index]), ids, self.space, labels, texts, row_numbers=self.row_numbers
        )

    def with_texts(self, texts: Mapping[str, str]) -> Embeddings:
        """Return the same vectors with the texts of their items, found by id.

        Args:
            texts: The text of each item, by id; an item without one gets the empty string.

        Raises:
            InputError: If no item has a text.

        Example:
            >>> space = SpaceVersion(name="toy", version="1", dim=1, similarity="dot")
            >>> Embeddings([[1.0], [2.0]], ["a", "b"], space).with_texts({"b": "a text"}).texts.tolist()
            ['', 'a text']
        """
        column = [texts.get(identifier, "") for identifier in self.ids.tolist()]
        if len(self) and not any(column):
            example = next(iter(texts), "nothing")
            raise InputError(
                f"texts must share ids with the embeddings. Got {len(texts)} texts, and none for the {len(self)} items "
                f"(first ids: {example!r}, {self.ids[0]!r}). Pass the items that were embedded, under the same ids."
            )
        checked = validate_strings(column, len(self), what="texts", empty=True)
        return Embeddings.trusted(
            self.vectors, self.ids, self.space, self.labels, checked, row_numbers=self.row_numbers
        )

    @classmethod
    def trusted(
        cls,
        vectors: NDArray[np.float32],
        ids: NDArray[np.object_],
        space: SpaceVersion,
        labels: NDArray[np.object_] | None,
        texts: NDArray[np.object_] | None = None,
        *,
        row_numbers: bool = False,
    ) -> Embeddings:
        """Take parts that are known to be valid, without looking at them again."""
        embeddings = cls.__new__(cls)
        parts = {
            "vectors": vectors,
            "ids": ids,
            "space": space,
            "labels": labels,
            "texts": texts,
            "row_numbers": row_numbers,
        }
        for name, value in parts.items():
            object.__setattr__(embeddings, name, value)
        return embeddings

    def save(self, path: str | Path) -> None:
        """Write a Parquet file; an existing file is replaced only when the new one is complete.

        Columns: ``id`` (string), ``vector`` (fixed_size_list<float32>), ``label`` (string, if there are labels),
        ``text`` (string, if there are texts). The space is JSON under the schema-metadata key ``embcompat.space``.
        """
        from embcompat.embeddings.tables import write_parquet

        write_parquet(self, Path(path))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        space: SpaceVersion | str | None = None,
        similarity: Similarity = "cosine",
        id_column: str | None = None,
        vector_column: str | None = None,
        label_column: str | None = None,
        ids: str | Path | Sequence[str] | None = None,
        labels: str | Path | Sequence[str] | None = None,
        delimiter: str | None = None,
    ) -> Embeddings:
        """Read a file or a folder of vectors.

        Parquet, Arrow and Feather, JSON lines, CSV and TSV, ``.npy`` and ``.npz``, HDF5, fvecs, fbin, a folder of
        Parquet files, a saved Hugging Face dataset, the answer of an OpenAI batch.

        Args:
            path: The file or folder.
            space: The space of the vectors, for a file that does not say it, or its ``name@version``. When both say
                it they must agree.
            similarity: How a space that is given by its name compares vectors.
            id_column: Column of the ids; a usual name (``id``, ``_id``, ``docid``, …) or pandas' index when None, and
                row numbers where there is none.
            vector_column: Column of the vectors; a usual name (``vector``, ``embedding``, …) or the only column of
                lists when None. ``x*`` takes the columns x0, x1, ….
            label_column: Column of the labels; ``label`` if there is one when None.
            ids: n ids, or a file of them, for a file that holds none.
            labels: n labels, or a file of them, for a file that holds none.
            delimiter: What separates the fields of a CSV file; found from its header when None.

        Raises:
            FileFormatError: If the file does not hold embeddings; names the file, the column and the first bad row.
            SpaceMismatchError: If the file is of another space than ``space``.
        """
        from embcompat.embeddings.tables import read_embeddings
        from embcompat.files.columns import Columns
        from embcompat.files.reading.opening import open_vectors

        columns = Columns(id_column, vector_column, label_column)
        stated = space if isinstance(space, SpaceVersion) else None
        file = open_vectors(path, space=stated, columns=columns, ids=ids, labels=labels, delimiter=delimiter)
        return read_embeddings(file, space, similarity=similarity)

    @classmethod
    def from_npy(
        cls,
        vectors: str | Path | ArrayLike,
        ids: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        *,
        space: SpaceVersion,
    ) -> Embeddings:
        """Take vectors from an array or a ``.npy`` file.

        Args:
            vectors: Array (n, dim), or the path of a file that holds one.
            ids: n unique strings; row numbers ("0", "1", …) when None.
            labels: n strings, or None.
            space: The space of the vectors.
        """
        from embcompat.files.reading.npy import read_npy

        array = read_npy(Path(vectors)) if isinstance(vectors, (str, Path)) else np.asarray(vectors)
        names = [str(row) for row in range(len(array))] if ids is None else ids
        return cls(array, names, space, labels, row_numbers=ids is None)

    @classmethod
    def from_pandas(
        cls,
        frame: Any,
        *,
        space: SpaceVersion | str | None = None,
        similarity: Similarity = "cosine",
        id_column: str | None = None,
        vector_column: str | None = None,
        label_column: str | None = None,
    ) -> Embeddings:
        """Take the columns of a pandas data frame; its index are the ids where no column holds them. See `load`."""
        from embcompat.embeddings.tables import from_pandas
        from embcompat.files.columns import Columns

        columns = Columns(id_column, vector_column, label_column)
        return from_pandas(frame, space, similarity=similarity, columns=columns)

    @classmethod
    def from_arrow(
        cls,
        table: Any,
        *,
        space: SpaceVersion | str | None = None,
        similarity: Similarity = "cosine",
        id_column: str | None = None,
        vector_column: str | None = None,
        label_column: str | None = None,
    ) -> Embeddings:
        """Take the columns of an Arrow table, a polars data frame or a DuckDB relation. See `load`."""
        from embcompat.embeddings.tables import from_table
        from embcompat.files.columns import Columns

        columns = Columns(id_column, vector_column, label_column)
        return from_table(table, space, similarity=similarity, columns=columns, where="the table")

    def to_dataset(self) -> datasets.Dataset:
        """Return a Hugging Face dataset with the columns of `save`; needs ``embcompat[datasets]``."""
        from embcompat.embeddings.tables import to_dataset

        return to_dataset(self)

    @classmethod
    def from_dataset(
        cls,
        dataset: datasets.Dataset,
        *,
        space: SpaceVersion | str | None = None,
        similarity: Similarity = "cosine",
        id_column: str | None = None,
        vector_column: str | None = None,
        label_column: str | None = None,
    ) -> Embeddings:
        """Take the columns of a Hugging Face dataset; needs ``embcompat[datasets]``. See `load`."""
        from embcompat.embeddings.tables import from_dataset
        from embcompat.files.columns import Columns

        columns = Columns(id_column, vector_column, label_column)
        return from_dataset(dataset, space, similarity=similarity, columns=columns)


def normalize_rows(vectors: NDArray[Any]) -> NDArray[Any]:
    """Scale each row to unit Euclidean norm, in the dtype it has; zero rows stay zero.

    Example:
        >>> normalize_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, np.ones_like(norms)))
