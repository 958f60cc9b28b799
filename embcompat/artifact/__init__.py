"""The artifact: an aligner on disk, with everything needed to trust it.

An artifact is a directory::

    manifest.json         what it is, canonical JSON; the artifact's id is the SHA-256 of these exact bytes
    weights.safetensors   the aligner's arrays
    aligner.onnx          the whole map in one graph; a second output may say how far to trust a conversion
    pairs.parquet         id and split of every pair, so that no evaluation uses what was fitted
    canary.safetensors    a few held-out pairs that a conversion is tried on (optional)
    cohort.safetensors    fitted people, converted and native, against whom scores are normalized (optional)
    statistics.safetensors  mean and covariance of such people instead (optional)
    query_weights.safetensors  what weighs queries of a gallery without reweighted rows (optional)

The manifest lists the SHA-256 of every other file, so the id changes when any byte does. Digests detect damage, not
attackers: whoever can write the directory can write a consistent one.
"""

from embcompat.artifact.directory import Artifact, file_digest, read_arrays, read_artifact
from embcompat.artifact.manifest import (
    CANARY,
    CHANCE,
    COHORT,
    CONVERTIBILITY,
    FEATURES,
    GRAPH,
    MANIFEST,
    PAIRS,
    PLAIN,
    QUERY_WEIGHTS,
    REFIT,
    REWEIGHTED,
    SCORE_COHORT,
    STATISTICS,
    TEXT_AWARE,
    WEIGHTS,
    Direction,
    Manifest,
    Metric,
    parse_manifest,
)

__all__ = [
    "CANARY",
    "CHANCE",
    "COHORT",
    "CONVERTIBILITY",
    "FEATURES",
    "GRAPH",
    "MANIFEST",
    "PAIRS",
    "PLAIN",
    "QUERY_WEIGHTS",
    "REFIT",
    "REWEIGHTED",
    "SCORE_COHORT",
    "STATISTICS",
    "TEXT_AWARE",
    "WEIGHTS",
    "Artifact",
    "Direction",
    "Manifest",
    "Metric",
    "file_digest",
    "parse_manifest",
    "read_arrays",
    "read_artifact",
]
