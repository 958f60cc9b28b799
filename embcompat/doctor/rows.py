"""Problems of single rows that can be found without a reference of their space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import final

import numpy as np
from numpy.typing import NDArray

from embcompat.doctor.gallery import Block
from embcompat.doctor.report import Finding, Severity
from embcompat.embeddings import UNIT_NORM_TOLERANCE
from embcompat.spaces import SpaceVersion

UNIT_SHARE = 0.9
"""In a gallery that names no space, this share of unit-norm rows implies that all should have unit norm [ours]."""


@final
class RowChecks:
    """Norms, lengths and duplicates of all rows, in about 30 bytes a row.

    Duplicates are found by 64-bit digests, Python's own of this process, which take a seventh of the time of a
    cryptographic one. That two different vectors share one is less likely than a disk error.
    """

    def __init__(self) -> None:
        self._lengths = [np.empty(0, dtype=np.int64)]
        self._norms = [np.empty(0, dtype=np.float32)]
        self._id_digests = [np.empty(0, dtype=np.int64)]
        self._vector_digests = [np.empty(0, dtype=np.int64)]

    def add(self, block: Block) -> None:
        """Add the next rows."""
        self._lengths.append(block.lengths)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", block.vectors, block.vectors, dtype=np.float64)
            self._norms.append(np.sqrt(squares).astype(np.float32))
        self._id_digests.append(_digests("" if name is None else str(name) for name in block.ids))
        self._vector_digests.append(_digests(_rows_as_bytes(block.vectors)))

    def count(self) -> int:
        """Return the number of rows so far."""
        return sum(map(len, self._lengths))

    def usable(self, dim: int) -> NDArray[np.bool_]:
        """Return a mask of the rows that hold a finite, non-zero vector of the right length (n,)."""
        norms = np.concatenate(self._norms)
        return np.asarray((np.concatenate(self._lengths) == dim) & np.isfinite(norms) & (norms > 0))

    def findings(self, space: SpaceVersion | None, dim: int) -> Iterator[Finding]:
        """Yield the problems of single rows and of rows that repeat each other."""
        lengths, norms = np.concatenate(self._lengths), np.concatenate(self._norms)
        fits = lengths == dim
        usable = self.usable(dim)
        yield from _finding("missing_vector", "error", lengths < 0, "no vector")
        drifted = (lengths >= 0) & ~fits
        others = ", ".join(str(length) for length in np.unique(lengths[drifted])[:5])
        yield from _finding("dimension", "error", drifted, f"another length ({others}) than {dim}")
        yield from _finding("not_finite", "error", fits & ~np.isfinite(norms), "NaN or infinity in the vector")
        zero = fits & (norms == 0)
        matters = space is None or space.normalized or space.similarity == "cosine"
        yield from _finding("zero", "error" if matters else "warning", zero, "a vector of zeros")
        off = usable & ~(np.abs(norms - 1) <= UNIT_NORM_TOLERANCE)
        unit_share = 1 - off.sum() / max(usable.sum(), 1)
        if space.normalized if space is not None else unit_share >= UNIT_SHARE:
            yield from _finding("not_unit_norm", "error", off, _norm_message(space, norms[off]))
        ids = np.concatenate(self._id_digests)
        missing = ids == _MISSING
        yield from _finding("missing_id", "error", missing, "no id")
        yield from _finding("duplicate_id", "error", ~missing & _repeated(ids, ~missing), "the id of an earlier row")
        vectors = np.concatenate(self._vector_digests)
        repeated = _repeated(vectors, usable)
        yield from _finding("duplicate_vector", "warning", repeated, "exactly the vector of an earlier row")


def _digests(values: Iterable[str] | Iterable[bytes]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, values), dtype=np.int64)


_MISSING = hash("")


def _rows_as_bytes(vectors: NDArray[np.float32]) -> list[bytes]:
    rows = np.ascontiguousarray(vectors)
    return list(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0].tolist())


def _repeated(digests: NDArray[np.int64], among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which rows have the digest of an earlier one, among some rows (n,)."""
    rows = np.flatnonzero(among)
    _, first = np.unique(digests[rows], return_index=True)
    repeated = np.zeros(len(digests), dtype=bool)
    repeated[rows] = True
    repeated[rows[first]] = False
    return repeated


def _norm_message(space: SpaceVersion | None, norms: NDArray[np.float32]) -> str:
    if len(norms) == 0:
        return ""
    why = "most rows have" if space is None else f"space {space.id} is normalized:"
    return f"a norm other than 1 ({why} unit norm); found {norms.min():.4g} to {norms.max():.4g}"


def _finding(kind: str, severity: Severity, mask: NDArray[np.bool_], what: str) -> Iterator[Finding]:
    rows = np.flatnonzero(mask)
    if len(rows):
        yield Finding(kind, severity, f"{len(rows):,} of {len(mask):,} rows have {what}.", rows.astype(np.int64))
