"""ONNX graphs from files that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Final

from embcompat.errors import ArtifactError

FILE: Final = "aligner.onnx"
"""Name of the graph's file in an artifact."""

# fmt: off
OPERATORS: Final = frozenset((
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "DequantizeLinear", "Div", "Dropout", "DynamicQuantizeLinear", "Elu", "Equal", "Erf", "Exp", "Flatten",
    "Floor", "Gather", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
    "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "MatMul",
    "MatMulInteger", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "QuantizeLinear",
    "RMSNormalization", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Selu", "Shape", "Sigmoid", "Sign", "Slice",
    "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Transpose",
    "Unsqueeze", "Where",
))
# fmt: on
"""What a graph may compute [ours]: products, sums, norms, activations and their plumbing. No loops, no branches, and
nothing that makes an array as large as a number in the file says."""


def check_graph(data: bytes) -> None:
    """Refuse a graph that is not self-contained, computes anything but `OPERATORS`, or holds NaN or infinity.

    What remains may still take long and much memory where somebody made it so: SECURITY.md shows how to limit both.

    Raises:
        ArtifactError: If the bytes are not an ONNX model, its names are no text, or it is refused.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if data[4:8] == b"ORTM":  # onnxruntime would read this as its own format, whatever else the bytes may be
        raise ArtifactError(f"{FILE} must be in the ONNX format. Got onnxruntime's own.")
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, TypeError) as error:
        raise ArtifactError(f"{FILE} is not an ONNX model: {error}") from error
    messages = list(_messages(model))
    if any(map(_has_broken_text, messages)):
        raise ArtifactError(f"{FILE} is not an ONNX model: a name in it is not UTF-8.")
    domains, operators = {entry.domain for entry in model.opset_import}, set()
    for message in messages:
        if isinstance(message, onnx.TensorProto):
            _check_tensor(message)
        elif isinstance(message, onnx.NodeProto):
            domains.add(message.domain)
            operators.add(message.op_type)
    if foreign := domains - {"", "ai.onnx"}:
        raise ArtifactError(f"{FILE} uses operators outside the ONNX standard, which is refused: {sorted(foreign)}.")
    if model.functions or any(isinstance(message, onnx.SparseTensorProto) for message in messages):
        raise ArtifactError(f"{FILE} holds functions or sparse tensors, which is refused.")
    if refused := sorted(operators - OPERATORS):
        raise ArtifactError(
            f"{FILE} uses {', '.join(refused)}, which is refused. An aligner is made of {len(OPERATORS)} operators "
            "without loops and branches: embcompat.graphs.OPERATORS."
        )


def _check_tensor(tensor: Any) -> None:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ArtifactError(f"{FILE} keeps data outside the file, which is refused.")
    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
        return
    try:
        finite = bool(np.isfinite(numpy_helper.to_array(tensor)).all())
    except Exception as error:  # onnx raises many classes on a tensor whose parts don't fit
        raise ArtifactError(f"{FILE} is not an ONNX model: tensor {tensor.name!r} is damaged: {error}") from error
    if not finite:
        raise ArtifactError(f"{FILE} must hold finite numbers. Got NaN or infinity in {tensor.name!r}.")


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and every message inside it, wherever it stands."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part
        for field, value in part.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _has_broken_text(message: Any) -> bool:
    """Return whether a text of a protobuf message is not UTF-8: it is then given as bytes."""
    texts = (value for field, value in message.ListFields() if field.type == field.TYPE_STRING)
    return any(
        isinstance(text, bytes) for value in texts for text in ([value] if isinstance(value, (str, bytes)) else value)
    )


def split_outputs(graph: bytes, main: str, extra: Set[str]) -> dict[str, bytes]:
    """Return the graph of each output alone: of the main one, and of those of the extra ones that it has.

    onnxruntime computes every node of a graph, whichever outputs are asked for; so each gets its own session. What
    belongs to an extra output alone has its name before the first dot of its own.

    Args:
        graph: The serialized model.
        main: What to call the main output's graph.
        extra: Names of outputs that the graph may have besides.
    """
    import onnx

    model = onnx.load_model_from_string(graph)
    present = extra & {output.name for output in model.graph.output}
    if not present:
        return {main: graph}
    parts = {}
    for name in (main, *present):
        part = onnx.ModelProto()
        part.CopyFrom(model)
        for field in ("node", "initializer", "output"):
            values = getattr(part.graph, field)
            owners = [value.name.split(".")[0] for value in values]
            chosen = [
                value
                for value, owner in zip(values, owners, strict=True)
                if (owner if owner in present else main) == name
            ]
            del values[:]
            values.extend(chosen)
        if name != main:
            del part.graph.input[1:]
        parts[name] = part.SerializeToString()
    return parts
