"""What a curve tries: orders, when each row has its turn; what it chooses: a mixture of orders, a scale of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.curves.measured import Replicated
from embcompat.backfill.order import order_rows, standardize

Turns = NDArray[np.int16]
"""For each row, the number of the first fraction at which it is native."""

Scale = tuple[float, float]
"""Factor and offset of scores against converted rows."""

UNCALIBRATED: Scale = (1.0, 0.0)
"""The scale that changes nothing."""

DRAWS = 5
"""Random orders whose mean is the curve of ``random`` [ours]."""


def draw_names() -> list[str]:
    """Return the names of the random orders."""
    return [f"random {number}" for number in range(DRAWS)]


def mixtures(kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return what ``recommended`` may be: each order alone, every two in equal parts, and all of them [ours].

    Example:
        >>> list(mixtures(["class_mean", "usefulness"]))
        ['class_mean', 'usefulness', 'class_mean + usefulness']
    """
    several = [*combinations(kinds, 1), *combinations(kinds, 2)]
    if len(kinds) > 2:
        several.append(tuple(kinds))
    return {" + ".join(names): dict.fromkeys(names, 1 / len(names)) for names in several}


def choose_mixture(curves: Mapping[str, Replicated], random: Replicated) -> str | None:
    """Return the mixture with the largest area, or None unless its paired interval lies above random's.

    So on the data that it was chosen on, the recommended order is never worse than a random one [ours].
    """
    if not curves:
        return None
    best = max(curves, key=lambda name: curves[name].values.mean())
    return best if curves[best].auc_over(random).low > 0 else None


def choose_scale(calibration: Scale, calibrated: Replicated, uncalibrated: Replicated) -> Scale:
    """Return the calibration if the paired interval of what it adds to the area lies above zero, else `UNCALIBRATED`.

    Args:
        calibration: The scale under trial.
        calibrated: The curve of random orders with it, on data that nothing is reported on.
        uncalibrated: The same without it.
    """
    return calibration if calibrated.auc_over(uncalibrated).low > 0 else UNCALIBRATED


def plan_turns(
    scores: Mapping[str, NDArray[np.float64]], native: NDArray[np.bool_], *, steps: int, mixed: bool, seed: int
) -> dict[str, Turns]:
    """Compute when each row of a gallery is re-embedded under each order.

    Args:
        scores: Scores (n,) of the orders, without ``random`` and ``recommended``.
        native: Rows that are native from the start (n,).
        steps: Number of fractions, both ends included.
        mixed: Whether to include the mixtures.
        seed: Seed of the random orders and of ties.

    Returns:
        Turns by name: the random draws, the given orders, and the mixtures.
    """
    orders = dict(scores)
    if mixed:
        ranks = {kind: standardize(numbers) for kind, numbers in scores.items()}
        for name, weights in mixtures(list(scores)).items():
            orders.setdefault(name, np.sum([weight * ranks[kind] for kind, weight in weights.items()], axis=0))
    for number, name in enumerate(draw_names()):
        orders[name] = np.random.default_rng([seed, number]).random(len(native))
    return {name: take_turns(numbers, native, steps=steps, seed=seed) for name, numbers in orders.items()}


def take_turns(scores: NDArray[np.float64], native: NDArray[np.bool_], *, steps: int, seed: int) -> Turns:
    """Turn scores (n,) into the step from which each row is native (n,); native rows have step 0.

    Example:
        >>> take_turns(np.array([1.0, 3.0, 2.0, 9.0]), np.array([False, False, False, True]), steps=4, seed=0).tolist()
        [3, 1, 2, 0]
    """
    rows = order_rows(scores, seed=seed)
    rows = rows[~native[rows]]
    counts = np.round(np.linspace(0, 1, steps) * len(rows))
    turns = np.zeros(len(scores), dtype=np.int16)
    turns[rows] = np.searchsorted(counts, np.arange(len(rows)), side="right")
    return turns
