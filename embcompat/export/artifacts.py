"""Save an aligner as an artifact directory."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners import Aligner, AlignerPair, unweight
from embcompat.aligners.text import TextAwareAligner
from embcompat.artifact import (
    CANARY,
    CHANCE,
    COHORT,
    CONVERTIBILITY,
    GRAPH,
    MANIFEST,
    PAIRS,
    REFIT,
    SCORE_COHORT,
    STATISTICS,
    WEIGHTS,
    Artifact,
    Direction,
    Manifest,
    Metric,
    file_digest,
    read_artifact,
)
from embcompat.embeddings import PairedEmbeddings, PairSplit
from embcompat.errors import InputError
from embcompat.export.convertibility import (
    Convertibility,
    add_convertibility,
    check_convertibility,
    fit_convertibility,
)
from embcompat.export.directory import fresh_directory
from embcompat.export.figures import HeldOutFigures, held_out_part, measure_held_out
from embcompat.export.files import Canary, write_canary, write_cohort, write_pairs, write_statistics, write_weights
from embcompat.export.graphs import build_graph
from embcompat.export.parity import check_parity, parity_rows
from embcompat.export.quantize import check_int8, quantize_int8
from embcompat.export.unweight import UNWEIGHTED
from embcompat.graphs import check_graph
from embcompat.spaces import SpaceVersion


def save_artifact(
    aligner: Aligner,
    path: str | Path,
    *,
    source: SpaceVersion,
    target: SpaceVersion,
    split: PairSplit | None = None,
    measured: Aligner | AlignerPair | None = None,
    refitted: bool = False,
    part_of: Mapping[str, str] | None = None,
    metrics: Sequence[Metric] = (),
    calibration: Mapping[str, JsonValue] | None = None,
    direction: Direction = "forward",
    int8: bool = False,
    canary: Canary = True,
    score_cohort: int = 0,
    score_statistics: bool = False,
    overwrite: bool = False,
) -> Artifact:
    """Save an aligner as an artifact directory; it appears only when it is complete and checked.

    Where ``split`` has a test part, the artifact records the aligner's figures on it, with intervals, and whether they
    are better than chance. An aligner at chance level is marked, and converts nothing unless forced.

    Args:
        aligner: The aligner to save.
        path: The directory to make.
        source: Space of the vectors that go in.
        target: Space of the vectors that come out.
        split: The pairs it was fitted and tested on. Without them the artifact cannot say which items an evaluation
            must leave out, and has no figures and no canary; without held-out pairs among them it has no
            convertibility.
        measured: What the figures are taken from, where that is not ``aligner``: the aligner that was fitted without
            the held-out pairs, or the pair of aligners that this one is of.
        refitted: Whether ``aligner`` was fitted on all pairs, the held-out ones too. Needs ``measured``, whose figures
            are then a lower bound; all pairs are recorded as fitted.
        part_of: Instead of ``split``, the part that each item was in, by id: for an aligner that is made of others.
        metrics: More measured figures to record; one of a name that is measured here replaces it.
        calibration: Fitted calibrations to record, by name.
        direction: Which side moves.
        int8: Whether the graph computes in int8; needs ``split``, whose held-out pairs show what that costs. Where the
            aligner is ``refitted``, they show what it costs ``measured``.
        canary: Whether to store 64 held-out pairs, on which every conversion is tried. Where vectors are personal data
            that must not travel (face vectors are biometric data), choose ``"blended"``, which stores blends of twenty
            people each (`blend_people`), or False.
        score_cohort: How many fitted people to store, one vector each, converted and native, so that scores can be
            normalized where they are served; needs ``split`` with labels. Face vectors are biometric data: such an
            artifact needs the protection that the gallery needs.
        score_statistics: Whether to store what scores are normalized by as mean and covariance of at least a hundred
            fitted people instead (`CohortMoments`), which hold nobody's vector.
        overwrite: Whether an artifact at the path may be replaced.

    Raises:
        InputError: If the aligner does not map source to target, the path is taken, no score cohort can be drawn, or
            both a cohort and statistics are asked for.
        ParityError: If the exported graph does not compute what the aligner computes, or int8 costs too much.
    """
    _check_dims(aligner, source, target)
    if score_cohort and score_statistics:
        raise InputError("an artifact carries a score cohort or score statistics. Got both: choose one.")
    if refitted and (measured is None or split is None):
        raise InputError("an aligner that was fitted on all pairs needs split=… and measured=…, for its figures.")
    if int8 and (split is None or held_out_part(split) is None):
        raise InputError("an int8 graph needs held-out pairs to measure what it costs. Pass split=….")
    with fresh_directory(Path(path), overwrite=overwrite) as directory:
        write_weights(aligner, directory / WEIGHTS)
        convertibility = None if split is None else _fit_convertibility(split, source)
        judged = aligner if measured is None else measured
        figures = None if split is None else _figures(judged, split, source, target)
        rounded = aligner if isinstance(judged, AlignerPair) else judged
        written = _write_graph(aligner, rounded, directory / GRAPH, source, split, convertibility, int8=int8)
        names = {metric.name for metric in metrics}
        measured_here = [metric for metric in (figures.metrics if figures else ()) if metric.name not in names]
        metrics = [*measured_here, *metrics, *written]
        recorded = dict(calibration or {})
        if figures is not None:
            recorded[CHANCE] = figures.chance.to_dict()
        if convertibility is not None:
            recorded[CONVERTIBILITY] = convertibility.calibration()
        if split is not None:
            part_of = {item: name for name, part in split.parts().items() for item in part.ids.tolist()}
            if refitted:
                part_of = dict.fromkeys(part_of, "train")
                recorded[REFIT] = {"fitted": len(part_of), "measured": len(split.train) + len(split.validation)}
            if canary and (held_out := held_out_part(split)) is not None:
                write_canary(aligner, held_out, target, directory / CANARY, blended=canary == "blended")
        if score_statistics:
            write_statistics(aligner, split, directory / STATISTICS)
        if score_cohort:
            recorded[SCORE_COHORT] = write_cohort(aligner, split, score_cohort, directory / COHORT)
        if part_of is not None:
            write_pairs(part_of, directory / PAIRS)
        manifest = Manifest(
            kind=aligner.kind,
            config=aligner.config(),
            source=source,
            target=target,
            direction=direction,
            pairs_digest=None if split is None else pairs_digest(*_fitted_parts(split, refitted=refitted)),
            split=dict(Counter((part_of or {}).values()))
            if split is None
            else {name: len(part) for name, part in split.parts().items()},
            metrics=tuple(metrics),
            calibration=recorded,
            versions=_versions(),
            files={entry.name: file_digest(entry) for entry in directory.iterdir()},
        )
        (directory / MANIFEST).write_bytes(manifest.to_bytes())
    return read_artifact(path)


def save_aligner_pair(
    pair: AlignerPair,
    path: str | Path,
    *,
    old: SpaceVersion,
    new: SpaceVersion,
    shared: SpaceVersion,
    split: PairSplit | None = None,
    metrics: Sequence[Metric] = (),
    overwrite: bool = False,
) -> tuple[Artifact, Artifact]:
    """Save both maps of a pair, as ``path/forward`` (old → shared) and ``path/backward`` (new → shared).

    Neither has a canary: held-out vectors of the shared space do not exist apart from the maps themselves.
    """
    for aligner, space in ((pair.forward_map, old), (pair.backward_map, new)):
        _check_dims(aligner, space, shared)
    with fresh_directory(Path(path), overwrite=overwrite) as directory:
        for name, aligner, space in (("forward", pair.forward_map, old), ("backward", pair.backward_map, new)):
            save_artifact(
                aligner,
                directory / name,
                source=space,
                target=shared,
                split=split,
                measured=pair,
                metrics=metrics,
                direction="forward" if name == "forward" else "backward",
                canary=False,
            )
    return read_artifact(Path(path) / "forward"), read_artifact(Path(path) / "backward")


def pairs_digest(*parts: PairedEmbeddings) -> str:
    """Return the SHA-256 of pairs: ids, source vectors, target vectors of each part, in their order."""
    digest = hashlib.sha256()
    for pairs in parts:
        digest.update("\0".join(pairs.ids.tolist()).encode())
        digest.update(pairs.source.vectors.data)
        digest.update(pairs.target.vectors.data)
    return digest.hexdigest()


def _fitted_parts(split: PairSplit, *, refitted: bool) -> list[PairedEmbeddings]:
    return [part for part in split.parts().values() if len(part)] if refitted else [split.train]


def _figures(
    measured: Aligner | AlignerPair, split: PairSplit, source: SpaceVersion, target: SpaceVersion
) -> HeldOutFigures | None:
    """Measure where the pairs are of the artifact's spaces, or of those that a pair of aligners joins."""
    pairs = split.train
    if getattr(measured, "reads_texts", False) and pairs.source.texts is None:
        return None
    if not isinstance(measured, AlignerPair) and (pairs.source.space, pairs.target.space) != (source, target):
        return None
    figures = measure_held_out(measured, split)
    if figures is None or isinstance(measured, AlignerPair) or (bare := unweight(measured)) is measured:
        return figures
    unweighted = measure_held_out(bare, split)
    extra = [
        metric.model_copy(update={"name": f"{UNWEIGHTED}{metric.name}"})
        for metric in (unweighted.metrics if unweighted else ())
    ]
    return replace(figures, metrics=(*figures.metrics, *extra))


