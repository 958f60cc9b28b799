"""What the endpoint counts, in Prometheus' format."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

DISTANCES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Borders of the histogram of convertibility: 1 is as far as a typical held-out item."""


@final
class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "embcompat_requests", "Requests by model and status.", ["model", "status"], registry=self.registry
        )
        self.seconds = Histogram("embcompat_request_seconds", "Seconds of a request.", registry=self.registry)
        self.upstream_seconds = Histogram(
            "embcompat_upstream_seconds", "Seconds that upstream took of a request.", registry=self.registry
        )
        self.inputs = Counter("embcompat_inputs", "Inputs that were embedded.", registry=self.registry)
        self.convertibility = Histogram(
            "embcompat_convertibility",
            "How far inputs lie from what the aligner was fitted on; 1 is a typical held-out item.",
            buckets=DISTANCES,
            registry=self.registry,
        )
        self.drift = Gauge(
            "embcompat_canary_drift",
            "Largest cosine distance of fixed texts' vectors from the first: above 0.01 the model has changed.",
            registry=self.registry,
        )

    def observe_convertibility(self, scores: NDArray[np.float32]) -> None:
        """Count the score of each input."""
        for score in scores.tolist():
            self.convertibility.observe(score)

    def render(self) -> bytes:
        """Return the page that Prometheus reads."""
        return generate_latest(self.registry)
