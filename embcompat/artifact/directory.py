"""The directory of an artifact: it is read and verified, and nothing in it is executed."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat import graphs
from embcompat.artifact.manifest import (
    CANARY,
    COHORT,
    FEATURES,
    GRAPH,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PAIRS,
    QUERY_WEIGHTS,
    SCORE_COHORT,
    STATISTICS,
    WEIGHTS,
    Manifest,
    parse_manifest,
)
from embcompat.errors import ArtifactError, InputError
from embcompat.spaces import SpaceVersion

_MAX_FILE_BYTES = 2 << 30
"""Largest file of an artifact; an ONNX graph cannot be larger anyway."""

_Moments = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Artifact:
    """An artifact whose files were all verified when it was read.

    Attributes:
        path: Its directory.
        id: SHA-256 of the manifest's bytes, as 64 hex digits.
        manifest: Its manifest.
    """

    path: Path
    id: str
    manifest: Manifest

    def __repr__(self) -> str:
        spaces = f"{self.source.id} -> {self.target.id}"
        return f"Artifact({str(self.path)!r}, {self.manifest.kind!r}, {spaces!r}, id={self.id[:12]!r})"

    @property
    def source(self) -> SpaceVersion:
        """Space of the vectors that go in."""
        return self.manifest.source

    @property
    def target(self) -> SpaceVersion:
        """Space of the vectors that come out."""
        return self.manifest.target

    def weights(self) -> dict[str, NDArray[Any]]:
        """Read the aligner's arrays."""
        return _read_finite(self.path / WEIGHTS)

    def graph(self) -> bytes:
        """Read the ONNX graph, and refuse one that refers to anything outside itself."""
        data = (self.path / GRAPH).read_bytes()
        graphs.check_graph(data)
        return data

    def pair_ids(self, *parts: str) -> set[str]:
        """Return the ids of the pairs in the given parts (all parts when none is named).

        These items were embedded with the new model: an evaluation serves them as native rows and counts them.
        """
        if PAIRS not in self.manifest.files:
            return set()
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path / PAIRS)
            rows = list(zip(table.column("id").to_pylist(), table.column("split").to_pylist(), strict=True))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise ArtifactError(f"{self.path / PAIRS} must list id and split of every pair: {error}") from error
        return {identifier for identifier, part in rows if not parts or part in parts}

    def canary(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return the canary: held-out source and target vectors of the same items, or None."""
        if CANARY not in self.manifest.files:
            return None
        arrays = _read_finite(self.path / CANARY)
        arrays.pop(FEATURES, None)
        actual = {name: (array.dtype, array.ndim, array.shape[-1:]) for name, array in arrays.items()}
        dims = {"source": self.source.dim, "target": self.target.dim}
        expected = {name: (np.dtype(np.float32), 2, (dim,)) for name, dim in dims.items()}
        if actual != expected or len(arrays["source"]) != len(arrays["target"]):
            raise ArtifactError(f"{self.path / CANARY} must hold float32 vectors of the artifact's two spaces.")
        return arrays["source"], arrays["target"]

    def canary_features(self) -> NDArray[np.float32] | None:
        """Return the encoder's features of the canary's texts (n, encoder_dim), or None. Texts are not stored."""
        if CANARY not in self.manifest.files:
            return None
        arrays = _read_finite(self.path / CANARY)
        features = arrays.get(FEATURES)
        if features is not None and (features.ndim != 2 or len(features) != len(arrays["source"])):
            raise ArtifactError(f"{self.path / CANARY} must hold features for each of its pairs.")
        return features

    def cohort(self) -> tuple[NDArray[np.float32], NDArray[np.float32], int] | None:
        """Return the score cohort: converted and native vectors of the same people, and how many scores count.

        None where the artifact carries none.
        """
        if COHORT not in self.manifest.files:
            return None
        arrays = _read_finite(self.path / COHORT)
        actual = {name: (array.dtype, array.ndim, array.shape[-1:]) for name, array in arrays.items()}
        expected = dict.fromkeys(("converted", "native"), (np.dtype(np.float32), 2, (self.target.dim,)))
        if actual != expected or len(arrays["converted"]) != len(arrays["native"]):
            raise ArtifactError(f"{self.path / COHORT} must hold float32 vectors of people in the target space.")
        calibration = self.manifest.calibration.get(SCORE_COHORT)
        top = calibration.get("top") if isinstance(calibration, dict) else None
        if not isinstance(top, int) or not 2 <= top <= len(arrays["native"]):
            raise ArtifactError(f"the manifest of {self.path} must say how many scores of the cohort count.")
        return arrays["converted"], arrays["native"], top

    def score_statistics(self) -> dict[str, _Moments] | None:
        """Return mean (dim,), covariance (dim, dim) and weights (2, 3) of people, ``converted`` and ``native``.

        The covariance has a row and a column more in a space of Euclidean distances. None where the artifact carries
        none.
        """
        if STATISTICS not in self.manifest.files:
            return None
        arrays, dim = _read_finite(self.path / STATISTICS), self.target.dim
        wide = dim + (self.target.similarity == "euclidean")
        shapes = {"mean": (dim,), "covariance": (wide, wide), "weights": (2, 3)}
        sides = ("converted", "native")
        expected = {f"{side}.{name}": (np.dtype(np.float32), shape) for side in sides for name, shape in shapes.items()}
        if {name: (array.dtype, array.shape) for name, array in arrays.items()} != expected:
            raise ArtifactError(f"{self.path / STATISTICS} must hold mean, covariance and weights in the target space.")
        return {
            side: (arrays[f"{side}.mean"], arrays[f"{side}.covariance"], arrays[f"{side}.weights"]) for side in sides
        }

    def query_weights(self) -> NDArray[np.float32] | None:
        """Return the weights of queries (target_dim, target_dim), see `embcompat.aligners.query_weights`, or None."""
        if QUERY_WEIGHTS not in self.manifest.files:
            return None
        arrays, dim = _read_finite(self.path / QUERY_WEIGHTS), self.target.dim
        if {name: (array.dtype, array.shape) for name, array in arrays.items()} != {
            "weights": (np.dtype(np.float32), (dim, dim))
        }:
            raise ArtifactError(f"{self.path / QUERY_WEIGHTS} must hold float32 weights of shape ({dim}, {dim}).")
        return arrays["weights"]


def read_artifact(path: str | Path) -> Artifact:
    """Read an artifact and verify the digest of every file.

    Raises:
        InputError: If there is no artifact at the path.
        ArtifactError: If a file is missing, damaged or not listed, the manifest is not in canonical form, or the
            schema version is unknown.
    """
    directory = Path(path)
    if not (directory / MANIFEST).is_file():
        hint = ""
        if (directory / "forward" / MANIFEST).is_file():
            hint = f" It holds a pair of aligners: pass {directory / 'forward'} or {directory / 'backward'}."
        raise InputError(f"{directory} is not an artifact: it has no {MANIFEST}.{hint}")
    try:
        return _verified(directory)
    except OSError as error:
        raise ArtifactError(f"{directory} cannot be read: {error}") from error


def _verified(directory: Path) -> Artifact:
    """Read an existing artifact; only regular files of a plausible size are opened."""
    _require_plain_file(directory / MANIFEST, MAX_MANIFEST_BYTES)
    data = (directory / MANIFEST).read_bytes()
    manifest = parse_manifest(data, where=str(directory / MANIFEST))
    present = {entry.name for entry in directory.iterdir()} - {MANIFEST}
    if present != set(manifest.files):
        missing, extra = sorted(set(manifest.files) - present), sorted(present - set(manifest.files))
        raise ArtifactError(
            f"{directory} must hold exactly the files that its manifest lists. Missing: {missing}. Not listed: {extra}."
        )
    for name, expected in manifest.files.items():
        _require_plain_file(directory / name, _MAX_FILE_BYTES)
        actual = file_digest(directory / name)
        if actual != expected:
            raise ArtifactError(
                f"{directory / name} is damaged: its SHA-256 is {actual[:12]}…, the manifest says {expected[:12]}…. "
                "Fetch the artifact again."
            )
    return Artifact(directory, hashlib.sha256(data).hexdigest(), manifest)


def _require_plain_file(path: Path, limit: int) -> None:
    """Refuse what must not be opened: a pipe or a device would never end, and a huge file would fill the memory."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{path} must be a regular file.")
    if status.st_size > limit:
        raise ArtifactError(f"{path} must be at most {limit:,} bytes. Got {status.st_size:,}.")


def read_arrays(data: bytes, *, where: str) -> dict[str, NDArray[Any]]:
    """Read named arrays from safetensors bytes.

    Raises:
        ArtifactError: If the bytes are not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{where} is not a readable safetensors file: {error}") from error


def _read_finite(path: Path) -> dict[str, NDArray[Any]]:
    """Read named arrays and refuse NaN and infinity."""
    arrays = read_arrays(path.read_bytes(), where=path.name)
    broken = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ArtifactError(f"{path} must hold finite numbers. Got NaN or infinity in {', '.join(sorted(broken))}.")
    return arrays


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
