"""Whether the upstream model is still the one it was: a few fixed texts, embedded again and again."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Gauge

from embcompat.extractors import CANARY_TEXTS
from embcompat.gateway.protocol import RequestError
from embcompat.gateway.upstream import Upstream, UpstreamError

MAX_DRIFT = 0.01
"""Cosine distance above which the model has changed: services jitter by 1e-4 [ours]."""

_LOG = logging.getLogger(__name__)


def canary_drift(first: NDArray[np.float32], again: NDArray[np.float32]) -> float:
    """Return the largest cosine distance between the rows of two arrays (n, dim).

    Example:
        >>> canary_drift(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
        0.0
    """
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(again, axis=1)
    return float(np.max(1 - np.sum(first * again, axis=1) / norms))


async def embed_canary(upstream: Upstream) -> NDArray[np.float32] | None:
    """Embed the fixed texts; None where upstream does not answer, as without a client's key."""
    try:
        return (await upstream.embed(CANARY_TEXTS, {})).vectors
    except (UpstreamError, RequestError) as error:
        _LOG.warning("the canary cannot be embedded: %s", error)
        return None


async def watch_canary(upstream: Upstream, seconds: float, gauge: Gauge) -> None:
    """Embed the canary at intervals for ever and show the drift from the first time.

    Args:
        upstream: The model.
        seconds: Time between two looks.
        gauge: Shows the drift.
    """
    first: NDArray[np.float32] | None = None
    while True:
        vectors = await embed_canary(upstream)
        if vectors is not None:
            first = vectors if first is None else first
            drift = canary_drift(first, vectors) if first.shape == vectors.shape else 1.0
            gauge.set(drift)
            if drift > MAX_DRIFT:
                _LOG.warning("upstream's model has changed: the canary drifted by %.3g", drift)
        await asyncio.sleep(seconds)
