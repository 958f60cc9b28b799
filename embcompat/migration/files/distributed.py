"""Beyond one machine: a folder of Parquet files on Ray, one task per file.

`embcompat.migration.convert_file` converts every file, so a file appears only when it is complete and checked, and a
worker that dies leaves at worst hidden parts from which the next one resumes. The metadata of a finished file names the
artifact and the source file; the remaining work is computed from this metadata; no separate list is kept.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, TypeVar

from pydantic import JsonValue

from embcompat.aligners import GramSums
from embcompat.aligners.streaming import stream_sums
from embcompat.artifact import Artifact, read_artifact
from embcompat.errors import EmbcompatError, InputError, MigrationError, MissingExtraError
from embcompat.evaluation.chance import require_better_than_chance
from embcompat.files.columns import Columns
from embcompat.files.objects import Location, location
from embcompat.files.patterns import folder_of
from embcompat.files.reading.opening import file_identity, open_vectors
from embcompat.files.reading.parquet import open_parquet
from embcompat.migration.files.convert import ConversionReport, convert_file
from embcompat.migration.files.folders import converted_rows, list_parquet, make_folders, require_apart
from embcompat.progress import ProgressFactory, silent
from embcompat.spaces import SpaceVersion

Result = TypeVar("Result")


@dataclass(frozen=True)
class DatasetReport:
    """What the conversion of a folder did.

    Attributes:
        artifact_id: The artifact that was applied.
        source: The folder that was read.
        target: The folder that was written.
        files: Number of files in each folder.
        finished_before: Number of files that an earlier run had finished.
        rows: Rows in all files.
        converted_rows: Rows that this run converted.
        seconds: Wall time of this run.
        rows_per_second: Rows that this run converted per second.
        sample_error: Largest relative difference among rows read back by this run.
    """

    artifact_id: str
    source: str
    target: str
    files: int
    finished_before: int
    rows: int
    converted_rows: int
    seconds: float
    rows_per_second: float
    sample_error: float

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON."""
        return asdict(self)


def convert_dataset(
    artifact_path: str | Path,
    source: str | Location,
    target: str | Location,
    *,
    workers: int = 2,
    space: SpaceVersion | None = None,
    columns: Columns = Columns(),  # noqa: B008
    batch_size: int | None = None,
    force: bool = False,
    progress: ProgressFactory | None = None,
) -> DatasetReport:
    """Convert every Parquet file of a folder on Ray, one thread for each file.

    A Ray cluster that the program has joined is used; otherwise one is started on this machine. The artifact and both
    folders must be at the same path on every machine. Run it again after an interruption, or when files were added: it
    converts only files that are missing or were made from other content.

    Args:
        artifact_path: The artifact.
        source: Folder of ``.parquet`` files, in sub-folders too, or a pattern that names them; also in an object store.
        target: Folder to write files of the same names to; created if it does not exist.
        workers: Number of files to work on at a time.
        space: The space of the files, if they do not name it.
        columns: The columns of ids, vectors and so on, if their names do not tell.
        batch_size: As in `convert_file`.
        force: Whether to convert with an aligner that does no better than chance.
        progress: Takes the number of files to convert; yields a function that takes the number of files newly done.

    Raises:
        InputError: If there are no files, or ``workers`` is not positive.
        GateError: If the aligner does no better than chance and ``force`` is False.
        MissingExtraError: If Ray is not installed.
        MigrationError: If a file could not be converted, or is missing at the end; all others are converted.
    """
    start = time.perf_counter()
    artifact, source, target = read_artifact(artifact_path), location(source), location(target)
    require_better_than_chance(artifact, force=force)
    require_apart(source, target)
    folder = folder_of(source)
    files = _files(source, workers)
    todo = [file for file in files if not _is_finished(folder / file, target / file, artifact)]
    make_folders([target / file for file in todo])
    options = {"batch_size": batch_size, "threads": 1, "overwrite": True, "force": True}
    tasks = [
        (artifact.path.resolve(), str(folder / file), str(target / file), {"space": space, "columns": columns}, options)
        for file in todo
    ]
    errors, converted, worst = [], 0, 0.0
    with (progress or silent)(len(todo)) as advance:
        for report in _on_workers(_convert, tasks, workers):
            advance(1)
            if isinstance(report, str):
                errors.append(report)
                continue
            converted += report.rows - report.resumed_rows
            worst = max(worst, report.sample_error)
    missing = [str(file) for file in files if not _is_finished(folder / file, target / file, artifact)]
    if missing:
        reason = f" The first reason: {errors[0]}" if errors else ""
        raise MigrationError(
            f"{len(missing)} of {len(files)} files are not converted: {', '.join(missing[:5])}.{reason}"
        )
    seconds = time.perf_counter() - start
    return DatasetReport(
        artifact_id=artifact.id,
        source=str(source),
        target=str(target),
        files=len(files),
        finished_before=len(files) - len(todo),
        rows=sum(open_parquet(target / file).metadata.num_rows for file in files),
        converted_rows=converted,
        seconds=seconds,
        rows_per_second=converted / seconds,
        sample_error=worst,
    )


