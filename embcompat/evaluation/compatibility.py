"""Whether versions of a model can live in one gallery, judged from any metric that rises with quality. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError


@dataclass(frozen=True)
class Compatibility:
    """A new model against a gallery of the old one.

    Attributes:
        old: Metric of old queries on the old gallery.
        cross: Metric of new queries on the old or converted gallery.
        new: Metric of new queries on a gallery embedded with the new model.
    """

    old: float
    cross: float
    new: float

    @property
    def compatible(self) -> bool:
        """Whether the criterion cross > old holds, strictly.

        Source: Shen et al., Towards Backward-Compatible Representation Learning (2020).
        """
        return self.cross > self.old

    @property
    def update_gain(self) -> float | None:
        """The part of the new model's gain that new queries get without a reindex: (cross − old) / (new − old).

        None where the new model is not better than the old one: then there is no gain to get a part of. Source: Shen
        et al. (2020).
        """
        return (self.cross - self.old) / (self.new - self.old) if self.new > self.old else None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON; where the update gain is undefined, ``note`` says why."""
        result = dict(vars(self)) | {"compatible": self.compatible, "update_gain": self.update_gain}
        if self.update_gain is None:
            result["note"] = "The update gain is undefined: the new model is not better than the old one."
        return result


@dataclass(frozen=True, eq=False)
class CompatibilityMatrix:
    """The metric of each version's queries on each version's gallery.

    Attributes:
        versions: Names, oldest first.
        values: Array (versions, versions): row = version of the queries, column = version of the gallery.
    """

    versions: tuple[str, ...]
    values: NDArray[np.float64]

    @property
    def average_compatibility(self) -> float:
        """Part of the pairs of versions in which the newer one's queries beat the older version on its own gallery.

        Source: Biondi et al., CoReS: Compatible Representations via Stationarity (2021).
        """
        newer, older = np.tril_indices(len(self.versions), -1)
        return float(np.mean(self.values[newer, older] > self.values[older, older]))

    def pair(self, newer: str, older: str) -> Compatibility:
        """Return one pair of versions.

        Raises:
            InputError: If a version is unknown.
        """
        row, column = (self._index(name) for name in (newer, older))
        return Compatibility(
            float(self.values[column, column]), float(self.values[row, column]), float(self.values[row, row])
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the matrix as JSON."""
        return {
            "versions": list(self.versions),
            "values": self.values.tolist(),
            "average_compatibility": self.average_compatibility,
        }

    def _index(self, name: str) -> int:
        if name not in self.versions:
            raise InputError(f"version must be one of {', '.join(self.versions)}. Got {name!r}.")
        return self.versions.index(name)


@dataclass(frozen=True)
class Flips:
    """Queries on which a change of model changed the outcome.

    Attributes:
        negative: Part of the queries that were right before and are wrong after.
        positive: Part of the queries that were wrong before and are right after.
        count: Number of queries.
    """

    negative: float
    positive: float
    count: int


def compatibility_matrix(versions: Sequence[str], measure: Callable[[str, str], float]) -> CompatibilityMatrix:
    """Measure every version's queries on every version's gallery.

    Args:
        versions: Two or more names, oldest first.
        measure: Called with the version of the queries and the version of the gallery; returns the metric.

    Raises:
        InputError: If there are fewer than two versions, or a name is repeated.

    Example:
        >>> table = {("a", "a"): 0.5, ("a", "b"): 0.4, ("b", "a"): 0.6, ("b", "b"): 0.7}
        >>> matrix = compatibility_matrix(["a", "b"], lambda queries, gallery: table[queries, gallery])
        >>> matrix.average_compatibility, round(matrix.pair("b", "a").update_gain, 3)
        (1.0, 0.5)
    """
    if len(versions) < 2 or len(set(versions)) != len(versions):
        raise InputError(f"versions must be two or more different names. Got {list(versions)}.")
    values = [[measure(queries, gallery) for gallery in versions] for queries in versions]
    return CompatibilityMatrix(tuple(versions), np.array(values, dtype=np.float64))


def count_flips(old: ArrayLike, new: ArrayLike) -> Flips:
    """Count the queries that a change of model made wrong, and those it made right.

    An average that rises can hide a query that worked yesterday and fails today. Source: Yan et al.,
    Positive-Congruent Training: Towards Regression-Free Model Updates (2021).

    Args:
        old: Array (n,) of booleans: whether each query was right under the old model.
        new: Array (n,) of booleans: the same queries under the new model.

    Raises:
        InputError: If the two differ in length, are empty, or are not booleans.

    Example:
        >>> count_flips([True, True, False, False], [True, False, True, False])
        Flips(negative=0.25, positive=0.25, count=4)
    """
    first, second = np.asarray(old), np.asarray(new)
    same_shape = first.ndim == 1 and first.shape == second.shape and first.size > 0
    if not (same_shape and first.dtype == second.dtype == bool):
        raise InputError(
            "old and new must be booleans, one for each of the same queries. "
            f"Got shapes {first.shape} and {second.shape}, dtypes {first.dtype} and {second.dtype}."
        )
    return Flips(float(np.mean(first & ~second)), float(np.mean(~first & second)), len(first))
