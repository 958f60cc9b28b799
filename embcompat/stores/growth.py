"""How long an index will take to build, from builds over samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

BUDGET_SECONDS: Final = 20.0
"""No larger sample is tried once it would take longer than this [ours]."""

SLACK: Final = 2.5
"""Factor by which a range is wider than the models of growth say: other load, caches and logs at full size [ours]."""

_STEEPEST = 1.5
"""Largest exponent of growth that samples are believed to show; noise gives larger ones [ours]."""

Samples = Sequence[tuple[int, float]]
"""Rows of each sample and the seconds of its build, the smallest first."""


@dataclass(frozen=True)
class IndexEstimate:
    """What an index over the target vectors will take, by builds over samples.

    Attributes:
        index: Its kind, and its name where it has one.
        rows: Rows that it will hold.
        sample_rows: Rows of the largest sample; 0 where no build was tried.
        seconds: Estimated time; None where no build was tried.
        seconds_low: Lower end of the range.
        seconds_high: Upper end of the range.
        bytes: Estimated size; None where the store does not tell.
        remark: What else matters; where no build was tried, why.
    """

    index: str
    rows: int
    sample_rows: int = 0
    seconds: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None
    bytes: int | None = None
    remark: str = ""


def time_builds(build: Callable[[int], float], rows: int, *, least: int = 1) -> list[tuple[int, float]]:
    """Build an index over samples that double in size, up to all rows or as far as the time allows.

    Args:
        build: Builds the index over the first so many rows, and returns the seconds that this took.
        rows: Rows that there are, at least one.
        least: Rows that the index needs.
    """
    samples: list[tuple[int, float]] = []
    for count in sorted({min(rows, max(least, rows // part)) for part in (8, 4, 2, 1)}):
        spent = sum(seconds for _, seconds in samples)
        if len(samples) > 1 and spent + 3 * samples[-1][1] > BUDGET_SECONDS:
            break
        samples.append((count, build(count)))
    return samples


def extrapolate(index: str, samples: Samples, rows: int, *, workers: int = 0) -> IndexEstimate:
    """Estimate the time of a build over all rows.

    The lower model lets every row cost what it costs in the largest sample; the upper one lets the time grow with the
    power of the number of rows that the samples show. The estimate is their geometric mean, and the range is wider than
    both by `SLACK`. Workers that a full build may have, and a sample has not, divide the lower end by their number.
    [ours]

    Args:
        index: What to call the index.
        samples: Builds over samples.
        rows: Rows of the full build.
        workers: Processes that may help in the full build.

    Example:
        >>> estimate = extrapolate("hnsw", [(1000, 1.0), (2000, 2.0)], 10_000)
        >>> estimate.seconds_low, estimate.seconds, estimate.seconds_high
        (4.0, 10.0, 25.0)
    """
    count, seconds = samples[-1]
    linear = seconds * rows / count
    steep = linear * (max(rows, count) / count) ** (growth(samples) - 1)
    return IndexEstimate(
        index,
        rows,
        count,
        seconds=math.sqrt(linear * steep / (1 + workers)),
        seconds_low=linear / (1 + workers) / SLACK,
        seconds_high=steep * SLACK,
    )


def growth(samples: Samples) -> float:
    """Return the power of the number of rows with which the time grows, between 1 and 1.5.

    Example:
        >>> growth([(1000, 1.0), (2000, 2.5), (4000, 6.25)])
        1.32
    """
    counts, seconds = np.log(np.maximum(np.array(samples, np.float64), 1e-9)).T
    slope = np.polyfit(counts, seconds, 1)[0] if len(samples) > 1 else 1.0
    return round(float(np.clip(slope, 1.0, _STEEPEST)), 2)
