"""Predict the conversion error of a row from the errors of held-out rows. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.backlog import HeldOut
from embcompat.embeddings import normalize_rows

MOST_PAIRS = 2_000
"""Most held-out pairs that are used: the time of the fit grows with their cube [ours]."""

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""Penalties to choose from by leave-one-out error [ours]."""

_BLOCK_ROWS = 8_192


def predict_errors(vectors: NDArray[np.float32], held_out: HeldOut, *, seed: int = 0) -> NDArray[np.float64]:
    """Predict the logarithm of each row's conversion error.

    FastFill (Jaeckle et al., ICLR 2023) trains a network's extra output, log σ², for this. Here it is a kernel ridge
    regression of the log error on held-out pairs, in closed form [ours]: u = x − mean at unit norm, kernel
    exp(−‖u − v‖²/mean squared distance), the penalty chosen by the leave-one-out error, which is closed too. Where no
    penalty predicts better than the mean does, the prediction is the mean.

    Args:
        vectors: Old vectors (n, source_dim).
        held_out: The pairs to learn from.
        seed: Seed of the choice among more than `MOST_PAIRS` pairs.

    Returns:
        Array (n,).
    """
    rows = np.random.default_rng(seed).permutation(len(held_out.old))[:MOST_PAIRS]
    logs = np.log(held_out.errors()[rows] + np.finfo(np.float32).tiny)
    mean, centre = float(logs.mean()), held_out.old.vectors[rows].mean(axis=0)
    directions = normalize_rows(held_out.old.vectors[rows] - centre)
    width = float(2 - 2 * np.square(directions.mean(axis=0)).sum()) or 1.0
    coefficients = _solve(_kernel(directions, directions, width), logs - mean)
    predicted = np.full(len(vectors), mean)
    if coefficients is None:
        return predicted
    for start in range(0, len(vectors), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        predicted[part] += _kernel(normalize_rows(vectors[part] - centre), directions, width) @ coefficients
    return predicted


def _solve(kernel: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the coefficients of the best penalty, or None where the mean is better.

    The leave-one-out error of row i is coefficient_i / (K + penalty·I)⁻¹_ii.
    """
    count = len(values)
    best, choice = float(np.square(values).sum()) * (count / (count - 1)) ** 2, None
    scales, directions = np.linalg.eigh(kernel)
    turned = directions.T @ values
    for penalty in PENALTIES:
        inverse = 1 / (np.maximum(scales, 0.0) + penalty)
        coefficients = directions @ (inverse * turned)
        error = float(np.square(coefficients / (np.square(directions) @ inverse)).sum())
        if error < best:
            best, choice = error, coefficients
    return choice


def _kernel(left: NDArray[np.float32], right: NDArray[np.float32], width: float) -> NDArray[np.float64]:
    return np.exp((2 * (left @ right.T).astype(np.float64) - 2) / width)
