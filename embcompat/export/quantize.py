"""Static int8 graphs: weights and activations in 8 bits, with scales fixed at export.

Scales are fixed from calibration rows rather than computed from each batch, so that one vector alone still gives what
it gives in a batch.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from embcompat.aligners import Aligner
from embcompat.embeddings import PairedEmbeddings, normalize_rows
from embcompat.errors import ParityError
from embcompat.export.remainders import expand_similarities

INT8_TOLERANCE = 0.005
"""Largest loss of mean cosine to the target on held-out pairs that an int8 graph may cost [ours]."""

_CALIBRATION_ROWS = 2_048
_PRODUCTS = ["Gemm", "MatMul"]


def quantize_int8(model: onnx.ModelProto, rows: NDArray[np.float32]) -> onnx.ModelProto:
    """Quantize the products of a graph to int8: per channel for weights, per tensor for activations.

    Weights use 7 of the 8 bits, so that the graph computes the same on every processor. Kernels are expanded first
    (`expand_similarities`); beside them small products stay in float32, and the others return float32.

    Args:
        model: A float32 graph from `build_graph`.
        rows: Calibration vectors (n, source_dim), from the training part; 2,048 are enough.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    expanded, exact = expand_similarities(model)
    simple = onnx.ModelProto()
    simple.CopyFrom(expanded)
    del simple.graph.value_info[:]  # torch's exporter leaves shapes that the quantizer cannot reconcile with its own
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(simple, source)
        quantize_static(
            source,
            target,
            _Rows(model.graph.input[0].name, rows[:_CALIBRATION_ROWS]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_PRODUCTS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # processors without VNNI add pairs of products in 16 bits, which 8-bit weights overflow
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=exact,
            extra_options={"OpTypesToExcludeOutputQuantization": _PRODUCTS} if exact else {},
        )
        return onnx.load(target)


def check_int8(aligner: Aligner, model: onnx.ModelProto, held_out: PairedEmbeddings) -> tuple[float, float]:
    """Measure what int8 costs on held-out pairs.

    Returns:
        Mean cosine to the target of the aligner itself, and of the int8 graph.

    Raises:
        ParityError: If the loss is above `INT8_TOLERANCE`.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    small = session.run(None, {session.get_inputs()[0].name: held_out.source.vectors})[0]
    exact, rounded = (_mean_cosine(output, held_out) for output in (aligner.transform(held_out.source.vectors), small))
    if not exact - rounded <= INT8_TOLERANCE:
        raise ParityError(
            f"int8 may cost at most {INT8_TOLERANCE} of mean cosine on {len(held_out)} held-out pairs. Got "
            f"{exact - rounded:.4f} ({exact:.4f} to {rounded:.4f}). Export without quantization."
        )
    return exact, rounded


class _Rows:
    """Hands calibration rows to the quantizer, a block at a time."""

    def __init__(self, name: str, rows: NDArray[np.float32]) -> None:
        self._blocks: Iterator[dict[str, Any]] = iter(
            [{name: np.ascontiguousarray(rows[start : start + 256])} for start in range(0, len(rows), 256)]
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return the next block, or None."""
        return next(self._blocks, None)


def _mean_cosine(output: NDArray[np.float32], pairs: PairedEmbeddings) -> float:
    return float(np.einsum("ij,ij->i", normalize_rows(output), normalize_rows(pairs.target.vectors)).mean())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantizer's advice to preprocess the model, which our graphs do not need."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logging.disable(level)
