"""Convertibility: how far a vector lies from the fitted vectors, as a second output of the graph.

The score is the Mahalanobis distance of the source vector from the training sources, divided by its median on held-out
pairs. A typical held-out item scores 1; the larger the score, the less the conversion should be trusted. Only the mean
and the covariance of the training vectors are stored. [ours]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import JsonValue

from embcompat.artifact import CONVERTIBILITY
from embcompat.errors import ParityError

QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""The quantiles of held-out items that the manifest records [ours]."""

PARITY_TOLERANCE = 1e-3
"""Largest allowed relative difference between the graph's float32 score and the float64 one [ours]."""

_FLOOR = 1e-12
"""Smallest variance of a direction, as a fraction of the mean variance; it prevents a division by 0."""


@dataclass(frozen=True, eq=False)
class Convertibility:
    """Scores source vectors: ‖(x − mean) · weight‖.

    Attributes:
        mean: Array (source_dim,).
        weight: Array (source_dim, source_dim): the root of the inverse covariance, less the median's scale.
        held_out: Scores of the held-out items (h,), ascending.
    """

    mean: NDArray[np.float64]
    weight: NDArray[np.float64]
    held_out: NDArray[np.float64]

    def score(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the scores (n,) of vectors (n, source_dim)."""
        return np.asarray(np.linalg.norm((vectors - self.mean) @ self.weight, axis=1))

    def calibration(self) -> JsonValue:
        """Return the quantiles that the manifest records: the scores below which those fractions of items lie."""
        quantiles = {f"{level:g}": float(np.quantile(self.held_out, level)) for level in QUANTILES}
        return {"quantiles": dict(quantiles), "count": len(self.held_out)}


def fit_convertibility(train: NDArray[np.float32], held_out: NDArray[np.float32]) -> Convertibility | None:
    """Fit the score on the training sources, and scale it on held-out ones.

    Args:
        train: Training sources (n, source_dim).
        held_out: Held-out sources (h, source_dim), at least one.

    Returns:
        The score, or None where the training sources do not vary.
    """
    rows = train.astype(np.float64)
    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(shrunk_covariance(rows - mean))
    if not variances.mean() > 0:
        return None
    weight = directions / np.sqrt(np.maximum(variances, _FLOOR * variances.mean()))
    scores = np.sort(Convertibility(mean, weight, np.empty(0)).score(held_out))
    median = float(np.median(scores))
    return Convertibility(mean, weight / median, scores / median) if median > 0 else None


def shrunk_covariance(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate a covariance from few rows: a weighted mean of the sample's and a multiple of the identity.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices (2004), section 3.

    Args:
        centred: Rows (n, dim) with mean 0.
    """
    count, dim = centred.shape
    sample = centred.T @ centred / count
    scale = np.trace(sample) / dim
    dispersion = float(np.square(sample).sum() - dim * scale**2)
    squares = np.einsum("ij,ij->i", centred, centred)
    noise = float(np.square(squares).mean() - np.square(sample).sum()) / count
    shrinkage = min(noise / dispersion, 1.0) if dispersion > 0 else 1.0
    return np.asarray((1 - shrinkage) * sample + shrinkage * scale * np.eye(dim))


def add_convertibility(model: onnx.ModelProto, fitted: Convertibility) -> onnx.ModelProto:
    """Return the graph with the score as its second output, (batch, 1), always in float32."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    arrays = {"mean": fitted.mean.astype(np.float32), "weight": fitted.weight.astype(np.float32), "axes": np.array([1])}
    names = {name: f"{CONVERTIBILITY}.{name}" for name in (*arrays, "centred", "mapped")}
    extended.graph.initializer.extend(numpy_helper.from_array(array, names[name]) for name, array in arrays.items())
    extended.graph.node.extend(
        helper.make_node(operator, inputs, [output], name=output)
        for operator, inputs, output in (
            ("Sub", [model.graph.input[0].name, names["mean"]], names["centred"]),
            ("MatMul", [names["centred"], names["weight"]], names["mapped"]),
            ("ReduceL2", [names["mapped"], names["axes"]], CONVERTIBILITY),
        )
    )
    extended.graph.output.append(helper.make_tensor_value_info(CONVERTIBILITY, TensorProto.FLOAT, ["batch", 1]))
    onnx.checker.check_model(extended, full_check=True)
    return extended


def check_convertibility(fitted: Convertibility, model: bytes, rows: NDArray[np.float32]) -> None:
    """Compare the graph's second output with the score in float64.

    Raises:
        ParityError: If a row differs by more than `PARITY_TOLERANCE`.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    first, *others = session.get_inputs()
    feeds = {first.name: rows} | {value.name: np.zeros((len(rows), value.shape[1]), np.float32) for value in others}
    output = session.run([CONVERTIBILITY], feeds)[0][:, 0]
    expected = fitted.score(rows)
    worst = float(np.max(np.abs(output - expected) / (expected + 1e-3)))
    if not worst <= PARITY_TOLERANCE:
        raise ParityError(
            f"the graph's convertibility must match float64's within {PARITY_TOLERANCE} on every row. Got {worst:.3g}. "
            "The artifact was not written."
        )
