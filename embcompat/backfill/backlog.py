"""The rows that could be re-embedded, and what is known about them: the input of every order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.serving import calibrate_scores
from embcompat.spaces import require_space

MOST_CALIBRATED = 1_000
"""Held-out pairs whose scores with each other calibrate the converted ones: a million scores [ours]."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Pairs that no aligner was fitted on. They serve to choose an order or a calibration, never to report figures.

    Attributes:
        old: The items under the old model.
        converted: The same items, converted.
        new: The same items under the new model.

    Raises:
        InputError: If the three are not the same items, or there are fewer than two.
    """

    old: Embeddings
    converted: Embeddings
    new: Embeddings

    def __post_init__(self) -> None:
        if any(not np.array_equal(self.old.ids, side.ids) for side in (self.converted, self.new)) or len(self.old) < 2:
            raise InputError(
                "held-out pairs must be at least two items, the same on all sides, row by row. "
                f"Got {len(self.old)}, {len(self.converted)} and {len(self.new)} rows."
            )
        require_space(self.new.space, self.converted.space, what="The new vectors of held-out pairs")

    def errors(self) -> NDArray[np.float64]:
        """Return the distance between each item's converted and new vector (m,)."""
        return np.asarray(np.linalg.norm(self.new.vectors.astype(np.float64) - self.converted.vectors, axis=1))

    def calibrate(self) -> tuple[float, float]:
        """Find the scale and offset that turn scores against converted rows into scores against native ones.

        Every new vector is scored against all other items, see `calibrate_scores`.
        """
        part = slice(MOST_CALIBRATED)
        others = ~np.eye(len(self.new.vectors[part]), dtype=bool)
        native, converted = (
            pairwise_scores(self.new.vectors[part], side.vectors[part], self.new.space.similarity)[others]
            for side in (self.new, self.converted)
        )
        return calibrate_scores(native, converted)


@dataclass(frozen=True, eq=False)
class Backlog:
    """Converted rows that could be re-embedded. Fields that are None are unknown; orders that need them raise an error.

    Attributes:
        old: The rows under the old model; their labels are the classes.
        converted: The same rows, converted.
        held_out: Pairs that show the error of the conversion.
        convertibility: What `OnnxAligner.convertibility` gives for the old vectors (n,).
        queries: A sample of new queries (q, target_dim), disjoint from the queries of any evaluation.
        visits: How often each row was retrieved (n,), from an access log that is disjoint in the same way; used instead
            of queries.
        weights: Weight of each order's score in ``recommended``; empty for a random order.
        seed: Seed of all random draws.

    Raises:
        InputError: If the two sides are not the same rows, or another array has the wrong shape.
    """

    old: Embeddings
    converted: Embeddings
    held_out: HeldOut | None = None
    convertibility: NDArray[np.float32] | None = None
    queries: NDArray[np.float32] | None = None
    visits: NDArray[np.float64] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not np.array_equal(self.old.ids, self.converted.ids):
            raise InputError("old and converted must hold the same ids in the same order. Convert the old rows.")
        for name in ("convertibility", "visits"):
            values = getattr(self, name)
            if values is not None and values.shape != (len(self),):
                raise InputError(f"{name} must hold one number for each of {len(self)} rows. Got {values.shape}.")
        dim = self.converted.space.dim
        if self.queries is not None and (self.queries.ndim != 2 or self.queries.shape[1] != dim):
            raise InputError(f"queries must be new vectors (q, {dim}). Got shape {self.queries.shape}.")

    def __len__(self) -> int:
        return len(self.old)

    @property
    def labels(self) -> NDArray[np.object_] | None:
        """The classes of the rows, or None."""
        return self.old.labels if self.old.labels is not None else self.converted.labels
