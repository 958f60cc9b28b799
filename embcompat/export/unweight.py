"""Remove the reweighting from an artifact, for galleries that mix native and converted rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners import ReweightedAligner, load_aligner, query_weights, unweight
from embcompat.aligners.reweighted import undo_weighting
from embcompat.artifact import (
    CANARY,
    COHORT,
    CONVERTIBILITY,
    GRAPH,
    MANIFEST,
    PAIRS,
    QUERY_WEIGHTS,
    SCORE_COHORT,
    TEXT_AWARE,
    WEIGHTS,
    Artifact,
    Manifest,
    Metric,
    file_digest,
    read_arrays,
    read_artifact,
)
from embcompat.embeddings import Embeddings, convert_embeddings
from embcompat.errors import InputError
from embcompat.export.directory import fresh_directory
from embcompat.export.files import write_weights
from embcompat.export.graphs import build_graph
from embcompat.export.parity import check_parity, parity_rows
from embcompat.graphs import check_graph
from embcompat.runtime import OnnxAligner
from embcompat.spaces import require_space

UNWEIGHTED = "unweighted_"
"""Prefix of the figures that a reweighted artifact records for its aligner without the reweighting."""


def unweight_artifact(artifact: str | Path | Artifact, path: str | Path, *, overwrite: bool = False) -> Artifact:
    """Save the aligner of a reweighted artifact without its reweighting, as an artifact of its own.

    Reweighting is best where every row is converted. In a gallery that mixes native and converted rows (lazy or partial
    backfill), native rows would score higher than the others regardless of their content: convert such a gallery with
    this artifact instead. The artifact has an id of its own, so a gallery never holds rows of both by mistake. Score
    statistics hold for reweighted rows alone and are left out. A score cohort is carried over, unless its rows have one
    length or come from a chain: then it is left out too. The weighting itself is stored as weights of queries
    (`Artifact.query_weights`), with which `embcompat.serving.WeightedSearch` searches such a gallery.

    Args:
        artifact: The reweighted artifact, or its path.
        path: The artifact directory to make.
        overwrite: Whether an artifact at the path may be replaced.

    Raises:
        InputError: If the artifact is not reweighted, its graph computes in int8, or the path is taken.
    """
    reweighted = artifact if isinstance(artifact, Artifact) else read_artifact(artifact)
    manifest, aligner = reweighted.manifest, load_aligner(reweighted)
    bare = unweight(aligner)
    if bare is aligner:
        raise InputError(
            f"{reweighted.path} must be reweighted. It is not: native rows may stand among its rows as they are."
        )
    if any(metric.name == "int8_mean_cosine" for metric in manifest.metrics):
        raise InputError(f"{reweighted.path} computes in int8, which loses the weights. Fit it without --quantize.")
    with fresh_directory(Path(path), overwrite=overwrite) as directory:
        write_weights(bare, directory / WEIGHTS)
        model = build_graph(bare)
        check_parity(bare, model.SerializeToString(), parity_rows(reweighted.source))
        _carry_convertibility(onnx.load_model_from_string(reweighted.graph()), model)
        data = model.SerializeToString()
        check_graph(data)
        (directory / GRAPH).write_bytes(data)
        for name in {PAIRS, CANARY} & set(manifest.files):
            shutil.copyfile(reweighted.path / name, directory / name)
        if COHORT in manifest.files and isinstance(aligner, ReweightedAligner) and aligner.length is None:
            _write_cohort(reweighted, aligner, directory / COHORT)
        if (weights := query_weights(aligner)) is not None:
            _write_query_weights(weights, directory / QUERY_WEIGHTS)
        copy = Manifest(
            kind=bare.kind,
            config=bare.config(),
            source=manifest.source,
            target=manifest.target,
            direction=manifest.direction,
            pairs_digest=manifest.pairs_digest,
            split=manifest.split,
            metrics=_unweighted_metrics(manifest),
            calibration=_calibration(manifest, cohort=(directory / COHORT).exists()),
            versions=manifest.versions,
            files={entry.name: file_digest(entry) for entry in directory.iterdir()},
        )
        (directory / MANIFEST).write_bytes(copy.to_bytes())
    return read_artifact(path)


def convert_unweighted(aligner: OnnxAligner, embeddings: Embeddings) -> Embeddings:
    """Convert embeddings without the aligner's reweighting, where it has one.

    The reweighting is undone after the conversion, so that a neural base needs no torch (`undo_weighting`). Two kinds
    are loaded without it instead: a text-aware aligner, which has two maps with a weighting each, and an aligner whose
    rows have one length, which does not tell what length they had.

    Args:
        aligner: The aligner that converts.
        embeddings: Vectors of the artifact's source space, with texts where it reads texts.

    Raises:
        SpaceMismatchError: If the embeddings are in another space than the artifact's source.
    """
    artifact, manifest = aligner.artifact, aligner.artifact.manifest
    if not manifest.is_reweighted:
        return aligner.convert(embeddings)
    weights, steps = artifact.weights(), manifest.config.get("steps")
    prefix = f"{len(steps) - 1}." if isinstance(steps, list) else ""
    if manifest.kind == TEXT_AWARE or f"{prefix}origin" in weights:
        require_space(embeddings.space, artifact.source, what="The vectors to convert")
        return convert_embeddings(unweight(load_aligner(artifact)), embeddings, artifact.target)
    weight, bias = weights[f"{prefix}weight"], weights[f"{prefix}bias"]
    converted = aligner.convert(embeddings)
    vectors = undo_weighting(converted.vectors, weight, bias, normalize=bool(manifest.config["normalize"]))
    return Embeddings(
        vectors, converted.ids, converted.space, converted.labels, converted.texts, row_numbers=converted.row_numbers
    )


def read_query_weights(artifact: Artifact) -> NDArray[np.float32] | None:
    """Return the weights for queries of a gallery that holds an artifact's rows without their reweighting.

    Args:
        artifact: A reweighted artifact, or one that `unweight_artifact` made from it.

    Returns:
        Weights (target_dim, target_dim), see `embcompat.aligners.query_weights`; None where there was no reweighting.
    """
    return query_weights(load_aligner(artifact)) if artifact.manifest.is_reweighted else artifact.query_weights()


def _calibration(manifest: Manifest, *, cohort: bool) -> dict[str, JsonValue]:
    """Return what the manifest recorded, without the score cohort where that is left out."""
    return {name: value for name, value in manifest.calibration.items() if cohort or name != SCORE_COHORT}


def _unweighted_metrics(manifest: Manifest) -> tuple[Metric, ...]:
    """Return the figures that were measured without the reweighting, under their plain names."""
    return tuple(
        metric.model_copy(update={"name": metric.name.removeprefix(UNWEIGHTED)})
        for metric in manifest.metrics
        if metric.name.startswith(UNWEIGHTED)
    )


def _carry_convertibility(source: onnx.ModelProto, target: onnx.ModelProto) -> None:
    """Copy the score of convertibility, which reads the vectors alone, from one graph to another."""
    for field in ("initializer", "node", "output"):
        values = [each for each in getattr(source.graph, field) if each.name.split(".")[0] == CONVERTIBILITY]
        getattr(target.graph, field).extend(values)
    onnx.checker.check_model(target, full_check=True)


def _write_query_weights(weights: NDArray[np.float32], path: Path) -> None:
    from safetensors.numpy import save

    path.write_bytes(save({"weights": np.ascontiguousarray(weights)}))


def _write_cohort(artifact: Artifact, aligner: ReweightedAligner, path: Path) -> None:
    """Write the score cohort as converted without the reweighting."""
    from safetensors.numpy import save

    arrays = read_arrays((artifact.path / COHORT).read_bytes(), where=COHORT)
    weights = aligner.weight, aligner.bias
    arrays["converted"] = undo_weighting(arrays["converted"], *weights, normalize=aligner.normalize)
    path.write_bytes(save(arrays))
