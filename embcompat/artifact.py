"""The artifact: an aligner on disk, with everything needed to trust it.

An artifact is a directory::

    manifest.json         what it is, canonical JSON; the artifact's id is the SHA-256 of these exact bytes
    weights.safetensors   the aligner's arrays
    aligner.onnx          the whole map in one graph; a second output may say how far to trust a conversion
    pairs.parquet         id and split of every pair, so that no evaluation uses what was fitted
    canary.safetensors    a few held-out pairs that a conversion is tried on (optional)
    cohort.safetensors    fitted people, converted and native, against whom scores are normalized (optional)

The manifest lists the SHA-256 of every other file, so the id changes when any byte does. Digests detect damage, not
attackers: whoever can write the directory can write a consistent one.
"""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from embcompat import graphs
from embcompat.errors import ArtifactError, InputError
from embcompat.spaces import SpaceVersion

SCHEMA_VERSION: Final = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
GRAPH = graphs.FILE
PAIRS = "pairs.parquet"
CANARY = "canary.safetensors"
COHORT = "cohort.safetensors"
CONVERTIBILITY = "convertibility"
SCORE_COHORT = "score_cohort"
FEATURES = "features"
PLAIN = "plain"
TEXT_AWARE = "text_aware"
CHANCE = "chance"
REFIT = "refit"

REQUIRED_FILES = frozenset({WEIGHTS, GRAPH})
OPTIONAL_FILES = frozenset({PAIRS, CANARY, COHORT})

Direction = Literal["forward", "backward"]
"""forward: old vectors move to the new (or a shared) space. backward: new vectors move to the old or a shared one."""

_SHA256 = r"^[0-9a-f]{64}$"
_KIND = r"^[a-z][a-z0-9_]*$"
_MAX_MANIFEST_BYTES = 4 << 20
_MAX_FILE_BYTES = 2 << 30
"""Largest file of an artifact; an ONNX graph cannot be larger anyway."""


class Metric(BaseModel):
    """One measured figure with its 95 % interval.

    Attributes:
        name: What was measured, for instance ``mean_cosine``.
        value: The figure; rates and retrieval metrics are fractions.
        low: Lower end of the interval, or None.
        high: Upper end of the interval, or None.
        count: Number of rows, queries or subjects it was measured on.
        part: Which part of the data: ``validation`` or ``test``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int = Field(ge=0)
    part: Literal["validation", "test"] = "test"


class Manifest(BaseModel):
    """What an artifact says of itself.

    Attributes:
        schema_version: Version of this very layout.
        kind: Which aligner; a key of `embcompat.aligners.ALIGNERS`.
        config: The aligner's options.
        source: Space of the vectors that go in.
        target: Space of the vectors that come out.
        direction: Which side moves.
        pairs_digest: SHA-256 of the training pairs, or None when they were not given.
        split: Number of pairs in each part.
        metrics: Measured figures.
        calibration: Fitted score calibrations and transferred thresholds, by name; also ``chance``, whether held-out
            conversions were better than chance, and ``refit``, where the aligner was fitted on all pairs and the
            metrics, of the aligner of the split, are a lower bound.
        versions: Versions of the packages that wrote it.
        files: SHA-256 of every other file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: str = Field(pattern=_KIND, max_length=50)
    config: dict[str, JsonValue]
    source: SpaceVersion
    target: SpaceVersion
    direction: Direction = "forward"
    pairs_digest: str | None = Field(default=None, pattern=_SHA256)
    split: dict[str, int] = Field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    calibration: dict[str, JsonValue] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str]

    def to_bytes(self) -> bytes:
        """Return the canonical form: sorted keys, no spaces, UTF-8, one final newline."""
        text = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode() + b"\n"


@dataclass(frozen=True)
class Artifact:
    """An artifact whose files were all verified when it was read.

    Attributes:
        path: Its directory.
        id: SHA-256 of the manifest's bytes, as 64 hex digits.
        manifest: What it says of itself.
    """

    path: Path
    id: str
    manifest: Manifest

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
        """Read the ONNX graph and refuse what could reach outside it."""
        data = (self.path / GRAPH).read_bytes()
        graphs.check_graph(data)
        return data

    def pair_ids(self, *parts: str) -> set[str]:
        """Return the ids of the pairs in the given parts (all parts when none is named).

        These items have been embedded with the new model: an evaluation serves them native and counts them.
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
        """Return what the static encoder made of the canary's texts (n, encoder_dim), or None: texts are not kept."""
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
    """Read an artifact that is there; only regular files of a plausible size are opened."""
    _require_plain_file(directory / MANIFEST, _MAX_MANIFEST_BYTES)
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


def parse_manifest(data: bytes, *, where: str = MANIFEST) -> Manifest:
    """Parse the bytes of a manifest.

    Raises:
        ArtifactError: If they are not a manifest of this schema version in canonical form.
    """
    if len(data) > _MAX_MANIFEST_BYTES:
        raise ArtifactError(f"{where} must be at most {_MAX_MANIFEST_BYTES} bytes. Got {len(data)}.")
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where} is not JSON: {error}") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{where} has schema version {version!r}; this embcompat reads version {SCHEMA_VERSION}. "
            "Read it with the embcompat that wrote it, or update embcompat."
        )
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{where} is not a manifest. {field}: {first['msg']}.") from error
    names = set(manifest.files)
    if not REQUIRED_FILES <= names <= REQUIRED_FILES | OPTIONAL_FILES:
        raise ArtifactError(f"{where} must list {sorted(REQUIRED_FILES)}. Got {sorted(names)}.")
    try:
        canonical = manifest.to_bytes()
    except (ValueError, RecursionError) as error:  # NaN, or text that UTF-8 cannot write
        raise ArtifactError(f"{where} cannot be written in canonical form: {error}") from error
    if canonical != data:
        raise ArtifactError(f"{where} is not in canonical form, so its id would not be unique. Write it again.")
    return manifest


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
