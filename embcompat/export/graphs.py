"""ONNX graphs of aligners: by hand for the numpy kinds, by torch's exporter for the neural ones.

Every graph takes ``vectors`` (batch, source_dim) float32 and returns ``converted`` (batch, target_dim) float32. That of
a text-aware aligner also takes ``features`` (batch, encoder_dim), the static encoder's output for the texts.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embcompat.aligners import AffineAligner, Aligner, ReweightedAligner
from embcompat.aligners.chain import ChainAligner
from embcompat.aligners.ensemble import EnsembleAligner
from embcompat.aligners.kernel import KernelAligner
from embcompat.aligners.text import TextAwareAligner
from embcompat.artifact import PLAIN
from embcompat.embeddings import normalize_rows

OPSET = 18
WORDED = "worded"
IR_VERSION = 10

_TINY = np.float32(1e-30)


class GraphBuilder:
    """Collects nodes and constants of one graph.

    Args:
        source_dim: Length of the vectors that go in.
        target_dim: Length of the vectors that come out.
        opset: Version of the operators.
    """

    def __init__(self, source_dim: int, target_dim: int, *, opset: int = OPSET) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._dims, self._opset = (source_dim, target_dim), opset

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def include(self, part: onnx.ModelProto, vectors: str) -> str:
        """Add another graph that reads ``vectors``, and return the name of its output."""
        self.node("Identity", [vectors], part.graph.input[0].name)
        self._nodes.extend(part.graph.node)
        self._constants.extend(part.graph.initializer)
        return str(part.graph.output[0].name)

    def unit_norm(self, vectors: str, output: str) -> str:
        """Scale rows to unit norm; zero rows stay zero."""
        axes = self.constant(f"{output}.axes", np.array([1], dtype=np.int64))
        norm = self.node("ReduceL2", [vectors, axes], f"{output}.norm", keepdims=1)
        floor = self.constant(f"{output}.floor", np.array(_TINY))
        return self.node("Div", [vectors, self.node("Max", [norm, floor], f"{output}.positive")], output)

    def finish(self, vectors: str, *, normalize: bool) -> onnx.ModelProto:
        """End the graph with its output, normalized where asked, and return the checked model."""
        if normalize:
            self.unit_norm(vectors, "converted")
        else:
            self.node("Identity", [vectors], "converted")
        source, target = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim])
            for name, dim in zip(("vectors", "converted"), self._dims, strict=True)
        )
        graph = helper.make_graph(self._nodes, "aligner", [source], [target], self._constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=IR_VERSION,
            producer_name="embcompat",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def affine_graph(aligner: AffineAligner) -> onnx.ModelProto:
    """One product with bias, then normalization where the aligner normalizes."""
    builder = GraphBuilder(aligner.source_dim, aligner.target_dim)
    weight = builder.constant("weight", np.ascontiguousarray(aligner.weight.T))
    mapped = builder.node("Gemm", ["vectors", weight, builder.constant("bias", aligner.bias)], "mapped")
    return builder.finish(mapped, normalize=aligner.normalize)


def kernel_graph(aligner: KernelAligner) -> onnx.ModelProto:
    """Centre and normalize, one product with the landmarks, one exp, one product added to the linear part."""
    builder = GraphBuilder(aligner.source_dim, aligner.target_dim)
    weight = builder.constant("weight", np.ascontiguousarray(aligner.weight.T))
    linear = builder.node("Gemm", ["vectors", weight, builder.constant("bias", aligner.bias)], "linear")
    centred = builder.node("Sub", ["vectors", builder.constant("mean", aligner.mean)], "centred")
    gain = np.float32(2 / aligner.bandwidth)
    landmarks = builder.constant("landmarks", gain * aligner.landmarks.T)
    shift = builder.constant("shift", np.full(len(aligner.landmarks), -gain))
    exponents = builder.node("Gemm", [builder.unit_norm(centred, "units"), landmarks, shift], "exponents")
    similarities = builder.node("Exp", [exponents], "similarities")
    coefficients = builder.constant("coefficients", np.ascontiguousarray(aligner.coefficients.T))
    mapped = builder.node("Gemm", [similarities, coefficients, linear], "mapped")
    return builder.finish(mapped, normalize=aligner.normalize)


def module_graph(aligner: Any) -> onnx.ModelProto:
    """Export a neural aligner, which is a torch module, with torch's exporter."""
    import torch

    module = aligner.eval().cpu()
    example = torch.zeros(2, aligner.source_dim, dtype=torch.float32)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: "batch"},),
            input_names=["vectors"],
            output_names=["converted"],
            verbose=False,
        )
    return program.model_proto  # type: ignore[union-attr]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's warnings about torch itself: its own deprecations, and a missing torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def chain_graph(aligner: ChainAligner) -> onnx.ModelProto:
    """Stack the graphs of the steps; a normalization between them stays where it is."""
    steps = _part_graphs(aligner.steps)
    stacked = steps[0]
    for step in steps[1:]:
        joint = [(stacked.graph.output[0].name, step.graph.input[0].name)]
        stacked = onnx.compose.merge_models(stacked, step, io_map=joint)
    onnx.checker.check_model(stacked, full_check=True)
    return stacked


