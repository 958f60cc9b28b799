"""The contents of a file that is a gallery, and how to write another file like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.digests import vector_digests
from embcompat.stores.values import Job, Obstacle

FLOAT32: Final[np.dtype[Any]] = np.dtype(np.float32)


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        keys: Array (n,), int64, in the order of the file; no two are equal.
        vectors: Array (n, dim), float32.
        positional: Whether the keys are nothing but places in the file.
        names: Ids of the rows, where they are not the keys written out.
        numbers: Type of the numbers in the file.
        whole: Everything else of the file, for the layout to write another one like it.
    """

    keys: NDArray[np.int64]
    vectors: NDArray[np.float32]
    positional: bool
    names: NDArray[np.object_] | None = None
    numbers: np.dtype[Any] = FLOAT32
    whole: Any = None

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Places in ascending order of the keys."""
        return np.argsort(self.keys)

    @cached_property
    def ascending(self) -> NDArray[np.int64]:
        """The keys in ascending order."""
        return self.keys[self.order]

    @cached_property
    def digests(self) -> NDArray[np.int64]:
        """Digest of each vector."""
        return vector_digests(self.vectors)

    def find(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Return which keys are in the file, and the places of those that are."""
        hits = among(keys, self.ascending)
        return hits, self.order[np.searchsorted(self.ascending, keys[hits])]

    def vectors_at(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the vectors of rows in ascending order; where they follow one another, as they lie."""
        if len(places) and places[-1] - places[0] == len(places) - 1:
            return self.vectors[places[0] : places[-1] + 1]
        return self.vectors[places]

    def ids(self, places: NDArray[np.intp]) -> list[str]:
        """Return the ids of rows."""
        if self.names is not None:
            return list(self.names[places])
        return list(map(str, self.keys[places].tolist()))

    def rounded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what vectors become in a file of this type of numbers; too large ones become infinite."""
        if self.numbers.itemsize >= FLOAT32.itemsize:
            return vectors
        with np.errstate(over="ignore"):
            return vectors.astype(self.numbers).astype(np.float32)


class FileLayout(Protocol):
    """How files of one kind are read and written."""

    def dim(self, path: Path) -> int:
        """Return the length of the vectors in a file."""

    def space(self, path: Path) -> SpaceVersion | None:
        """Return the space that a file itself says it is in."""

    def index_kind(self, contents: Contents) -> str | None:
        """Return the kind of vector index in a file that was read, or None."""

    def metric(self, path: Path, job: Job) -> Similarity | None:
        """Return the metric of a file that a job made, in the job's word where that fits; None where none is chosen."""

    def read(self, path: Path, *, mapped: bool = False) -> Contents:
        """Read a file.

        Args:
            path: The file.
            mapped: Whether the vectors may stay in the file: only where nobody else writes to it.

        Raises:
            StoreError: If its vectors cannot be converted.
        """

    def texts(self, contents: Contents, column: str) -> NDArray[np.object_] | None:
        """Return the text of each row, "" where there is none; None where the file has no such column."""

    def keys(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the keys of ids."""

    def obstacles(self, job: Job, contents: Contents) -> list[Obstacle]:
        """List what another file of this kind cannot hold or keep of the target space."""

    def write(
        self, path: Path, like: Contents, places: NDArray[np.intp], vectors: NDArray[np.float32], job: Job
    ) -> None:
        """Write a file like another one.

        Args:
            path: Where.
            like: The other file.
            places: Which rows of it.
            vectors: Array (n, target_dim): their vectors.
            job: What made them.
        """


def among(values: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which values are in an ascending array."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[place] == values)


def require_range(contents: Contents, vectors: NDArray[np.float32], *, where: str) -> None:
    """Raise StoreError if a number is too large for the type of numbers in the file."""
    rounded = contents.rounded(vectors)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(rounded.sum()):  # finite only if every number is
            return
    if not np.isfinite(rounded).all():
        raise StoreError(f"{where}: a number is too large for {contents.numbers}, the type of numbers in the file.")


def require_places(contents: Contents, convertible: NDArray[np.bool_], *, where: str) -> None:
    """Raise StoreError if rows would be left out of a file in which ids are places."""
    if contents.positional and not convertible.all():
        raise StoreError(
            f"{where}: {int((~convertible).sum())} rows could not be converted, and the ids of this file are places in "
            "it: leaving rows out would move all others. Repair these rows, or use a file with ids."
        )


def require_unique(keys: NDArray[np.int64], *, where: str) -> None:
    """Raise StoreError if a key repeats."""
    ascending = np.sort(keys)
    if (ascending[1:] == ascending[:-1]).any():
        raise StoreError(f"{where}: ids must be unique. Some repeat.")
