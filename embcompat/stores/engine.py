"""What the engine of a gallery store implements: reading and writing rows, and the hooks of the verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.spaces import Similarity
from embcompat.stores.draws import scan_sample, scan_selection
from embcompat.stores.growth import IndexEstimate
from embcompat.stores.values import Coverage, Finish, Job, LockWait, Obstacle, Pairs, Rows, State, TargetRows

UNMEASURED: Final = "a trial would have to write to the store"
"""Why the time of an index is unknown, where a store gives no other reason."""


class StoreEngine(ABC):
    """What each store does in its own way; `GalleryStore` adds the verbs of a migration.

    All progress is in the store itself: a target row records the digest of the source row it was made from, so what is
    missing or out of date can be computed at any time, from any host, in any order. Every method may be repeated after
    a kill. `scan` and `coverage` also answer before the target side is made. What only some stores can do has a
    default here.

    Attributes:
        url: Where the gallery is, without secrets.
        batch_size: Rows that are best written at a time.
        keeps_norms: Whether vectors come back as long as they were written; some stores keep only the direction.
        tolerance: Largest relative difference between a vector written and read back.
        lock_wait: How long a lock is waited for, where the store takes any.
        reads_texts: Whether a scan reads the texts of a column that the job names.
        takes_texts: Whether a scan gives each row the text that the job brings for its id.
        draws_directly: Whether `draw` reads only the rows that it draws.
        writes_index: Whether writing builds the index, so that `try_write` measures both.
    """

    url: str
    batch_size: int
    keeps_norms: bool
    tolerance: float
    lock_wait: LockWait = LockWait()
    reads_texts: bool = False
    takes_texts: bool = False
    draws_directly: bool = False
    writes_index: bool = False

    @abstractmethod
    def dim(self) -> int:
        """Return the length of the vectors in service; 0 where only a vector would tell, and there is none."""

    @abstractmethod
    def state(self, job: Job) -> State:
        """Return how far the job is and which space is in service."""

    @abstractmethod
    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:
        """Read the rows of the source side that have a vector, with their texts where the job names a text column.

        Args:
            job: The job.
            batch_size: Most rows at a time.
            missing_only: Leave out rows that have a target row, without asking whether it is still right; otherwise
                every row comes that might need another look.
            claim: Leave out parts that another worker is at, where the store can tell.
        """

    @abstractmethod
    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Write converted target rows with their provenance, replacing those that are there, also when in service.

        A native vector is replaced only when the source row is another one than it was written beside. Rows whose
        source row is gone meanwhile are left out or become orphans.

        Args:
            job: The job.
            ids: n ids.
            vectors: Array (n, target_dim).
            digests: Array (n,), int64: digests of the source rows that they were made from.

        Raises:
            StoreError: If a row is refused. None of the rows is then written.
        """

    @abstractmethod
    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Replace target vectors by those that the new model itself made, also when they are in service already.

        The recorded source digest stays, so that a source row that changes is still seen, and then converted again.
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

    @abstractmethod
    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target side of the given rows, in any phase; rows without a target vector are left out."""

    @abstractmethod
    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Remove the target rows of rows that cannot be converted any more."""

    @abstractmethod
    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows; rows without both are left out."""

    @abstractmethod
    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids of up to ``count`` rows that were converted, not native ones, drawn from the whole gallery."""

    @abstractmethod
    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides."""

    @abstractmethod
    def leftovers(self, job: Job) -> list[str]:
        """List everything that the job has made and that `abort` would remove, a phrase each; change nothing."""

    @abstractmethod
    def _prepare(self, job: Job) -> None:
        """Make the target side."""

    def _resume(self, job: Job) -> None:  # noqa: B027 - few stores have anything to do
        """Go on, before every run, with what the target side needs besides converted rows; by default nothing."""

    @abstractmethod
    def _cutover(self, job: Job, finish: Finish) -> None:
        """Put the target side into service in one step; convert the last rows where writers can be held meanwhile."""

    def _settle(self, job: Job) -> None:  # noqa: B027 - few stores have anything to do
        """End a cutover, once the rows of the moment of the switch have been converted; by default nothing."""

    def _unsettled(self, job: Job) -> bool:  # noqa: ARG002
        """Return whether it is noted that a cutover was interrupted after the switch; by default nothing is noted."""
        return False

    @abstractmethod
    def _rollback(self, job: Job) -> int:
        """Put the old side back into service; return how many rows in service have no old vector."""

    @abstractmethod
    def _abort(self, job: Job) -> None:
        """Remove everything that `leftovers` lists; may be repeated after a kill."""

    @abstractmethod
    def _drop_old(self, job: Job) -> None:
        """Delete the old side."""

    @abstractmethod
    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows in service that do not say they are of the new space: an old application wrote them."""

    def obstacles(self, job: Job) -> list[Obstacle]:  # noqa: ARG002
        """List what the migration cannot do or keep, before and between its steps; by default nothing.

        `migrate plan` shows the list; `prepare` and `cutover` refuse to go on unless each entry is acceptable and the
        user accepts it.
        """
        return []

    def notes(self, job: Job) -> list[str]:  # noqa: ARG002
        """List what an application must know about the switch, a sentence each; by default nothing.

        Nothing of this hinders a migration: `migrate plan` and `migrate cutover` show it.
        """
        return []

    def late_rows(self, job: Job) -> Iterator[Rows]:  # noqa: ARG002
        """Find rows of the old side, once it is out of service, that the side in service was not made from.

        An application wrote them between the last reconciliation and the switch: their vector is there and they have
        no new one, or one that was made from another vector. By default none: for stores that hold writers meanwhile.
        """
        return iter(())

    def revived(self, job: Job) -> Iterator[Sequence[str]]:  # noqa: ARG002
        """Find converted rows in service that are gone from the old side: deleted before the switch, and back again.

        By default none: for stores in which both sides are of the same row, or that hold writers meanwhile.
        """
        return iter(())

    def written_rows(self, job: Job) -> Iterator[TargetRows]:  # noqa: ARG002
        """Read the vectors in service that applications wrote after the cutover and declared to be of the new space.

        By default none: for stores that take no such declaration.
        """
        return iter(())

    def remove_orphans(self, job: Job) -> int:  # noqa: ARG002
        """Remove target rows whose source row is gone; return how many. By default there are none."""
        return 0

    def index_kind(self) -> str | None:
        """Return the kind of vector index that the side in service has; by default none."""
        return None

    def target_metric(self, job: Job) -> Similarity | None:  # noqa: ARG002
        """Return the metric of the index of the target side; None, the default, while it can still be chosen."""
        return None

    def index_status(self) -> str | None:
        """Describe how far the index is that `build_index` builds; may be called in another thread. None if unknown."""
        return None

    def build_index(self, job: Job) -> None:  # noqa: B027 - a store may have no index
        """Give the target side the kind of index that the source side has; by default there is none."""

    def copied_bytes(self) -> int:
        """Return what copies of other columns, indexes and old versions of rows take, all rows together; 0 by default.

        These come on top of the converted vectors.
        """
        return 0

    def try_write(self, job: Job, rows: Rows, vectors: NDArray[np.float32]) -> float | None:  # noqa: ARG002
        """Write rows that were just read and converted in a temporary folder, as they would be written in the gallery.

        Args:
            job: The job.
            rows: n rows of a `scan`.
            vectors: Array (n, target_dim).

        Returns:
            The seconds that it took; None, the default, where writing cannot be tried elsewhere.
        """
        return None

    def estimate_indexes(self, job: Job, vectors: NDArray[np.float32]) -> list[IndexEstimate]:  # noqa: ARG002
        """Estimate what the indexes over the target vectors will take, without leaving anything in the store.

        By default nothing is measured: most servers can build an index only over vectors that are stored in them.

        Args:
            job: The job.
            vectors: Array (n, target_dim): converted vectors, at least one.
        """
        kind = self.index_kind()
        return [] if kind is None else [IndexEstimate(kind, 0, remark=UNMEASURED)]

    def stored(self, job: Job, vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ARG002
        """Return what target vectors (n, target_dim) become when they are stored; by default what they are."""
        return vectors

    def draw(
        self, job: Job, count: int | None, *, seed: int, columns: Sequence[str] = (), where: str | None = None
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Draw rows of the side in service that have a vector, each with the same chance, and other columns of them.

        Here the store is scanned once and the rows with the smallest hashes of their ids are kept; a store that can
        reach rows by position or key reads only those.

        Args:
            job: A job, for the names of sides; its text column is the only other column that a scan can read.
            count: Most rows; all when None.
            seed: Seed of the draw.
            columns: Other columns to read.
            where: A condition in the store's own language, passed on as it is; None for all rows.

        Returns:
            The rows, and the values of the columns by name.

        Raises:
            StoreError: If the store cannot read a column, or takes no condition.
            InputError: If the store cannot evaluate the condition.
        """
        if where is not None:
            raise StoreError(f"{self.url}: this store cannot sample by a condition (where=…). Got {where!r}.")
        return scan_sample(self, job, count, seed=seed, columns=columns)

    def look_up(
        self, job: Job, ids: Sequence[str], *, columns: Sequence[str] = ()
    ) -> tuple[Rows, dict[str, Sequence[Any]]]:
        """Read the given rows of the side in service that have a vector, and other columns of them.

        Here the store is scanned once; a store that can reach rows by key reads only those. See `draw`.
        """
        return scan_selection(self, job, ids, columns=columns)

    def close(self) -> None:  # noqa: B027 - a store may hold nothing open
        """Let go of files and connections; by default nothing is held open."""
