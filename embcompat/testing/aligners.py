"""The suite that every aligner passes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner, load_aligner
from embcompat.embeddings import Embeddings, PairSplit, transform_embeddings
from embcompat.errors import InputError
from embcompat.export import build_graph, save_artifact
from embcompat.export.graphs import graph_case
from embcompat.runtime import OnnxAligner

FLOAT32_TOLERANCE = 1e-4


def check_aligner(aligner: Aligner, split: PairSplit, *, tolerance: float = FLOAT32_TOLERANCE) -> None:
    """Check a fitted aligner: everything that the rest of embcompat relies on.

    Shapes and dtype; bad input refused; one vector alone = in a batch; no rows; deterministic; options survive JSON;
    saved and loaded it computes the same; the ONNX graph computes the same, evaluated by onnxruntime in float32 and
    node by node in float64; an output map is applied before normalization;
    an aligner that reads texts maps a row without one from its vector alone, and refuses too few texts.

    Args:
        aligner: The fitted aligner.
        split: The pairs that it was fitted on.
        tolerance: Largest ‖difference‖ / ‖expected‖ of a row.

    Raises:
        AssertionError: If any of this does not hold; the message says which.
    """
    items = split.validation.source.select(np.arange(min(64, len(split.validation))))
    expected = transform_embeddings(aligner, items)
    _check_output(aligner, items, expected)
    single = [items.select([row]) for row in range(min(8, len(items)))]
    alone = np.concatenate([transform_embeddings(aligner, item) for item in single])
    _near(alone, expected[:8], tolerance, "one vector alone must give what it gives in a batch")
    _near(transform_embeddings(aligner, items), expected, 0.0, "the same vectors must give the same result twice")
    _check_refusals(aligner)
    _check_saved(aligner, split, items, expected, tolerance)
    _check_float64(aligner, items.vectors, tolerance)
    _check_output_map(aligner, items, tolerance)
    if getattr(aligner, "reads_texts", False):
        _check_texts(aligner, items)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _near(actual: NDArray[np.floating], expected: NDArray[np.floating], tolerance: float, message: str) -> None:
    scale = np.linalg.norm(expected, axis=1) + 1e-12
    worst = float(np.max(np.linalg.norm(actual - expected, axis=1) / scale))
    _require(worst <= tolerance, f"{message}: relative difference {worst:.3g}, allowed {tolerance:.3g}")


def _check_output(aligner: Aligner, items: Embeddings, output: NDArray[np.float32]) -> None:
    shape = (len(items), aligner.target_dim)
    _require(output.shape == shape, f"transform must return shape {shape}, got {output.shape}")
    _require(output.dtype == np.float32, f"transform must return float32, got {output.dtype}")
    _require(bool(np.isfinite(output).all()), "transform must return finite numbers")
    empty = transform_embeddings(aligner, items.select([]))
    _require(empty.shape == (0, aligner.target_dim), f"no rows must give shape (0, target_dim), got {empty.shape}")
    if aligner.normalize:
        norms = np.linalg.norm(output, axis=1)
        _require(bool(np.allclose(norms, 1, atol=1e-5)), "a normalizing aligner must return unit vectors")


def _check_refusals(aligner: Aligner) -> None:
    for bad in (np.zeros((2, aligner.source_dim + 1), np.float32), np.zeros(aligner.source_dim, np.float32)):
        try:
            aligner.transform(bad)
        except InputError:
            continue
        raise AssertionError(f"transform must refuse vectors of shape {bad.shape} with InputError")


def _check_saved(
    aligner: Aligner, split: PairSplit, items: Embeddings, expected: NDArray[np.float32], tolerance: float
) -> None:
    config = aligner.config()
    _require(json.loads(json.dumps(config)) == config, "config must survive JSON")
    again = type(aligner).from_state(json.loads(json.dumps(config)), aligner.state())
    _near(transform_embeddings(again, items), expected, 0.0, "from_state(config, state) must give the same aligner")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact"
        save_artifact(aligner, path, source=split.train.source.space, target=split.train.target.space, split=split)
        _near(transform_embeddings(load_aligner(path), items), expected, 0.0, "a loaded aligner must compute the same")
        onnx_aligner = OnnxAligner(path)
        _near(transform_embeddings(onnx_aligner, items), expected, tolerance, "the ONNX graph must compute the same")
        texts = [[text] for text in items.texts] if onnx_aligner.reads_texts and items.texts is not None else [None] * 8
        alone = np.stack(
            [onnx_aligner.transform(row, text) for row, text in zip(items.vectors[:8], texts, strict=False)]
        )
        _near(alone, expected[:8], tolerance, "the ONNX graph must treat one vector as it does a batch")


def _check_output_map(aligner: Aligner, items: Embeddings, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((aligner.target_dim, aligner.target_dim)))[0]
    mapped = aligner.with_output_map(rotation, np.zeros(aligner.target_dim))
    _require(type(mapped) is type(aligner), "with_output_map must return an aligner of the same class")
    # A rotation without offset commutes with normalization.
    expected = transform_embeddings(aligner, items) @ rotation.T.astype(np.float32)
    _near(transform_embeddings(mapped, items), expected, 10 * tolerance, "with_output_map must apply the map")


def _check_texts(aligner: Any, items: Embeddings) -> None:
    empty = [""] * len(items)
    plain = aligner.transform(items.vectors, empty)
    _require(bool(np.isfinite(plain).all()), "vectors without a text must give finite numbers")
    mixed = ["" if row % 2 else text for row, text in enumerate(items.texts if items.texts is not None else empty)]
    mixture = aligner.transform(items.vectors, mixed)
    _near(mixture[1::2], plain[1::2], FLOAT32_TOLERANCE, "a row without a text must be mapped from its vector alone")
    for bad in (None, empty[1:], "text"):
        try:
            aligner.transform(items.vectors, bad)
        except InputError:
            continue
        raise AssertionError(f"transform must refuse texts {bad!r:.20} with InputError")


def _check_float64(aligner: Aligner, rows: NDArray[np.float32], tolerance: float) -> None:
    """Evaluate the graph with every float32 tensor widened to float64, by onnx's own reference evaluator."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = build_graph(aligner)
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        if tensor.data_type == onnx.TensorProto.FLOAT:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE
    evaluator = ReferenceEvaluator(model)
    arrays, outputs = graph_case(aligner, rows)
    feeds = {value.name: array.astype(np.float64) for value, array in zip(model.graph.input, arrays, strict=True)}
    widened = evaluator.run(None, feeds)
    for exact, expected in zip(widened, outputs, strict=True):
        _near(np.asarray(exact), expected, tolerance, "float32 must stay near the float64 reference")
