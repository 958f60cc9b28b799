"""The rows that a migration put into service as a file; they tell which rows an application changed later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embcompat.files.writing.atomic import atomic_path
from embcompat.stores.files.layouts import Contents

_KEY_WEIGHT = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two keys collide


@dataclass(frozen=True)
class ServedRows:
    """Rows that were put into service.

    While a file is replaced, both its old and its new rows are listed, so a kill at any moment does no harm.

    Attributes:
        keys: Array (n,), int64.
        digests: Array (n,), int64: digests of the vectors.
        native: Array (n,), bool.
    """

    keys: NDArray[np.int64]
    digests: NDArray[np.int64]
    native: NDArray[np.bool_]

    def match(self, contents: Contents) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return for each row of the file in service whether it is unchanged, and whether it is native."""
        if not len(self.keys):
            return np.zeros(len(contents.keys), bool), np.zeros(len(contents.keys), bool)
        ours = _mixed(self.keys, self.digests)
        order, rows = np.argsort(ours), _mixed(contents.keys, contents.digests)
        place = order[np.minimum(np.searchsorted(ours[order], rows), len(ours) - 1)]
        same = ours[place] == rows
        return same, same & self.native[place]


def load_served(path: Path) -> ServedRows:
    """Read what `save_served` wrote."""
    keys, digests, native = np.load(path)
    return ServedRows(keys, digests, native != 0)


def save_served(
    path: Path,
    written: Contents,
    keys: NDArray[np.int64],
    native: NDArray[np.int64],
    *,
    previous: ServedRows | None = None,
) -> None:
    """Write what is put into service, in one step.

    Args:
        path: Where to write the record.
        written: The file that is put into service, read back, because its format may have rounded the vectors.
        keys: Keys of the rows that the migration or the new model made.
        native: Keys of those rows that the new model made.
        previous: The rows of the file that is replaced, while that file exists.
    """
    mask = np.isin(written.keys, keys)
    ours = written.keys[mask]
    rows = np.stack([ours, written.digests[mask], np.isin(ours, native).astype(np.int64)])
    if previous is not None:
        replaced = np.stack([previous.keys, previous.digests, previous.native.astype(np.int64)])
        rows = np.concatenate([rows, replaced], axis=1)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows)


def _mixed(keys: NDArray[np.int64], digests: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Combine key and digest in one number."""
    return keys.view(np.uint64) * _KEY_WEIGHT + digests.view(np.uint64)
