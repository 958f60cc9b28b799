"""Converted vectors of a FAISS gallery on their way: records of one size, appended to a file.

A record is the id, the digest of the source vector, whether the vector is native, and the vector. The last record of
an id counts; one with digest 0 says that there is none any more. A record that a kill tore is cut off before the next
one is written.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Latest:
    """The record that counts, of every id that has a vector.

    Attributes:
        ids: Array (n,), int64, ascending.
        sources: Array (n,), int64: digests of the source vectors.
        native: Array (n,), bool.
        numbers: Array (n,): which record of the file it is.
    """

    ids: NDArray[np.int64]
    sources: NDArray[np.int64]
    native: NDArray[np.bool_]
    numbers: NDArray[np.intp]

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Return which ids have a record, and the places of those that do."""
        found = np.isin(ids, self.ids)
        return found, np.searchsorted(self.ids, ids[found])


@final
class RecordFile:
    """A file of records.

    Args:
        path: The file.
        dim: Length of the vectors.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.path = path
        self._type = np.dtype([("id", "<i8"), ("source", "<i8"), ("native", "<i4"), ("vector", "<f4", (dim,))])

    def append(
        self,
        ids: NDArray[np.int64],
        sources: NDArray[np.int64],
        vectors: NDArray[np.float32] | None,
        *,
        native: bool = False,
    ) -> None:
        """Append records; without vectors, records that there is none."""
        records = np.zeros(len(ids), dtype=self._type)
        records["id"], records["source"], records["native"] = ids, sources, native
        if vectors is not None:
            records["vector"] = vectors
        with self.path.open("ab", buffering=0) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            size = os.fstat(stream.fileno()).st_size
            stream.truncate(size - size % self._type.itemsize)
            rest = memoryview(records.view(np.uint8).data)
            while len(rest):
                rest = rest[stream.write(rest) :]

    def latest(self) -> Latest:
        """Return the records that count."""
        records = self._read()
        ids, last = np.unique(records["id"][::-1], return_index=True)
        numbers = len(records) - 1 - last
        sources = np.asarray(records["source"][numbers])
        kept = sources != 0
        numbers = numbers[kept]
        return Latest(ids[kept], sources[kept], np.asarray(records["native"][numbers] != 0), numbers)

    def vectors(self, numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the vectors of records."""
        return np.ascontiguousarray(self._read()["vector"][numbers], dtype=np.float32)

    def _read(self) -> NDArray[np.void]:
        count = self.path.stat().st_size // self._type.itemsize if self.path.exists() else 0
        if count == 0:
            return np.empty(0, dtype=self._type)
        return np.memmap(self.path, dtype=self._type, mode="r", shape=(count,))