def ensemble_graph(aligner: EnsembleAligner) -> onnx.ModelProto:
    """Run the graphs of the members side by side; then take their mean, the output map if any, and normalization."""
    members = _part_graphs(aligner.members)
    builder = GraphBuilder(aligner.source_dim, aligner.target_dim, opset=members[0].opset_import[0].version)
    mean = builder.node("Mean", [builder.include(member, "vectors") for member in members], "mean")
    if np.array_equal(aligner.weight, np.eye(aligner.target_dim)) and not aligner.bias.any():
        return builder.finish(mean, normalize=aligner.normalize)
    weight = builder.constant("weight", np.ascontiguousarray(aligner.weight.T))
    mapped = builder.node("Gemm", [mean, weight, builder.constant("bias", aligner.bias)], "mapped")
    return builder.finish(mapped, normalize=aligner.normalize)


def reweighted_graph(aligner: ReweightedAligner) -> onnx.ModelProto:
    """Append one more product with bias, and normalization or one length, to the graph of the base."""
    (base,) = _part_graphs((aligner.base,))
    builder = GraphBuilder(aligner.source_dim, aligner.target_dim, opset=base.opset_import[0].version)
    weight = builder.constant("weight", np.ascontiguousarray(aligner.weight.T))
    bias = builder.constant("bias", aligner.bias)
    mapped = builder.node("Gemm", [builder.include(base, "vectors"), weight, bias], "mapped")
    if aligner.length is not None:
        length = builder.constant("length", np.array(aligner.length, dtype=np.float32))
        scaled = builder.node("Mul", [builder.unit_norm(mapped, "units"), length], "scaled")
        mapped = builder.node("Add", [scaled, builder.constant("origin", aligner.origin)], "shifted")
    return builder.finish(mapped, normalize=aligner.normalize)


def text_aware_graph(aligner: TextAwareAligner) -> onnx.ModelProto:
    """Build the map that reads vectors and features, and the plain map beside it as second output.

    A row without a known word takes the plain output; `OnnxAligner` opens the two as graphs of their own.
    """
    worded, plain = _part_graphs((aligner.worded, aligner.plain), (WORDED, PLAIN))
    graph = onnx.GraphProto(name="aligner")
    for name, dim in (("vectors", aligner.source_dim), ("features", aligner.encoder.dim)):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim]))
    joint = f"{WORDED}.joint"
    graph.node.append(helper.make_node("Concat", ["vectors", "features"], [joint], name=joint, axis=1))
    for part, source, output in ((worded, joint, "converted"), (plain, "vectors", PLAIN)):
        feed, result = part.graph.input[0].name, part.graph.output[0].name
        graph.node.append(helper.make_node("Identity", [source], [feed], name=feed))
        graph.node.extend(part.graph.node)
        graph.initializer.extend(part.graph.initializer)
        graph.node.append(helper.make_node("Identity", [result], [output], name=output))
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", aligner.target_dim]))
    model = helper.make_model(
        graph, opset_imports=worded.opset_import, ir_version=IR_VERSION, producer_name="embcompat"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _part_graphs(parts: Sequence[Aligner], names: Sequence[str] = ()) -> list[onnx.ModelProto]:
    """Build the graphs of parts with the newest operator version among them; a name or number prefixes their names."""
    models = [build_graph(part) for part in parts]
    newest = max(entry.version for model in models for entry in model.opset_import)
    graphs = []
    for number, model in enumerate(models):
        raised = onnx.version_converter.convert_version(model, newest)
        raised.ir_version = IR_VERSION
        graphs.append(onnx.compose.add_prefix(raised, f"{names[number] if names else number}."))
    return graphs


GRAPHS: dict[str, Callable[[Any], onnx.ModelProto]] = {
    "affine": affine_graph,
    "chain": chain_graph,
    "ensemble": ensemble_graph,
    "kernel": kernel_graph,
    "reweighted": reweighted_graph,
    "text_aware": text_aware_graph,
}
"""Builders for the numpy kinds; every other kind is a torch module, or brings its own ``build_graph``."""


def build_graph(aligner: Aligner) -> onnx.ModelProto:
    """Build the ONNX model of an aligner: input standardisation, map and output normalization in one graph."""
    if aligner.kind in GRAPHS:
        return GRAPHS[aligner.kind](aligner)
    if hasattr(aligner, "build_graph"):  # of a plug-in
        graph: onnx.ModelProto = aligner.build_graph()
        return graph
    return module_graph(aligner)


def graph_case(aligner: Aligner, rows: NDArray[Any]) -> tuple[list[NDArray[Any]], list[NDArray[np.float32]]]:
    """Return a graph's inputs for some rows, in order, and the output that it must return for them.

    Args:
        aligner: The aligner. One that reads texts gets random features of unit norm.
        rows: Array (n, source_dim).
    """
    if not isinstance(aligner, TextAwareAligner):
        return [rows], [aligner.transform(rows)]
    features = np.random.default_rng(0).standard_normal((len(rows), aligner.encoder.dim)).astype(np.float32)
    features = normalize_rows(features)
    worded = aligner.worded.transform(np.hstack([rows, features]))
    return [rows, features], [worded, aligner.plain.transform(rows)]
