"""Save an aligner as an artifact directory."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners import Aligner, AlignerPair
from embcompat.aligners.text import TextAwareAligner
from embcompat.artifact import (
    CANARY,
    COHORT,
    CONVERTIBILITY,
    FEATURES,
    GRAPH,
    MANIFEST,
    PAIRS,
    SCORE_COHORT,
    WEIGHTS,
    Artifact,
    Direction,
    Manifest,
    Metric,
    file_digest,
    read_artifact,
)
from embcompat.embeddings import PairedEmbeddings, PairSplit, convert_embeddings, normalize_rows
from embcompat.errors import InputError, ParityError
from embcompat.export.convertibility import (
    Convertibility,
    add_convertibility,
    check_convertibility,
    fit_convertibility,
)
from embcompat.export.graphs import build_graph, graph_case
from embcompat.export.quantize import check_int8, quantize_int8
from embcompat.graphs import check_graph
from embcompat.spaces import SpaceVersion, require_space

CANARY_PAIRS = 64
PARITY_TOLERANCE = 1e-4
"""Largest allowed ‖graph − aligner‖ / ‖aligner‖ of a row [ours]; float32 graphs stay near 1e-6."""


def save_artifact(
    aligner: Aligner,
    path: str | Path,
    *,
    source: SpaceVersion,
    target: SpaceVersion,
    split: PairSplit | None = None,
    part_of: Mapping[str, str] | None = None,
    metrics: Sequence[Metric] = (),
    calibration: Mapping[str, JsonValue] | None = None,
    direction: Direction = "forward",
    int8: bool = False,
    canary: bool = True,
    score_cohort: int = 0,
    overwrite: bool = False,
) -> Artifact:
    """Save an aligner as an artifact directory; it appears only when it is complete and checked.

    Args:
        aligner: What to save.
        path: The directory to make.
        source: Space of the vectors that go in.
        target: Space of the vectors that come out.
        split: The pairs it was fitted and tested on. Without them the artifact cannot say which items an evaluation
            must leave out, and has no canary; without held-out pairs among them it has no convertibility.
        part_of: Instead of ``split``, the part that each item was in, by id: for an aligner that is made of others.
        metrics: Measured figures to record.
        calibration: Fitted calibrations to record, by name.
        direction: Which side moves.
        int8: Whether the graph computes in int8; needs ``split``, whose held-out pairs say what that costs.
        canary: Whether to store 64 held-out pairs, on which every conversion is tried. Choose False where vectors
            are personal data that must not travel (face vectors are biometric data).
        score_cohort: How many fitted people to store, one vector each, converted and native, so that scores can be
            normalized where they are served; needs ``split`` with labels, in a space that is compared by cosine or
            dot. Face vectors are biometric data: such an artifact needs the protection that the gallery needs.
        overwrite: Whether an artifact at the path may be replaced.

    Raises:
        InputError: If the aligner does not map source to target, the path is taken, or no score cohort can be drawn.
        ParityError: If the exported graph does not compute what the aligner computes, or int8 costs too much.
    """
    _check_dims(aligner, source, target)
    if int8 and (split is None or _held_out(split) is None):
        raise InputError("an int8 graph needs held-out pairs to measure what it costs. Pass split=….")
    with _fresh_directory(Path(path), overwrite=overwrite) as directory:
        _write_weights(aligner, directory / WEIGHTS)
        convertibility = None if split is None else _fit_convertibility(split, source)
        metrics = [*metrics, *_write_graph(aligner, directory / GRAPH, source, split, convertibility, int8=int8)]
        recorded = dict(calibration or {})
        if convertibility is not None:
            recorded[CONVERTIBILITY] = convertibility.calibration()
        if split is not None:
            part_of = {item: name for name, part in split.parts().items() for item in part.ids.tolist()}
            if canary and (held_out := _held_out(split)) is not None:
                _write_canary(aligner, held_out, target, directory / CANARY)
        if score_cohort:
            recorded[SCORE_COHORT] = _write_cohort(aligner, split, score_cohort, directory / COHORT)
        if part_of is not None:
            _write_pairs(part_of, directory / PAIRS)
        manifest = Manifest(
            kind=aligner.kind,
            config=aligner.config(),
            source=source,
            target=target,
            direction=direction,
            pairs_digest=None if split is None else pairs_digest(split.train),
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
    with _fresh_directory(Path(path), overwrite=overwrite) as directory:
        for name, aligner, space in (("forward", pair.forward_map, old), ("backward", pair.backward_map, new)):
            save_artifact(
                aligner,
                directory / name,
                source=space,
                target=shared,
                split=split,
                metrics=metrics,
                direction="forward" if name == "forward" else "backward",
                canary=False,
            )
    return read_artifact(Path(path) / "forward"), read_artifact(Path(path) / "backward")


def check_parity(aligner: Aligner, model: bytes, rows: NDArray[np.float32]) -> float:
    """Compare a graph with its aligner, on a batch and on its first row alone.

    Returns:
        The largest relative difference of a row.

    Raises:
        ParityError: If it is above `PARITY_TOLERANCE`.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (rows, rows[:1]):
        arrays, outputs = graph_case(aligner, batch)
        feeds = {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)}
        for found, expected in zip(session.run(None, feeds), outputs, strict=False):
            scale = np.linalg.norm(expected, axis=1) + 1e-12
            worst = max(worst, float(np.max(np.linalg.norm(found - expected, axis=1) / scale)))
    if not worst <= PARITY_TOLERANCE:
        raise ParityError(
            f"the exported graph must match the {aligner.kind} aligner within {PARITY_TOLERANCE} on every row. "
            f"Got {worst:.3g}. The artifact was not written."
        )
    return worst


