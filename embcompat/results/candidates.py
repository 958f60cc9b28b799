"""The aligners that a selection tried."""

from __future__ import annotations

from embcompat.results.values import Estimate, Value


class Scored(Value):
    """A candidate that was cross-fitted and scored; the first that is as good as the best is the one that was chosen.

    Attributes:
        name: Name of the candidate.
        kind: Kind of the aligner.
        parameters: Floats that it stores.
        fit_seconds: Time that one fit took.
        score: Its figure, larger is better.
        against_best: Paired difference from the best figure.
        as_good: Whether that interval includes 0.
    """

    name: str
    kind: str
    parameters: int
    fit_seconds: float
    score: Estimate
    against_best: Estimate
    as_good: bool
