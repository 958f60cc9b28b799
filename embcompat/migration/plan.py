"""Estimate time and space of a migration, before anything is written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.evaluation.similarity import pairwise_scores
from embcompat.migration.checks import check_canary
from embcompat.migration.foreign import foreign_obstacle
from embcompat.migration.options import RunOptions, job_of, require_texts, require_vectors_of
from embcompat.migration.rows import Shard, convert_rows
from embcompat.runtime import OnnxAligner
from embcompat.spaces import Similarity
from embcompat.stores.base import GalleryStore
from embcompat.stores.growth import SLACK, IndexEstimate, extrapolate, time_builds
from embcompat.stores.url import parse_store_url
from embcompat.stores.values import Job, Obstacle, Phase, Rows

TRIAL_ROWS = 8_192
"""Rows that are read and converted to measure the rate [ours]."""

_NEIGHBOURS = 10
_NEIGHBOUR_QUERIES = 256

PROVENANCE_BYTES = 100
"""Bytes that the provenance of a row takes at most: two names and two digests [ours]."""


@dataclass(frozen=True)
class MigrationPlan:
    """Estimated time and space of a migration, and what it cannot keep.

    Attributes:
        artifact_id: The artifact.
        url: The gallery.
        phase: How far the migration is.
        rows: Rows of the gallery.
        without_vector: Rows without a vector.
        missing: Rows to convert.
        source_bytes: Size of the stored vectors, uncompressed.
        target_bytes: Size of the missing converted vectors and their provenance.
        copied_bytes: What the target side takes besides: in PostgreSQL a copy of the other columns and of all indexes,
            or the old versions of all rows when a new column is filled.
        free_bytes: Free space where the gallery is; None where it is not on this machine.
        seconds_at_least: Time of reading and converting, from a trial on the first rows; writing comes on top.
        write_seconds: Time of writing, from a trial that writes the same rows to a temporary folder; for files it
            includes building the index. None if that needs writing to the gallery. A rough figure: it assumes that
            every row costs the same, but an HNSW index grows slower with every row, and the folder may be on another
            disk.
        index: Kind of the vector index that will be rebuilt, which can take far longer than the conversion.
        index_estimates: Time to build each index, with a range, from builds over samples that leave nothing in the
            store; without figures, but with the reason, where that is not possible.
        total_seconds_low: Lower end of the range for the whole run: reading, converting, writing and indexes, as far as
            they were measured.
        total_seconds_high: Upper end; None where a part was not measured.
        obstacles: What the migration cannot do or keep; a run only begins if each is acceptable and the user accepts
            it.
        notes: What an application must know about the switch.
        neighbours_kept: Share of the ten nearest among the rows of the trial that stay the nearest when the converted
            vectors are rounded as the store rounds them; None if it keeps them as they are.
    """

    artifact_id: str
    url: str
    phase: Phase
    rows: int
    without_vector: int
    missing: int
    source_bytes: int
    target_bytes: int
    copied_bytes: int
    free_bytes: int | None
    seconds_at_least: float
    write_seconds: float | None
    index: str | None
    obstacles: tuple[Obstacle, ...]
    notes: tuple[str, ...] = ()
    neighbours_kept: float | None = None
    index_estimates: tuple[IndexEstimate, ...] = ()
    total_seconds_low: float = 0.0
    total_seconds_high: float | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the plan as JSON."""
        return asdict(self)


def plan_migration(aligner: OnnxAligner, store: GalleryStore, *, options: RunOptions | None = None) -> MigrationPlan:
    """Count, measure and check without writing anything.

    Args:
        aligner: The artifact.
        store: The gallery.
        options: The options of the migration.

    Raises:
        SpaceMismatchError: If the store records another space than the artifact's source.
        InputError: If its vectors have another length, or texts and artifact do not go together.
        MigrationError: If the canary check fails.
    """
    artifact = aligner.artifact
    job = job_of(artifact, options)
    require_texts(aligner, store, job)
    state = store.state(job)
    converting = state.phase in ("untouched", "prepared")
    require_vectors_of(artifact.source if converting else artifact.target, store, state.space)
    check_canary(artifact, aligner.transform_canary)
    coverage = store.coverage(job)
    missing = coverage.missing if converting else 0
    path = parse_store_url(store.url).path
    obstacles = list(store.hindrances(job)) if converting else []
    possible = missing and all(obstacle.acceptable for obstacle in obstacles)
    if possible and (foreign := foreign_obstacle(artifact, store, job)) is not None:
        obstacles.append(foreign)
    trial = _try(aligner, store, job, missing) if possible else _Trial(0.0, 0.0)
    seconds_low, seconds_high = trial.total(missing)
    return MigrationPlan(
        artifact_id=artifact.id,
        url=store.url,
        phase=state.phase,
        rows=coverage.rows,
        without_vector=coverage.without_vector,
        missing=missing,
        source_bytes=4 * artifact.source.dim * (coverage.rows - coverage.without_vector),
        target_bytes=(4 * artifact.target.dim + PROVENANCE_BYTES) * missing,
        copied_bytes=store.copied_bytes() if converting else 0,
        free_bytes=shutil.disk_usage(path).free if path.exists() else None,
        seconds_at_least=trial.reading_seconds * missing,
        write_seconds=None if trial.writing_seconds is None else trial.writing_seconds * missing,
        index=store.index_kind(),
        obstacles=tuple(obstacles),
        notes=tuple(store.notes(job)) if converting else (),
        neighbours_kept=trial.neighbours_kept,
        index_estimates=tuple(trial.indexes),
        total_seconds_low=seconds_low,
        total_seconds_high=seconds_high,
    )