def pairs_digest(pairs: PairedEmbeddings) -> str:
    """Return the SHA-256 of pairs: ids, source vectors, target vectors, in their order."""
    digest = hashlib.sha256("\0".join(pairs.ids.tolist()).encode())
    digest.update(pairs.source.vectors.data)
    digest.update(pairs.target.vectors.data)
    return digest.hexdigest()


def _check_dims(aligner: Aligner, source: SpaceVersion, target: SpaceVersion) -> None:
    if (aligner.source_dim, aligner.target_dim) != (source.dim, target.dim):
        raise InputError(
            f"the aligner must map {source.dim} to {target.dim} dimensions, as {source.id} and {target.id} say. "
            f"Got {aligner.source_dim} to {aligner.target_dim}: is it the wrong direction?"
        )


@contextmanager
def _fresh_directory(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary directory beside ``path``; it becomes ``path`` when the block ends well."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already. Choose another path, or pass overwrite=True to replace it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield directory
        directory.chmod(0o755)
        if path.exists():
            _remove_artifact(path)
        directory.rename(path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_artifact(path: Path) -> None:
    if not any((path / name / MANIFEST).is_file() for name in ("", "forward")):
        raise InputError(f"{path} is not an artifact, so it is not replaced. Choose another path.")
    shutil.rmtree(path)


def _write_graph(
    aligner: Aligner,
    path: Path,
    source: SpaceVersion,
    split: PairSplit | None,
    convertibility: Convertibility | None,
    *,
    int8: bool,
) -> list[Metric]:
    """Write the checked graph; return what int8 costs, if asked for."""
    if int8 and isinstance(aligner, TextAwareAligner):
        raise InputError("int8 is for aligners that read vectors alone. Got a text_aware one.")
    model = build_graph(aligner)
    rows = _parity_rows(source, split)
    check_parity(aligner, model.SerializeToString(), rows)
    metrics: list[Metric] = []
    if int8 and split is not None and (held_out := _held_out(split)) is not None:
        model = quantize_int8(model, split.train.source.vectors)
        before, after = check_int8(aligner, model, held_out)
        metrics.append(Metric(name="float32_mean_cosine", value=before, count=len(held_out)))
        metrics.append(Metric(name="int8_mean_cosine", value=after, count=len(held_out)))
    if convertibility is not None:
        model = add_convertibility(model, convertibility)
        check_convertibility(convertibility, model.SerializeToString(), rows)
    data = model.SerializeToString()
    check_graph(data)
    path.write_bytes(data)
    return metrics


def _write_weights(aligner: Aligner, path: Path) -> None:
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in aligner.state().items()}))


def _write_pairs(part_of: Mapping[str, str], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": pa.array(part_of.keys(), pa.string()), "split": pa.array(part_of.values(), pa.string())})
    pq.write_table(table, path)


def _held_out(split: PairSplit) -> PairedEmbeddings | None:
    return next((part for part in (split.test, split.validation) if len(part)), None)


def _write_canary(aligner: Aligner, pairs: PairedEmbeddings, target: SpaceVersion, path: Path) -> None:
    from safetensors.numpy import save

    require_space(pairs.target.space, target, what="The pairs' target")
    source, converted = pairs.source.vectors[:CANARY_PAIRS], pairs.target.vectors[:CANARY_PAIRS]
    arrays = {"source": np.ascontiguousarray(source), "target": np.ascontiguousarray(converted)}
    if isinstance(aligner, TextAwareAligner) and pairs.texts is not None:
        arrays[FEATURES] = aligner.encoder.encode(pairs.texts[:CANARY_PAIRS].tolist())
    path.write_bytes(save(arrays))


def _write_cohort(aligner: Aligner, split: PairSplit | None, people: int, path: Path) -> dict[str, JsonValue]:
    """Write the score cohort; return what the manifest says of it."""
    from safetensors.numpy import save

    from embcompat.evaluation.verification import make_score_cohort

    if split is None:
        raise InputError("a score cohort needs the fitted pairs. Pass split=….")
    train = split.train
    cohort = make_score_cohort(
        convert_embeddings(aligner, train.source, train.target.space), train.target, people=people
    )
    sides = {"converted": cohort.converted.vectors, "native": cohort.native.vectors}
    path.write_bytes(save({name: np.ascontiguousarray(side) for name, side in sides.items()}))
    return {"people": len(cohort.native.vectors), "top": cohort.native.top}


def _fit_convertibility(split: PairSplit, source: SpaceVersion) -> Convertibility | None:
    held_out = _held_out(split)
    if held_out is None:
        return None
    return fit_convertibility(_source_vectors(split.train, source), _source_vectors(held_out, source))


def _source_vectors(pairs: PairedEmbeddings, source: SpaceVersion) -> NDArray[np.float32]:
    """Return the side of the pairs that the aligner reads: of a pair of aligners, one reads the new side."""
    return pairs.target.vectors if pairs.target.space == source else pairs.source.vectors


def _parity_rows(source: SpaceVersion, split: PairSplit | None) -> NDArray[np.float32]:
    if split is not None:
        return np.ascontiguousarray(_source_vectors(split.train, source)[:256])
    rows = np.random.default_rng(0).standard_normal((256, source.dim)).astype(np.float32)
    return np.asarray(normalize_rows(rows)) if source.normalized else rows


def _versions() -> dict[str, str]:
    names = ("embcompat", "numpy", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
