"""Does the exported graph compute what its aligner computes?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner
from embcompat.errors import ParityError
from embcompat.export.graphs import graph_case

PARITY_TOLERANCE = 1e-4
"""Largest allowed ‖graph − aligner‖ / ‖aligner‖ of a row [ours]; float32 graphs stay near 1e-6."""


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
