"""Computed vectors, kept in a file so that a stopped run loses none of them.

The file is a list of records of one size: the digest of an item in a space, and its vector. Whatever a kill has torn
off at the end is cut before the next record is written. Items are found by their content, so a run may resume with
other batches, another order, or more items.

Where all that is known of the model is its canary, the canary is a record, too, before the vectors of its model:
vectors jitter, and so do canaries, so they are compared with a tolerance.
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
from embcompat.spaces import CANARY, CANARY_TOLERANCE, SpaceVersion, canary_drift

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
        exact = {name: value for name, value in space.fingerprint.items() if name != CANARY}
        public = space.model_copy(update={"fingerprint": exact})
        self._key = hashlib.blake2b(public.to_json().encode(), digest_size=32).digest()
        self._canary = _canary_record(space)
        self._canary_digest = self._keyed(b"canary")
        self._canary_stands = self._canary is None

    def digests(self, items: Sequence[Any]) -> list[bytes | None]:
        """Return what each item is known by: its content, and for a path the size and time of the file."""
        return [self._digest(item) for item in items]

    def load(self) -> dict[bytes, NDArray[np.float32]]:
        """Return the vectors by digest."""
        if not self._path.is_file():
            return {}
        count = self._path.stat().st_size // self._record.itemsize
        records = np.fromfile(self._path, self._record, count)
        if self._canary is not None:
            records = self._of_this_model(records)
        return {record["digest"].tobytes(): record["vector"] for record in records}

    def _of_this_model(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """Return the records behind the last canary, if it is the model's."""
        digests = records["digest"].tolist()
        if self._canary_digest not in digests:
            return records[:0]
        last = len(digests) - 1 - digests[::-1].index(self._canary_digest)
        drift = canary_drift([self._canary], [records["vector"][last].tolist()])
        self._canary_stands = drift <= CANARY_TOLERANCE
        return records[last + 1 :] if self._canary_stands else records[:0]

    def add(self, digests: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Append vectors; they survive a kill from here on.

        Raises:
            InputError: If another run is writing the file.
        """
        if not self._canary_stands:
            digests = [self._canary_digest, *digests]
            vectors = np.concatenate([np.array([self._canary], dtype=np.float32), vectors])
            self._canary_stands = True
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
        return self._keyed(content)

    def _keyed(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, key=self._key).digest()


def _canary_record(space: SpaceVersion) -> list[float] | None:
    """Return the canary's numbers as one vector of the space, cut or filled up with zeros; None where there is none."""
    canary = space.fingerprint.get(CANARY)
    if canary is None:
        return None
    numbers = np.ravel(np.array(canary, dtype=np.float32))[: space.dim].tolist()
    return [*numbers, *[0.0] * (space.dim - len(numbers))]
