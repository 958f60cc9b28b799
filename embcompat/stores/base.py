"""A gallery store: the verbs of a migration, guarded once for all engines."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, final

from embcompat.errors import MigrationError, StoreError
from embcompat.spaces import require_space
from embcompat.stores.engine import StoreEngine
from embcompat.stores.values import Finish, Job, Obstacle, Phase, State, kept_old_side

_SETTLING_PASSES: Final = 20
"""Times that a cutover looks for rows of the moment of the switch [ours]."""

_PHASES: Final[dict[Phase, str]] = {
    "untouched": "not begun (migrate run)",
    "prepared": "under way, and the old vectors are in service",
    "cut_over": "cut over, and the new vectors are in service",
    "finished": "finished, and the old side was dropped",
}


class GalleryStore(StoreEngine, ABC):
    """A gallery of vectors that can be converted while it is in service.

    The target side is made beside the source side, which is never modified. The verbs of a migration are final here:
    `prepare`, `cutover`, `rollback`, `abort`, `drop_old` and `sweep` check the phase, once for all stores, and then
    call the store's own `_prepare`, `_cutover` and so on. A store implements what is abstract in `StoreEngine`.
    """

    @final
    def require_phase(self, job: Job, *phases: Phase, to: str) -> State:
        """Check how far the job is.

        Args:
            job: The job.
            phases: The phases that are right.
            to: What cannot be done in the others ("be cut over").

        Raises:
            MigrationError: If the job is in another phase.
        """
        state = self.state(job)
        if state.phase not in phases:
            raise MigrationError(f"{self.url} cannot {to}: the migration is {_PHASES[state.phase]}.")
        return state

    @final
    def hindrances(self, job: Job) -> list[Obstacle]:
        """List the obstacles of the store, and an earlier migration whose old side would be out of reach."""
        artifact = self.state(job).artifact
        obstacles = self.obstacles(job)
        if artifact in (None, job.artifact_id):
            return obstacles
        earlier = replace(job, artifact_id=artifact)
        return [*([kept_old_side(earlier)] if self.state(earlier).phase == "cut_over" else []), *obstacles]

    @final
    def prepare(self, job: Job) -> bool:
        """Make the target side, unless it is there.

        Returns:
            Whether it was made now.

        Raises:
            MigrationError: If the target side is in service already, or was made with another metric than the job's.
            SpaceMismatchError: If the store says that its vectors are of another space than the job's source.
            StoreError: If the gallery cannot be migrated; the message says why.
        """
        state = self.require_phase(job, "untouched", "prepared", to="be converted")
        if state.space is not None:
            require_space(state.space, job.source, what=self.url)
        if state.phase == "prepared":
            self._require_metric(job)
            self._resume(job)
            return False
        self._require_no_obstacles(job)
        self._prepare(job)
        self._resume(job)
        return True

    @final
    def cutover(self, job: Job, finish: Finish) -> None:
        """Put the target side into service in one step, and keep the old side.

        After the switch, rows that an application wrote to the old side between the last reconciliation and the
        switch are converted, and rows that it deleted there are removed, until a look at all rows finds none. A
        cutover that was interrupted after the switch goes on from there when it is repeated.

        Args:
            job: The job.
            finish: Converts the last rows that changed.

        Raises:
            MigrationError: If the target side is not there, or the old side was dropped.
            SpaceMismatchError: If the vectors in service are of another space by now than the job's source.
            StoreError: If something would not follow the switch; the message lists it.
        """
        state = self.require_phase(job, "prepared", "cut_over", to="be cut over")
        if state.phase == "prepared":
            if state.space is not None:
                require_space(state.space, job.source, what=self.url)
            self._require_no_obstacles(job)
            self._cutover(job, finish)
        for _ in range(_SETTLING_PASSES):
            if not self._follow(job, finish):
                break
        self._settle(job)

    @final
    def unsettled(self, job: Job) -> bool:
        """Return whether a cutover has switched, but rows of that moment wait to be converted or removed."""
        if self.state(job).phase != "cut_over":
            return False
        return self._unsettled(job) or any(True for _ in self.late_rows(job)) or any(True for _ in self.revived(job))

    @final
    def rollback(self, job: Job) -> int:
        """Put the old side back into service; return how many rows in service have no old vector.

        Raises:
            MigrationError: If the target side is not in service, or the old side is gone.
        """
        self.require_phase(job, "cut_over", to="be rolled back")
        return self._rollback(job)

    @final
    def abort(self, job: Job) -> list[str]:
        """Remove everything that an unfinished or rolled-back job has made, native vectors on its target side included.

        Returns:
            What was removed, a phrase each ("column vector__1f…").

        Raises:
            MigrationError: If the target side is in service.
        """
        self.require_phase(job, "untouched", "prepared", to="be aborted")
        removed = self.leftovers(job)
        if removed:
            self._abort(job)
        return removed

    @final
    def drop_old(self, job: Job) -> None:
        """Delete the old side. Nothing else ever does.

        Raises:
            MigrationError: If the old side is in service, or gone already.
        """
        self.require_phase(job, "cut_over", to="drop the old side")
        self._drop_old(job)

    @final
    def sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows in service that are not what the migration or the new model made.

        These are rows that an old application wrote after the cutover, rows whose old side was written between the
        last reconciliation and the switch, and rows that were deleted there and came back.

        Raises:
            MigrationError: If the target side is not in service.
        """
        phase = self.require_phase(job, "cut_over", "finished", to="be swept").phase
        yield from self._sweep(job)
        if phase == "cut_over":
            for rows in self.late_rows(job):
                yield rows.ids
            yield from self.revived(job)

    def _follow(self, job: Job, finish: Finish) -> int:
        """Convert late rows and remove revived ones, once; return how many these were."""
        count = 0
        for rows in self.late_rows(job):
            ids, vectors, digests = finish(rows)
            self.write(job, ids, vectors, digests)
            count += len(ids)
        for revived in self.revived(job):
            self.discard(job, revived)
            count += len(revived)
        return count

    def _require_metric(self, job: Job) -> None:
        metric = None if job.metric is None else self.target_metric(job)
        if metric not in (None, job.metric):
            raise MigrationError(
                f"{self.url}: this migration was begun with the metric {metric}, which --metric {job.metric} cannot "
                "change any more. Leave --metric out to continue, or begin again after migrate abort."
            )

    def _require_no_obstacles(self, job: Job) -> None:
        hindering = [entry.text for entry in self.hindrances(job) if not (entry.acceptable and job.accept_changes)]
        if hindering:
            raise StoreError(f"{self.url} cannot be migrated as it is. {' '.join(hindering)}")
