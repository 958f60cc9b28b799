"""The manifest of an artifact."""

from __future__ import annotations

import json
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from embcompat import graphs
from embcompat.errors import ArtifactError
from embcompat.spaces import SpaceVersion

SCHEMA_VERSION: Final = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
GRAPH = graphs.FILE
PAIRS = "pairs.parquet"
CANARY = "canary.safetensors"
COHORT = "cohort.safetensors"
STATISTICS = "statistics.safetensors"
QUERY_WEIGHTS = "query_weights.safetensors"
CONVERTIBILITY = "convertibility"
SCORE_COHORT = "score_cohort"
FEATURES = "features"
PLAIN = "plain"
TEXT_AWARE = "text_aware"
REWEIGHTED = "reweighted"
CHANCE = "chance"
REFIT = "refit"

REQUIRED_FILES = frozenset({WEIGHTS, GRAPH})
OPTIONAL_FILES = frozenset({PAIRS, CANARY, COHORT, STATISTICS, QUERY_WEIGHTS})

Direction = Literal["forward", "backward"]
"""forward: old vectors move to the new (or a shared) space. backward: new vectors move to the old or a shared one."""

_SHA256 = r"^[0-9a-f]{64}$"
_KIND = r"^[a-z][a-z0-9_]*$"
MAX_MANIFEST_BYTES = 4 << 20


class Metric(BaseModel):
    """One measured figure with its 95 % interval.

    Attributes:
        name: The measured figure, for instance ``mean_cosine``.
        value: The figure; rates and retrieval metrics are fractions.
        low: Lower end of the interval, or None.
        high: Upper end of the interval, or None.
        count: Number of rows, queries or subjects it was measured on.
        part: The part of the data: ``validation`` or ``test``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int = Field(ge=0)
    part: Literal["validation", "test"] = "test"


class Manifest(BaseModel):
    """The manifest of an artifact: what it is, what was measured, and the digests of its files.

    Attributes:
        schema_version: Version of this layout.
        kind: The kind of aligner; a key of `embcompat.aligners.ALIGNERS`.
        config: The aligner's options.
        source: Space of the vectors that go in.
        target: Space of the vectors that come out.
        direction: The side that is converted.
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

    @property
    def is_reweighted(self) -> bool:
        """Whether native rows must not be mixed with the rows that the aligner makes."""
        parts, steps = (self.config.get(name) for name in ("parts", "steps"))  # the last step of a chain decides
        inner = [*(parts if isinstance(parts, list) else ()), *(steps[-1:] if isinstance(steps, list) else ())]
        kinds = [part.get("kind") for part in inner if isinstance(part, dict)]
        return REWEIGHTED in (self.kind, *kinds)

    def to_bytes(self) -> bytes:
        """Return the canonical form: sorted keys, no spaces, UTF-8, one final newline."""
        text = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode() + b"\n"


def parse_manifest(data: bytes, *, where: str = MANIFEST) -> Manifest:
    """Parse the bytes of a manifest.

    Raises:
        ArtifactError: If they are not a manifest of this schema version in canonical form.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ArtifactError(f"{where} must be at most {MAX_MANIFEST_BYTES} bytes. Got {len(data)}.")
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
