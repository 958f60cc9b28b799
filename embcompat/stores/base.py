"""What every gallery store can do, and the values that pass between a store and a migration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.spaces import SpaceVersion, require_space

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
    """

    artifact_id: str
    source: SpaceVersion
    target: SpaceVersion

    @property
    def suffix(self) -> str:
        """Twelve hex digits that tell the names of this job's columns, tables and files from all others."""
        return self.artifact_id[:12]


@dataclass(frozen=True)
class State:
    """Where a gallery stands with a job.

    Attributes:
        phase: How far the job is.
        space: Space of the vectors in service, or None when the store was never told.
    """

    phase: Phase
    space: SpaceVersion | None

    def is_new(self, job: Job, *, where: str) -> bool:
        """Say whether nothing of the job is there yet; then the gallery must be in its source space, where it says one.

        Args:
            job: The job.
            where: Where the gallery is, for the error.

        Raises:
            SpaceMismatchError: If the gallery says that it is in another space.
        """
        if self.phase != "untouched":
            return False
        if self.space is not None:
            require_space(self.space, job.source, what=where)
        return True


@dataclass(frozen=True)
class Rows:
    """Rows of the source side that have a vector.

    Attributes:
        ids: n ids as strings, from which the store finds its native keys again.
        vectors: Array (n, source_dim), float32; not checked, it may hold NaN.
        recorded: Array (n,), int64: digest of the source vector that the target row was made from; 0 where there is
            no target row.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    recorded: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, keep: NDArray[np.bool_]) -> Rows:
        """Return the rows where ``keep`` is true."""
        if keep.all():
            return self
        index = np.flatnonzero(keep)
        return Rows([self.ids[row] for row in index.tolist()], self.vectors[index], self.recorded[index])


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
    """

    ids: Sequence[str]
    source: NDArray[np.float32]
    target: NDArray[np.float32]
    native: NDArray[np.bool_]

    def select(self, keep: NDArray[np.bool_]) -> Pairs:
        """Return the rows where ``keep`` is true."""
        ids = [self.ids[row] for row in np.flatnonzero(keep).tolist()]
        return Pairs(ids, self.source[keep], self.target[keep], self.native[keep])


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
    """

    rows: int
    without_vector: int
    converted: int
    orphans: int
    native: int

    @property
    def missing(self) -> int:
        """Rows with a vector that have none on the target side."""
        return self.rows - self.without_vector - self.converted


class GalleryStore(Protocol):
    """A gallery of vectors that can be converted while it is in service.

    The target side is made beside the source side, which is never modified. All progress is in the store itself: a
    target row records the digest of the source vector it was made from, so what is missing or out of date can be
    asked at any time, from any host, in any order. Every method may be repeated after a kill. `scan` and `coverage`
    also answer before the target side is made.

    Attributes:
        url: Where the gallery is, without secrets.
        batch_size: Rows that are best written at a time.
        keeps_norms: Whether vectors come back as long as they were written; some stores keep only the direction.
        tolerance: Largest relative difference between a vector written and read back.
    """

    url: str
    batch_size: int
    keeps_norms: bool
    tolerance: float

    def dim(self) -> int:
        """Return the length of the vectors in service."""

    def state(self, job: Job) -> State:
        """Return how far the job is and which space is in service."""

    def prepare(self, job: Job) -> None:
        """Make the target side, or find it made.

        Raises:
            StoreError: If the gallery cannot be migrated; the message says why.
        """

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:
        """Read the rows of the source side that have a vector.

        Args:
            job: The job.
            batch_size: Most rows at a time.
            missing_only: Leave out rows that have a target row, without asking whether it is still right; otherwise
                every row comes that might need another look.
            claim: Leave out parts that another worker is at, where the store can tell.
        """

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Write converted target rows with their provenance, replacing those that are there.

        A native vector is replaced only when the source vector is another one than it was written beside. Rows whose
        source row is gone meanwhile are left out or become orphans.

        Args:
            job: The job.
            ids: n ids.
            vectors: Array (n, target_dim).
            digests: Array (n,), int64: digests of the source vectors that they were made from.

        Raises:
            StoreError: If a row is refused. None of the rows is then written.
        """

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Replace target vectors by those that the new model itself made, also when they are in service already.

        The recorded source digest stays, so that a source vector that changes is still seen, and then converted again.
        Rows without a target vector are left out.

        Args:
            job: The job.
            ids: n different ids.
            vectors: Array (n, target_dim).

        Returns:
            Rows written.

        Raises:
            StoreError: If there is no target side, or a row is refused. None of the rows is then written.
        """

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target side of the given rows, in any phase; rows without a target vector are left out."""

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Remove the target rows of rows that cannot be converted any more."""

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows; rows without both are left out."""

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids of up to ``count`` rows that were converted, not native ones, drawn from the whole gallery."""

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides."""

    def remove_orphans(self, job: Job) -> int:
        """Remove target rows whose source row is gone; return how many."""

    def index_kind(self) -> str | None:
        """Return the kind of vector index that the side in service has, or None."""

    def build_index(self, job: Job) -> None:
        """Give the target side the kind of index that the source side has, if it has one."""

    def cutover(self, job: Job, finish: Finish) -> None:
        """Put the target side into service in one step and keep the old side.

        Args:
            job: The job.
            finish: Converts the last rows that changed, where the store can hold writers meanwhile.
        """

    def rollback(self, job: Job) -> int:
        """Put the old side back into service; return how many rows in service have no old vector."""

    def drop_old(self, job: Job) -> None:
        """Delete the old side. Nothing else ever does."""

    def sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows in service that do not say they are of the new space: an old application wrote them."""

    def close(self) -> None:
        """Let go of files and connections."""


def no_target_side(url: str) -> StoreError:
    """Return the error of writing native vectors before there is anything to replace."""
    return StoreError(f"{url}: native vectors replace converted ones, and there are none. Run the migration first.")
