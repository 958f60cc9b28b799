"""The values that pass between a gallery store and a migration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.digests import row_digests

Phase = Literal["untouched", "prepared", "cut_over", "finished"]
"""untouched: nothing of this job is there; prepared: the target stands beside the source; cut_over: the target is in
service and the old side is kept; finished: the old side was dropped."""


@dataclass(frozen=True)
class Job:
    """One conversion of one gallery.

    Attributes:
        artifact_id: The artifact that is applied.
        source: Space of the vectors in service before.
        target: Space of the vectors in service after.
        metric: Metric of the index on the target side, where the user chose one; the metric in service when None.
        accept_changes: Whether the user accepts what the migration cannot keep; see `Obstacle`.
        text_column: Column of the texts that the aligner reads beside the vectors, or None.
        texts: These texts by id, for a store that has no such column; None otherwise.
    """

    artifact_id: str
    source: SpaceVersion
    target: SpaceVersion
    metric: Similarity | None = None
    accept_changes: bool = False
    text_column: str | None = None
    texts: Mapping[str, str] | None = field(default=None, repr=False, compare=False)

    @property
    def suffix(self) -> str:
        """Twelve hex digits that tell the names of this job's columns, tables and files from all others."""
        return self.artifact_id[:12]


@dataclass(frozen=True)
class Obstacle:
    """Something that a migration cannot do, or cannot keep as it is.

    Attributes:
        text: A sentence for the user: what it is, and what to do about it.
        acceptable: Whether the migration may go on when the user accepts it (`Job.accept_changes`).
    """

    text: str
    acceptable: bool = False


@dataclass(frozen=True)
class LockWait:
    """How a store waits for the locks of a switch, where it takes any.

    Attributes:
        seconds: Longest wait for a lock, in which others may queue behind it; then it is let go [ours].
        tries: How often it is asked for, with growing pauses between [ours].
    """

    seconds: float = 0.15
    tries: int = 30


@dataclass(frozen=True)
class State:
    """Where a gallery stands with a job.

    Attributes:
        phase: How far the job is.
        space: Space of the vectors in service, or None when the store does not record it.
        artifact: Id of the artifact that made them, or None when there is none or the store does not record it.
    """

    phase: Phase
    space: SpaceVersion | None
    artifact: str | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of the source side that have a vector.

    Attributes:
        ids: n ids as strings, from which the store finds its native keys again.
        vectors: Array (n, source_dim), float32; not checked, it may hold NaN.
        recorded: Array (n,), int64: digest of the source row that the target row was made from; 0 where there is
            no target row.
        texts: n texts where the job names a text column or brings texts, otherwise None; a row without a text has "".
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    recorded: NDArray[np.int64]
    texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def digests(self) -> NDArray[np.int64]:
        """Return the digest of each row: of its vector, and of its text where it has one."""
        return row_digests(self.vectors, self.texts)

    def select(self, keep: NDArray[np.bool_]) -> Rows:
        """Return the rows where ``keep`` is true."""
        if keep.all():
            return self
        places = np.flatnonzero(keep)
        return Rows(_chosen(self.ids, places), self.vectors[places], self.recorded[places], _texts(self.texts, places))


Finish = Callable[[Rows], tuple[Sequence[str], NDArray[np.float32], NDArray[np.int64]]]
"""Converts the last rows of a migration: ids, vectors and source digests of those that can be converted."""


@dataclass(frozen=True)
class Pairs:
    """Both sides of rows that have both.

    Attributes:
        ids: n ids.
        source: Array (n, source_dim).
        target: Array (n, target_dim).
        native: Array (n,), bool: whether the new model itself made the target vector.
        texts: n texts where the job names a text column, otherwise None.
        recorded: Array (n,), int64: digest of the source row that each target row was made from; None where the store
            reads both sides at a moment when they belong together.
    """

    ids: Sequence[str]
    source: NDArray[np.float32]
    target: NDArray[np.float32]
    native: NDArray[np.bool_]
    texts: Sequence[str] | None = None
    recorded: NDArray[np.int64] | None = None

    def digests(self) -> NDArray[np.int64]:
        """Return the digest of the source side of each row, as `Rows.digests` does."""
        return row_digests(self.source, self.texts)

    def select(self, keep: NDArray[np.bool_]) -> Pairs:
        """Return the rows where ``keep`` is true."""
        places = np.flatnonzero(keep)
        recorded = None if self.recorded is None else self.recorded[places]
        return Pairs(
            _chosen(self.ids, places),
            self.source[places],
            self.target[places],
            self.native[places],
            _texts(self.texts, places),
            recorded,
        )

    def current(self) -> Pairs:
        """Return the rows whose source side is still the one that the target side was made from."""
        return self if self.recorded is None else self.select(self.digests() == self.recorded)


@dataclass(frozen=True)
class TargetRows:
    """What the target side holds.

    Attributes:
        ids: n ids.
        vectors: Array (n, target_dim).
        native: Array (n,), bool: whether the new model itself made the vector.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    native: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Coverage:
    """Counted rows.

    Attributes:
        rows: Rows of the source side; of the side in service once that is the target.
        without_vector: Those whose vector is NULL: there is nothing to convert.
        converted: Those with a vector on both sides; those of the new space once that is in service.
        orphans: Rows of the target side whose source row is gone.
        native: Rows of the target side whose vector the new model itself made.
        changed: Rows without a converted vector because the application wrote them since, where the store notes that:
            the next run converts them, or the cutover itself.
    """

    rows: int
    without_vector: int
    converted: int
    orphans: int
    native: int
    changed: int = 0

    @property
    def missing(self) -> int:
        """Rows with a vector that have none on the target side, and that the store does not know to have changed."""
        return self.rows - self.without_vector - self.converted - self.changed


def kept_old_side(earlier: Job) -> Obstacle:
    """Return the obstacle that an earlier job has kept its old side, which a second cutover would put out of reach."""
    return Obstacle(
        f"The old side of an earlier migration, with artifact {earlier.suffix}…, is still there. First run migrate "
        "drop-old with that artifact, or migrate rollback and migrate abort."
    )


def no_target_side(url: str) -> StoreError:
    """Return the error of writing native vectors before there is anything to replace."""
    return StoreError(f"{url}: native vectors replace converted ones, and there are none. Run the migration first.")


def _chosen(ids: Sequence[str], places: NDArray[np.intp]) -> list[str]:
    return [ids[row] for row in places.tolist()]


def _texts(texts: Sequence[str] | None, places: NDArray[np.intp]) -> list[str] | None:
    return None if texts is None else _chosen(texts, places)
