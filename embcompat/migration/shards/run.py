"""One shard of a planned conversion: it may be killed, repeated, or run twice at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue

from embcompat.artifact import Artifact, read_artifact
from embcompat.errors import InputError, MigrationError
from embcompat.files.objects import Location, location
from embcompat.files.reading.opening import file_identity, open_vectors
from embcompat.files.reading.streams import VectorFile
from embcompat.migration.files.convert import convert_file
from embcompat.migration.files.folders import converted_rows, make_folders
from embcompat.migration.rows import Shard
from embcompat.migration.shards.plan import REQUESTS, Piece, ShardPlan, require_plan, source_path
from embcompat.progress import ProgressFactory, silent


@dataclass(frozen=True)
class ShardReport:
    """What one shard did.

    Attributes:
        artifact_id: The artifact that was applied.
        source: The source.
        target: The target folder.
        shard: Which shard, from 0.
        shards: Number of shards of the plan.
        files: Files that this shard writes.
        finished_before: Number of files that an earlier run had finished.
        rows: Rows of the shard.
        converted_rows: Rows that this run converted.
        seconds: Wall time of this run.
        sample_error: Largest relative difference among rows read back by this run.
    """

    artifact_id: str
    source: str
    target: str
    shard: int
    shards: int
    files: int
    finished_before: int
    rows: int
    converted_rows: int
    seconds: float
    sample_error: float

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON."""
        return asdict(self)


def convert_shard(
    artifact_path: str | Path | Artifact,
    source: str | Location,
    target: str | Location,
    shard: Shard,
    *,
    threads: int | None = None,
    progress: ProgressFactory | None = None,
) -> ShardReport:
    """Convert the rows of one shard of the plan in the target folder.

    Each file is written by `convert_file`: it appears only when it is complete and checked, and its metadata names what
    it was made from. Finished files are left alone, so a shard may be started again at any time. Two runs of the same
    shard on one machine exclude each other; on two machines they write the same bytes.

    Args:
        artifact_path: The artifact of the plan.
        source: The source of the plan; it may have another path on this machine.
        target: The folder that holds the plan.
        shard: Which shard of how many, as the plan has it.
        threads: As in `convert_file`.
        progress: Takes the number of files to convert; yields a function that takes the number of files newly done.

    Raises:
        InputError: If there is no plan, or it has another number of shards.
        MigrationError: If the plan is for another artifact, a source file was changed since, or a check fails.
        StoreError: If another process is writing a file of the shard, or an object store refuses.
    """
    start = time.perf_counter()
    artifact = artifact_path if isinstance(artifact_path, Artifact) else read_artifact(artifact_path)
    source, target = location(source), location(target)
    plan = require_plan(artifact, target)
    if plan.shards != shard.count:
        raise InputError(
            f"a shard must be i/{plan.shards}, as the plan in {target} has it. Got {shard.index}/{shard.count}."
        )
    pieces = plan.of_shard(shard.index)
    with ThreadPoolExecutor(REQUESTS) as pool:
        list(pool.map(lambda piece: require_unchanged(source, piece), pieces))
        states = list(pool.map(lambda piece: is_finished(target, piece, artifact), pieces))
    todo = [piece for piece, finished in zip(pieces, states, strict=True) if not finished]
    make_folders([target / piece.target for piece in todo])
    converted, worst = 0, 0.0
    with (progress or silent)(len(todo)) as advance:
        for piece in todo:
            file = open_piece(source, piece, plan, artifact)
            report = convert_file(
                artifact,
                file,
                target / piece.target,
                batch_size=plan.batch_size,
                threads=threads,
                overwrite=True,
                force=True,
            )
            if not is_finished(target, piece, artifact):  # the source was changed just before
                raise MigrationError(f"{target / piece.target} was not made from the planned file. Run it again.")
            converted += report.rows - report.resumed_rows
            worst = max(worst, report.sample_error)
            advance(1)
    return ShardReport(
        artifact_id=artifact.id,
        source=str(source),
        target=str(target),
        shard=shard.index,
        shards=shard.count,
        files=len(pieces),
        finished_before=len(pieces) - len(todo),
        rows=sum(piece.rows for piece in pieces),
        converted_rows=converted,
        seconds=time.perf_counter() - start,
        sample_error=worst,
    )


def open_piece(source: Location, piece: Piece, plan: ShardPlan, artifact: Artifact) -> VectorFile:
    """Open the rows of a piece."""
    file = open_vectors(source_path(source, piece.source), space=artifact.source, columns=plan.chosen_columns())
    return file if piece.whole else file.part(piece.first_row, piece.rows)


def require_unchanged(source: Location, piece: Piece) -> None:
    """Refuse a source file that is not what it was when the plan was made.

    Raises:
        MigrationError: If it is missing or was changed.
    """
    path = source_path(source, piece.source)
    state = "is missing" if not path.exists() else "was changed" if file_identity(path) != piece.identity else ""
    if state:
        raise MigrationError(
            f"{path} {state} since the plan was made. Make the plan again (embcompat shards plan … --overwrite); files "
            "that fit the new plan stay."
        )


def is_finished(target: Location, piece: Piece, artifact: Artifact) -> bool:
    """Return whether the file of a piece is there and, by its metadata, was made by this artifact from these rows."""
    extent = None if piece.whole else (piece.first_row, piece.rows)
    return converted_rows(target / piece.target, artifact, piece.identity, extent) == piece.rows
