"""What a migration put into service as a file, so that what an application changes there can be told apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embcompat.files.writing.atomic import atomic_path
from embcompat.stores.digests import vector_digests


@dataclass(frozen=True)
class ServedRows:
    """Rows that were put into service.

    Attributes:
        keys: Array (n,), int64, ascending.
        digests: Array (n,), int64: digests of the vectors.
        native: Array (n,), bool.
    """

    keys: NDArray[np.int64]
    digests: NDArray[np.int64]
    native: NDArray[np.bool_]

    def match(
        self, keys: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return of each row in service whether it is as it was put there, and whether it is native."""
        if not len(self.keys):
            return np.zeros(len(keys), bool), np.zeros(len(keys), bool)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        same = (self.keys[place] == keys) & (self.digests[place] == vector_digests(vectors))
        return same, same & self.native[place]


def load_served(path: Path) -> ServedRows:
    """Read what `save_served` wrote."""
    keys, digests, native = np.load(path)
    return ServedRows(keys, digests, native != 0)


def save_served(path: Path, keys: NDArray[np.int64], vectors: NDArray[np.float32], native: NDArray[np.bool_]) -> None:
    """Write what is put into service, in one step."""
    order = np.argsort(keys)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.stack([keys, vector_digests(vectors), native.astype(np.int64)])[:, order])