def _check_dims(aligner: Aligner, source: SpaceVersion, target: SpaceVersion) -> None:
    if (aligner.source_dim, aligner.target_dim) != (source.dim, target.dim):
        raise InputError(
            f"the aligner must map {source.dim} to {target.dim} dimensions, as {source.id} and {target.id} say. "
            f"Got {aligner.source_dim} to {aligner.target_dim}: is it the wrong direction?"
        )


def _write_graph(
    aligner: Aligner,
    judged: Aligner,
    path: Path,
    source: SpaceVersion,
    split: PairSplit | None,
    convertibility: Convertibility | None,
    *,
    int8: bool,
) -> list[Metric]:
    """Write the checked graph; return what int8 costs the aligner that is judged, if asked for."""
    if int8 and isinstance(aligner, TextAwareAligner):
        raise InputError("int8 is for aligners that read vectors alone. Got a text_aware one.")
    model = build_graph(aligner)
    rows = parity_rows(source) if split is None else np.ascontiguousarray(_source_vectors(split.train, source)[:256])
    check_parity(aligner, model.SerializeToString(), rows)
    metrics: list[Metric] = []
    if int8 and split is not None and (held_out := held_out_part(split)) is not None:
        model = quantize_int8(model, split.train.source.vectors)
        # A graph that was fitted on the held-out pairs too cannot be judged by them.
        small = model if judged is aligner else quantize_int8(build_graph(judged), split.train.source.vectors)
        exact, rounded = check_int8(judged, small, held_out)
        part: Literal["validation", "test"] = "test" if len(split.test) else "validation"
        for name, value in (("float32_mean_cosine", exact), ("int8_mean_cosine", rounded)):
            metrics.append(Metric(name=name, value=value, count=len(held_out), part=part))
    if convertibility is not None:
        model = add_convertibility(model, convertibility)
        check_convertibility(convertibility, model.SerializeToString(), rows)
    data = model.SerializeToString()
    check_graph(data)
    path.write_bytes(data)
    return metrics


def _fit_convertibility(split: PairSplit, source: SpaceVersion) -> Convertibility | None:
    held_out = held_out_part(split)
    if held_out is None:
        return None
    return fit_convertibility(_source_vectors(split.train, source), _source_vectors(held_out, source))


def _source_vectors(pairs: PairedEmbeddings, source: SpaceVersion) -> NDArray[np.float32]:
    """Return the side of the pairs that the aligner reads: of a pair of aligners, one reads the new side."""
    return pairs.target.vectors if pairs.target.space == source else pairs.source.vectors


def _versions() -> dict[str, str]:
    names = ("embcompat", "numpy", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
