"""Vectors that a model has computed already, kept in a file so that a stopped run loses none of them.

The file is a list of records of one size: the digest of an item in a space, and its vector. Whatever a kill has torn
off at the end is cut before the next record is written. Items are found by their content, so a run may resume with
other batches, another order, or more items.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.files.writing.atomic import write_all
from embcompat.spaces import SpaceVersion

_DIGEST_BYTES = 16


@final
class Parts:
    """The records of one file.

    Args:
        path: The file; made when the first vectors are added.
        space: The space of the vectors. Records of another space are not found.
    """

    def __init__(self, path: Path, space: SpaceVersion) -> None:
        self._path, self._space = path, space
        self._record = np.dtype([("digest", f"V{_DIGEST_BYTES}"), ("vector", "<f4", (space.dim,))])
        self._key = hashlib.blake2b(space.to_json().encode(), digest_size=32).digest()

    def digests(self, items: Sequence[Any]) -> list[bytes | None]:
        """Return what each item is known by: its content, and for a path the size and time of the file."""
        return [self._digest(item) for item in items]

    def load(self) -> dict[bytes, NDArray[np.float32]]:
        """Return the vectors by digest."""
        if not self._path.is_file():
            return {}
        count = self._path.stat().st_size // self._record.itemsize
        records = np.fromfile(self._path, self._record, count)
        return {record["digest"].tobytes(): record["vector"] for record in records}

    def add(self, digests: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Append vectors; they survive a kill from here on.

        Raises:
            InputError: If another run is writing the file.
        """
        records = np.empty(len(digests), self._record)
        records["digest"] = np.array([np.void(digest) for digest in digests], dtype=f"V{_DIGEST_BYTES}")
        records["vector"] = vectors
        with self._path.open("ab", buffering=0) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(f"another run is writing {self._path}. Wait for it, or stop it.") from error
            stream.truncate(os.fstat(stream.fileno()).st_size // self._record.itemsize * self._record.itemsize)
            write_all(stream, records.view(np.uint8).data)

    def _digest(self, item: Any) -> bytes | None:
        if isinstance(item, str):
            content = b"text " + item.encode("utf-8", "surrogatepass")
        elif isinstance(item, bytes):
            content = b"bytes " + item
        elif isinstance(item, Path) and item.is_file():
            status = item.stat()
            content = f"file {item} {status.st_size} {status.st_mtime_ns}".encode("utf-8", "surrogateescape")
        else:
            return None
        return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, key=self._key).digest()
