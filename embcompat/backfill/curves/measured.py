"""A metric along the fractions that are re-embedded, with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.evaluation.bootstrap import estimate_from
from embcompat.results import Estimate

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Replicated:
    """A metric along the fractions, and its bootstrap replicates; those of one data set are paired.

    Attributes:
        values: Array (fractions,).
        replicates: Array (replicates, fractions).
    """

    values: Float64
    replicates: Float64

    @classmethod
    def mean_of(cls, several: Sequence[Replicated]) -> Replicated:
        """Return the mean of several, paired."""
        return cls(
            np.mean([each.values for each in several], axis=0), np.mean([each.replicates for each in several], axis=0)
        )

    def points(self) -> tuple[Estimate, ...]:
        """Return the metric at each fraction."""
        return tuple(estimate_from(*each) for each in zip(self.values, self.replicates.T, strict=True))

    def auc(self) -> Estimate:
        """Return the plain mean over the equally spaced fractions (Ricci et al., λ-orthogonality, 2025)."""
        return estimate_from(self.values.mean(), self.replicates.mean(axis=1))

    def auc_over(self, other: Replicated) -> Estimate:
        """Return how much larger the area is than another's, paired."""
        return estimate_from(
            self.values.mean() - other.values.mean(), self.replicates.mean(axis=1) - other.replicates.mean(axis=1)
        )

    def over(self, full: Replicated) -> Replicated:
        """Divide by a metric of one fraction, paired; a replicate without a positive divisor counts as infinite."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(full.replicates > 0, self.replicates / full.replicates, np.inf)
            return Replicated(self.values / full.values, ratios)


@dataclass(frozen=True, eq=False)
class Measured:
    """What a task measured on data that nothing was chosen on.

    Attributes:
        curves: The curve of each order.
        full: The metric after a full reindex, a curve of one fraction.
        status_quo: The metric before the upgrade; None if it was not measured.
        weights: Weights of the recommended order, chosen on all validation data; empty for a random order.
        calibrated: Share of the judged data for which the calibration of scores had been shown to help.
        judged: Number of queries or subjects.
    """

    curves: Mapping[str, Replicated]
    full: Replicated
    status_quo: float | None
    weights: Mapping[str, float]
    calibrated: float
    judged: int