@dataclass(frozen=True)
class _Trial:
    """A trial on the first rows: seconds per row, the effect of rounding, and the time of the indexes.

    Attributes:
        reading_seconds: Seconds of reading and converting a row.
        writing_seconds: Seconds of writing one; None where that was not tried.
        neighbours_kept: See `MigrationPlan`.
        indexes: Time to build the indexes.
        writes_index: Whether writing builds the index, so that its time is in both figures.
    """

    reading_seconds: float
    writing_seconds: float | None
    neighbours_kept: float | None = None
    indexes: Sequence[IndexEstimate] = ()
    writes_index: bool = False

    def total(self, missing: int) -> tuple[float, float | None]:
        """Return the range of the seconds of a run over so many rows; no upper end where a part was not measured."""
        lows, highs = zip((0.0, 0.0), *((each.seconds_low, each.seconds_high) for each in self.indexes), strict=True)
        writing = 0.0 if self.writes_index else self.writing_seconds
        rows = (self.reading_seconds + (writing or 0.0)) * missing
        low = rows + sum(each or 0.0 for each in lows)
        if writing is None or None in highs:
            return low, None
        return low, SLACK * rows + sum(each or 0.0 for each in highs)


def _try(aligner: OnnxAligner, store: GalleryStore, job: Job, missing: int) -> _Trial:
    """Read and convert rows, write them elsewhere if the store can, and build their index elsewhere."""
    start = time.perf_counter()
    rows = next(store.scan(job, batch_size=TRIAL_ROWS, missing_only=True))
    rows = rows.select(np.arange(len(rows)) < TRIAL_ROWS)
    converted = convert_rows(rows, aligner.transform, job.source, Shard())
    reading = (time.perf_counter() - start) / len(rows)
    if not len(converted.ids):
        return _Trial(reading, None)
    converted_rows = rows.select(np.isin(rows.ids, converted.ids))
    writing = store.try_write(job, converted_rows, converted.vectors)
    rounded = store.stored(job, converted.vectors)
    agreement = None
    if rounded is not converted.vectors:
        agreement = neighbours_kept(converted.vectors, rounded, job.target.similarity)
    indexes = store.estimate_indexes(job, converted.vectors)
    if store.writes_index and (kind := store.index_kind()) is not None:
        indexes = [extrapolate(kind, _time_writes(store, job, converted_rows, converted.vectors), missing)]
    per_row = None if writing is None else writing / len(converted_rows)
    return _Trial(reading, per_row, agreement, indexes, store.writes_index and bool(indexes))


def _time_writes(
    store: GalleryStore, job: Job, rows: Rows, vectors: NDArray[np.float32]
) -> Sequence[tuple[int, float]]:
    """Write samples of different sizes with their index; return rows and seconds of each."""

    def write(count: int) -> float:
        sample = rows.select(np.arange(len(rows)) < count)
        return store.try_write(job, sample, vectors[:count]) or 0.0

    return time_builds(write, len(rows))


def neighbours_kept(exact: NDArray[np.float32], rounded: NDArray[np.float32], similarity: Similarity) -> float:
    """Return the share of the ten nearest rows that stay the nearest when all vectors are rounded.

    Args:
        exact: Array (n, dim).
        rounded: Array (n, dim): the same rows as a store gives them back.
        similarity: How the space compares.

    Example:
        >>> neighbours_kept(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), "cosine")
        1.0
    """
    queries = slice(0, _NEIGHBOUR_QUERIES)
    count = min(_NEIGHBOURS, len(exact))
    nearest = [
        np.argsort(-pairwise_scores(rows[queries], rows, similarity), axis=1, kind="stable")[:, :count]
        for rows in (exact, rounded)
    ]
    return float(np.mean([np.isin(*rows).mean() for rows in zip(*nearest, strict=True)]))