def sum_dataset(
    source: str | Location, target: str | Location, *, workers: int = 2, validation: float = 0.1, seed: int = 0
) -> tuple[GramSums, GramSums]:
    """Sum over the pairs of two folders on Ray workers, for `embcompat.aligners.fit_affine_sums`.

    Files of the same name hold the same items in the same order; see `embcompat.aligners.streaming.stream_sums`.

    Args:
        source: Folder of ``.parquet`` files of source vectors.
        target: Folder of ``.parquet`` files of target vectors.
        workers: Number of files to work on at a time.
        validation: Fraction of the pairs to hold out.
        seed: Seed of the choice.

    Returns:
        The sums over the pairs to fit on, and over the held-out pairs.

    Raises:
        InputError: If there are no files, or a file has no counterpart.
        MissingExtraError: If Ray is not installed.
    """
    source, target = location(source), location(target)
    names = _files(source, workers)
    files, counterparts = [folder_of(source) / name for name in names], [target / name for name in names]
    if absent := [path for path in counterparts if not path.is_file()]:
        raise InputError(f"every file of {source} must have a counterpart in {target}. Missing: {absent[0].name}.")
    tasks = [(str(one), str(other), validation, seed) for one, other in zip(files, counterparts, strict=True)]
    total: tuple[GramSums, GramSums] | None = None
    for parts in _on_workers(_sum, tasks, workers):
        if isinstance(parts, str):
            raise InputError(parts)
        if total is None:
            total = deepcopy(parts)  # arrays that Ray hands over are read-only
            continue
        for sums, part in zip(total, parts, strict=True):
            sums.merge(part)
    if total is None:
        raise InputError(f"{source} holds no .parquet files.")
    return total


def _files(path: Location, workers: int) -> list[PurePath]:
    if workers < 1:
        raise InputError(f"workers must be at least 1. Got {workers}.")
    return list_parquet(path)


def _convert(
    artifact_path: Path, source: str, target: str, reading: dict[str, Any], options: dict[str, Any]
) -> ConversionReport | str:
    """Convert one file on a worker, and return the report, or what is wrong with the file."""
    try:
        return convert_file(read_artifact(artifact_path), open_vectors(source, **reading), target, **options)
    except EmbcompatError as error:
        return f"{source}: {error}"


def _sum(source: str, target: str, validation: float, seed: int) -> tuple[GramSums, GramSums] | str:
    """Sum over the pairs of two files on a worker, and return the sums, or what is wrong with the files."""
    try:
        return stream_sums(source, target, validation=validation, seed=seed)
    except EmbcompatError as error:
        return str(error)


def _is_finished(source: Location, target: Location, artifact: Artifact) -> bool:
    """Return whether, by its metadata, this artifact made the target from this source file."""
    rows = converted_rows(target, artifact, file_identity(source))
    return rows is not None and rows == open_parquet(source).metadata.num_rows


def _on_workers(task: Callable[..., Result], arguments: list[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """Run a task for each tuple of arguments on Ray, as many at a time as workers, and yield the results as they come.

    Ray runs the task of a worker that died on another one.
    """
    if not arguments:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "embcompat[ray]", "Converting a folder") from error
    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        remote = ray.remote(num_cpus=1, max_retries=-1)(task)
        waiting = iter(arguments)
        running = [remote.remote(*values) for values in islice(waiting, workers)]
        while running:
            finished, running = ray.wait(running)
            running += [remote.remote(*values) for values in islice(waiting, 1)]
            yield ray.get(finished[0])
    finally:
        if started:
            ray.shutdown()
