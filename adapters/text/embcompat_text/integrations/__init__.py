"""Models of other libraries that answer in the space of the vectors you have stored.

Each takes a new model and an artifact that maps its space to the old one (a query bridge), and is itself a model of
its library, so that whatever uses that library goes on unchanged. Each is imported from its own module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import ExtractionError
from embcompat.runtime import OnnxAligner


def map_lists(aligner: OnnxAligner, vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    """Map vectors that are lists of floats, as LangChain and LlamaIndex hold them.

    Raises:
        ExtractionError: If the model returned NaN, infinity or zeros.
    """
    if not vectors:
        return []
    array = np.asarray(vectors, dtype=np.float32)
    refuse_failed(array)
    mapped: list[list[float]] = aligner.transform(array).tolist()
    return mapped


def refuse_failed(vectors: NDArray[np.float32]) -> None:
    """Refuse what a model returns where it failed, before it is mapped to a vector that looks right.

    Args:
        vectors: Array (n, dim).

    Raises:
        ExtractionError: If a row holds NaN or infinity, or is all zeros; names the first.
    """
    finite = np.isfinite(vectors).all(axis=1)
    failed = np.flatnonzero(~finite | ~vectors.any(axis=1))
    if len(failed):
        row = int(failed[0])
        values = "all zeros" if np.isfinite(vectors[row]).all() else "NaN or infinity"
        raise ExtractionError(
            f"the model must return a finite vector other than zero for each text. Got {values} for text {row} of "
            f"{len(vectors)}. Look at that text, or at the model's precision."
        )
