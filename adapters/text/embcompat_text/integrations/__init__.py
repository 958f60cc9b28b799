"""Models of other libraries that answer in the space of the vectors you have stored.

Each takes a new model and an artifact that maps its space to the old one (a query bridge), and is itself a model of
its library, so that whatever uses that library goes on unchanged. Each is imported from its own module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embcompat.runtime import OnnxAligner


def map_lists(aligner: OnnxAligner, vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    """Map vectors that are lists of floats, as LangChain and LlamaIndex hold them."""
    if not vectors:
        return []
    mapped: list[list[float]] = aligner.transform(np.asarray(vectors, dtype=np.float32)).tolist()
    return mapped
