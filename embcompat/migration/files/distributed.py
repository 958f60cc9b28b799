"""Past one machine: a folder of Parquet files on Ray Data, one task a file.

`embcompat.migration.convert_file` converts every file, so a file appears only when it is complete and checked, and a
worker that dies leaves at worst hidden parts from which the next one resumes. The metadata of a finished file names the
artifact and the source file; the remaining work is computed from the metadata, not from a list of our own.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

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
from embcompat.files.writing.pieces import PROVENANCE_KEY
from embcompat.migration.files.convert import convert_file
from embcompat.migration.files.folders import list_parquet, make_folders, require_apart
from embcompat.progress import ProgressFactory, silent
from embcompat.spaces import SpaceVersion


@dataclass(frozen=True)
class DatasetReport:
    """What the conversion of a folder did.

    Attributes:
        artifact_id: The artifact that was applied.
        source: The folder that was read.
        target: The folder that was written.
        files: Files in both folders.
        finished_before: Files that an earlier run had finished.
        rows: Rows in all files.
        converted_rows: Rows that this run converted.
        seconds: Wall time of this run.
        rows_per_second: Rows that this run converted, a second.
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
    """Convert every Parquet file of a folder, on Ray workers with one thread each.

    A Ray cluster that the program has joined is used; otherwise one is started on this machine. The artifact and both
    folders must be at the same path on every machine. Run it again after an interruption, or when files were added: it
    converts only files that are missing or were made from other content.

    Args:
        artifact_path: The artifact.
        source: Folder of ``.parquet`` files, in sub-folders too, or a pattern that names them; also in an object store.
        target: Folder to write files of the same names to; created if it does not exist.
        workers: Number of workers.
        space: The space of the files, if they do not name it.
        columns: The columns of ids, vectors and so on, if their names do not tell.
        batch_size: As in `convert_file`.
        force: Whether to convert with an aligner that does no better than chance.
        progress: Called with the number of files to do; yields a function that takes the number of files newly done.

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
    tasks = [{"source": str(folder / file), "target": str(target / file)} for file in todo]
    errors, converted, worst = [], 0, 0.0
    with (progress or silent)(len(todo)) as advance:
        for row in _on_workers(_FileConverter, (str(artifact_path), space, columns, options), tasks, workers):
            advance(1)
            converted += row["rows"]
            worst = max(worst, row["sample_error"])
            errors += [row["error"]] if row["error"] else []
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
        workers: Number of workers.
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
    tasks = [{"source": str(one), "target": str(other)} for one, other in zip(files, counterparts, strict=True)]
    total: tuple[GramSums, GramSums] | None = None
    for row in _on_workers(_PairSummer, (validation, seed), tasks, workers):
        if row["error"]:
            raise InputError(row["error"])
        if total is None:
            total = row["sums"]
            continue
        for sums, part in zip(total, row["sums"], strict=True):
            sums.merge(part)
    if total is None:
        raise InputError(f"{source} holds no .parquet files.")
    return total


class _FileConverter:
    """Converts files; one is made in every worker."""

    def __init__(
        self, artifact_path: str, space: SpaceVersion | None, columns: Columns, options: dict[str, Any]
    ) -> None:
        self._artifact, self._options = read_artifact(artifact_path), options
        self._space, self._columns = space, columns

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        try:
            file = open_vectors(task["source"], space=self._space, columns=self._columns)
            report = convert_file(self._artifact, file, task["target"], **self._options)
        except EmbcompatError as error:
            return {"rows": 0, "sample_error": 0.0, "error": f"{task['source']}: {error}"}
        return {"rows": report.rows - report.resumed_rows, "sample_error": report.sample_error, "error": ""}


def _files(path: Location, workers: int) -> list[PurePath]:
    if workers < 1:
        raise InputError(f"workers must be at least 1. Got {workers}.")
    return list_parquet(path)


class _PairSummer:
    """Sums over pairs of files; one is made in every worker."""

    def __init__(self, validation: float, seed: int) -> None:
        self._validation, self._seed = validation, seed

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        try:
            sums = stream_sums(task["source"], task["target"], validation=self._validation, seed=self._seed)
        except EmbcompatError as error:
            return {"sums": None, "error": str(error)}
        return {"sums": sums, "error": ""}


def _is_finished(source: Location, target: Location, artifact: Artifact) -> bool:
    """Return whether the target's metadata says that this artifact made it from this very file."""
    if not target.is_file():
        return False
    file = open_parquet(target)
    provenance = json.loads((file.schema_arrow.metadata or {}).get(PROVENANCE_KEY, b"{}"))
    same = (provenance.get("artifact"), provenance.get("source")) == (artifact.id, file_identity(source))
    return same and file.metadata.num_rows == open_parquet(source).metadata.num_rows


def _on_workers(
    kind: Callable[..., Any], arguments: tuple[Any, ...], tasks: list[dict[str, Any]], workers: int
) -> Iterator[dict[str, Any]]:
    """Run tasks on Ray actors and yield the results as they come."""
    if not tasks:
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
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        dataset = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
            kind, fn_constructor_args=arguments, compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks)))
        )
        yield from dataset.iter_rows()
    finally:
        if started:
            ray.shutdown()
