"""Check that the exported graph computes the same as its aligner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner
from embcompat.embeddings import normalize_rows
from embcompat.errors import ParityError
from embcompat.export.graphs import graph_case
from embcompat.spaces import SpaceVersion

PARITY_TOLERANCE = 1e-4
"""Largest allowed ‖graph − aligner‖ / ‖aligner‖ of a row [ours]; float32 graphs stay near 1e-6."""


def parity_rows(source: SpaceVersion) -> NDArray[np.float32]:
    """Return random rows (256, dim) of a space, to compare a graph with its aligner where no pairs are at hand."""
    rows = np.random.default_rng(0).standard_normal((256, source.dim)).astype(np.float32)
    return np.asarray(normalize_rows(rows)) if source.normalized else rows


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
        for output, expected in zip(session.run(None, feeds), outputs, strict=False):
            scale = np.linalg.norm(expected, axis=1) + 1e-12
            worst = max(worst, float(np.max(np.linalg.norm(output - expected, axis=1) / scale)))
    if not worst <= PARITY_TOLERANCE:
        raise ParityError(
            f"the exported graph must match the {aligner.kind} aligner within {PARITY_TOLERANCE} on every row. "
            f"Got {worst:.3g}. The artifact was not written."
        )
    return worst
