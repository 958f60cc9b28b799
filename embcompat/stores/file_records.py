"""Target vectors of a file gallery on their way: records of one size, appended to a file.

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

from embcompat.stores.file_layouts import among


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
        found = among(keys, self.keys)
        return found, np.searchsorted(self.keys, keys[found])


@final
class RecordFile:
    """A file of records.

    Args:
        path: The file.
        dim: Length of the vectors.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.path = path
        self._latest: tuple[int, Latest] | None = None
        self._type = np.dtype([("key", "<i8"), ("source", "<i8"), ("native", "<i4"), ("vector", "<f4", (dim,))])

    def append(
        self,
        keys: NDArray[np.int64],
        sources: NDArray[np.int64],
        vectors: NDArray[np.float32] | None,
        *,
        native: bool = False,
    ) -> None:
        """Append records; without vectors, records that there is none."""
        records = np.zeros(len(keys), dtype=self._type)
        records["key"], records["source"], records["native"] = keys, sources, native
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
        if self._latest is None or self._latest[0] != len(records):
            keys, last = np.unique(records["key"][::-1], return_index=True)
            numbers = len(records) - 1 - last
            sources = np.asarray(records["source"][numbers])
            kept = sources != 0
            numbers = numbers[kept]
            native = np.asarray(records["native"][numbers] != 0)
            self._latest = len(records), Latest(keys[kept], sources[kept], native, numbers)
        return self._latest[1]

    def vectors(self, numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the vectors of records."""
        return np.ascontiguousarray(self._read()["vector"][numbers], dtype=np.float32)

    def _read(self) -> NDArray[np.void]:
        count = self.path.stat().st_size // self._type.itemsize if self.path.exists() else 0
        if count == 0:
            return np.empty(0, dtype=self._type)
        return np.memmap(self.path, dtype=self._type, mode="r", shape=(count,))
