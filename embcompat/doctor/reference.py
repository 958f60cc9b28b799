"""The reference of a space: mean, covariance and a small sketch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embcompat.artifact import read_arrays
from embcompat.embeddings import Embeddings
from embcompat.errors import ArtifactError, FileFormatError, InputError
from embcompat.spaces import SpaceVersion

SKETCH_ROWS = 512
"""Rows that are set aside to measure how reliable the doctor's findings are [ours]."""

_BLOCK_ROWS = 8_192

_CACHED_ROWS = 1_024
"""Rows of which copies stay in the processor's cache: twice as fast as larger blocks."""


@dataclass(frozen=True, eq=False)
class SpaceReference:
    """The distribution of a space's vectors.

    Attributes:
        space: The space.
        count: Number of vectors from which mean and covariance were computed.
        mean: Array (dim,), float64.
        covariance: Array (dim, dim), float64.
        sketch: Vectors (k, dim) that mean and covariance have not seen; none where vectors must not travel.
    """

    space: SpaceVersion
    count: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    sketch: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"SpaceReference({self.space.id!r}, count={self.count}, sketch={len(self.sketch)})"

    @cached_property
    def _whitening(self) -> tuple[NDArray[np.float32], float]:
        """The matrix that whitens rows, and log det of the covariance, which is shrunk toward its mean diagonal.

        The shrinkage dim / (dim + count) vanishes with data and keeps a small reference invertible [ours].
        """
        dim = self.space.dim
        share = dim / (dim + self.count)
        level = float(np.trace(self.covariance)) / dim
        shrunk = (1 - share) * self.covariance + share * level * np.eye(dim)
        lower = np.linalg.cholesky(shrunk)
        return np.linalg.inv(lower).T.astype(np.float32), 2.0 * float(np.log(np.diag(lower)).sum())

    @property
    def log_determinant(self) -> float:
        """Logarithm of the determinant of the shrunk covariance."""
        return self._whitening[1]

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the squared Mahalanobis distance of each row (n, dim) from the mean; NaN where a row is not finite."""
        mean, squares = self.mean.astype(np.float32), np.empty(len(vectors), dtype=np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, len(vectors), _CACHED_ROWS):
                rows = slice(start, start + _CACHED_ROWS)
                white = (vectors[rows] - mean) @ self._whitening[0]
                squares[rows] = np.einsum("ij,ij->i", white, white)
        return squares

    def deviances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return −2 log likelihood of each row under a Gaussian, up to a constant that all spaces of one dim share."""
        return np.asarray(self.distances(vectors) + np.float32(self.log_determinant))

    def to_bytes(self) -> bytes:
        """Return the reference as safetensors, covariance in float32."""
        from safetensors.numpy import save

        return bytes(
            save(
                {
                    "space": np.frombuffer(self.space.to_json().encode(), dtype=np.uint8),
                    "count": np.array([self.count], dtype=np.int64),
                    "mean": self.mean,
                    "covariance": self.covariance.astype(np.float32),
                    "sketch": self.sketch,
                }
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "the reference") -> SpaceReference:
        """Read a reference back.

        Raises:
            FileFormatError: If the bytes are not a reference.
        """
        try:
            arrays = read_arrays(data, where=where)
            space = SpaceVersion.from_json(arrays["space"].astype(np.uint8).tobytes(), where=where)
            mean, covariance, sketch = (arrays[name] for name in ("mean", "covariance", "sketch"))
            count = int(arrays["count"].reshape(-1)[0])
        except (ArtifactError, InputError, KeyError, IndexError, ValueError, TypeError) as error:
            raise FileFormatError(f"{where} is not the reference of a space: {error}") from error
        dim = space.dim
        shapes = mean.shape == (dim,) and covariance.shape == (dim, dim) and sketch.shape[1:] == (dim,)
        kinds = all(array.dtype.kind == "f" for array in (mean, covariance, sketch))
        if not (shapes and kinds and count > 0 and np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise FileFormatError(f"{where} must hold finite arrays of dimension {dim}, as its space {space.id} says.")
        reference = cls(space, count, mean.astype(np.float64), covariance.astype(np.float64), sketch.astype(np.float32))
        try:
            reference._whitening  # noqa: B018
        except np.linalg.LinAlgError as error:
            raise FileFormatError(f"{where} must hold a positive definite covariance.") from error
        return reference

    def save(self, path: str | Path) -> None:
        """Write the reference to a file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> SpaceReference:
        """Read a reference from a file.

        Raises:
            FileFormatError: If the file is missing or not a reference.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise FileFormatError(f"{path} cannot be read: {error.strerror}.") from error
        return cls.from_bytes(data, where=str(path))


def fit_reference(embeddings: Embeddings, *, sketch_rows: int = SKETCH_ROWS, seed: int = 0) -> SpaceReference:
    """Fit the reference of a space on vectors that are known to belong to it.

    Ten vectors a dimension or more are advised; content like the galleries' makes the judgement sharper. The sketch,
    at most a fifth of the vectors, is set aside first: whole subjects of it where there are labels, because vectors
    of a subject that the covariance has seen would make it look sharper than it is.

    Args:
        embeddings: The vectors.
        sketch_rows: Vectors to keep as they are. Choose 0 where vectors are personal data that must not travel (face
            vectors are biometric data): the doctor then finds what it can, and cannot say how reliably.
        seed: Seed of the choice.

    Raises:
        InputError: If there are fewer vectors than dimensions, or all are the same.
    """
    if sketch_rows < 0:
        raise InputError(f"sketch_rows must be 0 or more. Got {sketch_rows}.")
    aside = _set_aside(embeddings, min(sketch_rows, len(embeddings) // 5), seed)
    rows = np.flatnonzero(~aside)
    dim = embeddings.space.dim
    if len(rows) <= dim:
        raise InputError(
            f"a reference needs more vectors than dimensions ({dim}), beside the sketch. Got {len(rows)}. "
            f"Ten times as many are advised."
        )
    mean = embeddings.vectors[rows].mean(axis=0, dtype=np.float64)
    scatter = np.zeros((dim, dim))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = embeddings.vectors[rows[start : start + _BLOCK_ROWS]] - mean
        scatter += block.T @ block
    if not np.trace(scatter) > 0:
        raise InputError("the vectors of a reference must differ. Got the same vector in every row.")
    sketch = np.ascontiguousarray(embeddings.vectors[aside])
    return SpaceReference(embeddings.space, len(rows), mean, scatter / (len(rows) - 1), sketch)


def _set_aside(embeddings: Embeddings, count: int, seed: int) -> NDArray[np.bool_]:
    """Choose about ``count`` rows, whole subjects where there are labels: a mask (n,)."""
    rng = np.random.default_rng(seed)
    subject = np.arange(len(embeddings))
    if embeddings.labels is not None:
        subject = np.unique(embeddings.labels.astype(str), return_inverse=True)[1]
    sizes = np.bincount(subject)
    chosen = np.zeros(len(sizes), dtype=bool)
    for unit in rng.permutation(len(sizes)):
        if count == 0:
            break
        if sizes[unit] <= count:
            chosen[unit] = True
            count -= sizes[unit]
    return np.asarray(chosen[subject])
