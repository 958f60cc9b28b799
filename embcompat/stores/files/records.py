"""Target vectors of a file gallery in progress: records of one size, appended to a file.

A record is the key of the row, the digest of the source vector, whether the target vector is native, and the target
vector. The last record of a key counts; one with digest 0 says that there is none any more. A record that a kill tore
is cut off before the next one is written.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.files.writing.atomic import write_all
from embcompat.stores.files.layouts import among

_PIECE_ROWS = 2_048
"""Records made at a time: few enough to stay in the processor's cache [ours]."""


@dataclass(frozen=True)
class Latest:
    """The record that counts, of every row that has a vector.

    Attributes:
        keys: Array (n,), int64, ascending.
        sources: Array (n,), int64: digests of the source vectors.
        native: Array (n,), bool.
        numbers: Array (n,): which record of the file it is.
    """

    keys: NDArray[np.int64]
    sources: NDArray[np.int64]
    native: NDArray[np.bool_]
    numbers: NDArray[np.intp]

    def find(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Return which keys have a record, and the places of those that do."""
        hits = among(keys, self.keys)
        return hits, np.searchsorted(self.keys, keys[hits])

    def select(self, mask: NDArray[np.bool_]) -> Latest:
        """Return the rows where ``mask`` is true."""
        return Latest(self.keys[mask], self.sources[mask], self.native[mask], self.numbers[mask])

    def updated(self, later: Latest) -> Latest:
        """Return these rows with later ones among them, which replace those of the same keys."""
        if not len(self.keys):
            return later
        here, (hits, repeated) = self, self.find(later.keys)
        if hits.any():
            mask = np.ones(len(self.keys), bool)
            mask[repeated] = False
            here = self.select(mask)
        places = np.searchsorted(here.keys, later.keys)
        return Latest(
            np.insert(here.keys, places, later.keys),
            np.insert(here.sources, places, later.sources),
            np.insert(here.native, places, later.native),
            np.insert(here.numbers, places, later.numbers),
        )


@final
class RecordFile:
    """A file of records.

    Args:
        path: The file.
        dim: Length of the vectors.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.path = path
        self._type = np.dtype([("key", "<i8"), ("source", "<i8"), ("native", "<i4"), ("vector", "<f4", (dim,))])
        self._known, self._every = 0, _none()
        self._latest: Latest | None = None

    def append(
        self,
        keys: NDArray[np.int64],
        sources: NDArray[np.int64],
        vectors: NDArray[np.float32] | None,
        *,
        native: bool = False,
    ) -> None:
        """Append records; without vectors, records that there is none.

        Raises:
            StoreError: If the disk is full or the file cannot be written.
        """
        try:
            count = self._write(keys, sources, vectors, native=native)
        except OSError as error:
            raise StoreError(f"{self.path}: the rows were refused: {error}") from error
        if count == self._known:  # nobody else wrote
            self._add(keys, sources, np.full(len(keys), native))

    def _write(
        self,
        keys: NDArray[np.int64],
        sources: NDArray[np.int64],
        vectors: NDArray[np.float32] | None,
        *,
        native: bool,
    ) -> int:
        """Write records; return how many were there before."""
        fresh = np.empty(min(len(keys), _PIECE_ROWS), dtype=self._type)
        with self.path.open("ab", buffering=0) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            count = os.fstat(stream.fileno()).st_size // self._type.itemsize
            stream.truncate(count * self._type.itemsize)
            for start in range(0, len(keys), _PIECE_ROWS):
                rows = slice(start, start + _PIECE_ROWS)
                records = fresh[: len(keys[rows])]
                records["key"], records["source"], records["native"] = keys[rows], sources[rows], native
                records["vector"] = 0.0 if vectors is None else vectors[rows]
                write_all(stream, records.view(np.uint8).data)
        return count

    def latest(self) -> Latest:
        """Return the records that count."""
        records = self._read()
        if len(records) < self._known:  # the file was begun again
            self._known, self._every, self._latest = 0, _none(), None
        if len(records) > self._known:
            later = records[self._known :]
            self._add(np.array(later["key"]), np.array(later["source"]), later["native"] != 0)
        if self._latest is None:
            every, present = self._every, self._every.sources != 0
            self._latest = every if present.all() else every.select(present)
        return self._latest

    def _add(self, keys: NDArray[np.int64], sources: NDArray[np.int64], native: NDArray[np.bool_]) -> None:
        """Take in records that follow those that are known."""
        ascending, last = np.unique(keys[::-1], return_index=True)
        rows = len(keys) - 1 - last
        self._every = self._every.updated(Latest(ascending, sources[rows], native[rows], self._known + rows))
        self._known += len(keys)
        self._latest = None

    def vectors(self, numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the vectors of records."""
        return np.ascontiguousarray(self._read()["vector"][numbers], dtype=np.float32)

    def _read(self) -> NDArray[np.void]:
        count = self.path.stat().st_size // self._type.itemsize if self.path.exists() else 0
        if count == 0:
            return np.empty(0, dtype=self._type)
        return np.memmap(self.path, dtype=self._type, mode="r", shape=(count,))


def _none() -> Latest:
    return Latest(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool), np.empty(0, np.intp))
