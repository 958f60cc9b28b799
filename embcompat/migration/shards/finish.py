"""The end of a conversion in shards: check that everything is there, then mark the target as complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue

from embcompat.artifact import Artifact, read_artifact
from embcompat.errors import MigrationError
from embcompat.files.objects import Location, location
from embcompat.files.reading.opening import file_identity, open_vectors
from embcompat.files.reading.streams import SEQUENTIAL_ROWS, VectorFile
from embcompat.migration.shards.plan import (
    REQUESTS,
    SUCCESS_FILE,
    Piece,
    ShardPlan,
    list_sources,
    other_files,
    require_plan,
    write_bytes,
)
from embcompat.migration.shards.run import is_finished, open_piece, require_unchanged
from embcompat.progress import ProgressFactory, silent

_NAMED = 5  # of what is missing, in an error


@dataclass(frozen=True)
class FinishReport:
    """What was checked at the end.

    Attributes:
        artifact_id: The artifact that was applied.
        source: The source.
        target: The target folder.
        shards: Number of shards.
        files: Files in the target folder.
        rows: Rows in them.
    """

    artifact_id: str
    source: str
    target: str
    shards: int
    files: int
    rows: int

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON."""
        return asdict(self)


def finish_shards(
    artifact_path: str | Path | Artifact,
    source: str | Location,
    target: str | Location,
    *,
    progress: ProgressFactory | None = None,
) -> FinishReport:
    """Check that all shards are there, and mark the target as complete: write ``_SUCCESS``, a list of its files.

    Every file must come from the planned artifact and rows and have the ids of the source in the same order; the source
    must be as it was, and the target must hold nothing else. ``_SUCCESS`` is written last; finishing twice writes the
    same bytes.

    Args:
        artifact_path: The artifact of the plan.
        source: The source of the plan; it may have another path on this machine.
        target: The folder that holds the plan.
        progress: Takes the number of files; yields a function that takes the number of files newly checked.

    Raises:
        InputError: If there is no plan.
        MigrationError: If something is missing, was changed or does not belong there; names the shards to run again.
    """
    artifact = artifact_path if isinstance(artifact_path, Artifact) else read_artifact(artifact_path)
    source, target = location(source), location(target)
    plan = require_plan(artifact, target)
    _require_same_files(source, plan)
    with ThreadPoolExecutor(REQUESTS) as pool:
        list(pool.map(lambda piece: require_unchanged(source, piece), plan.pieces))
        states = list(pool.map(lambda piece: is_finished(target, piece, artifact), plan.pieces))
    _require_finished([piece for piece, state in zip(plan.pieces, states, strict=True) if not state], plan, target)
    if others := other_files(plan, target):
        raise MigrationError(
            f"{target} must hold the files of the plan alone. Got {len(others)} others, for instance {others[0]}. "
            "Remove them and finish again."
        )
    files: list[JsonValue] = []
    with ThreadPoolExecutor(REQUESTS) as pool, (progress or silent)(len(plan.pieces)) as advance:
        for entry in pool.map(lambda piece: _checked(source, target, piece, plan, artifact), plan.pieces):
            files.append(entry)
            advance(1)
    success = {
        "artifact": artifact.id,
        "files": files,
        "plan": plan.digest,
        "rows": plan.rows,
        "space": artifact.target.id,
    }
    write_bytes(target / SUCCESS_FILE, (json.dumps(success, indent=1, ensure_ascii=False) + "\n").encode())
    return FinishReport(artifact.id, str(source), str(target), plan.shards, len(files), plan.rows)


def _require_same_files(source: Location, plan: ShardPlan) -> None:
    """Refuse a source with files that were added since.

    Raises:
        MigrationError: If there are any.
    """
    known = {piece.source for piece in plan.pieces}
    if added := [name for name in list_sources(source) if name not in known]:
        raise MigrationError(
            f"{source} has {len(added)} files that the plan does not have, for instance {added[0]}. Make the plan "
            "again (embcompat shards plan … --overwrite)."
        )


def _require_finished(missing: Sequence[Piece], plan: ShardPlan, target: Location) -> None:
    """Refuse a target in which files are missing.

    Raises:
        MigrationError: If there are any; names the shards.
    """
    if missing:
        shards = [f"{shard}/{plan.shards}" for shard in sorted({piece.shard for piece in missing})]
        more = f" and {len(shards) - _NAMED} more" if len(shards) > _NAMED else ""
        raise MigrationError(
            f"{target} lacks {len(missing)} of {len(plan.pieces)} files, for instance {missing[0].target}. Run these "
            f"shards again: {', '.join(shards[:_NAMED])}{more}."
        )


def _checked(source: Location, target: Location, piece: Piece, plan: ShardPlan, artifact: Artifact) -> JsonValue:
    """Compare the ids of a piece with those of its source, and return its entry in ``_SUCCESS``.

    Raises:
        MigrationError: If they differ.
    """
    path = target / piece.target
    old = open_piece(source, piece, plan, artifact)
    new = open_vectors(path, space=artifact.target)
    ids, copied = _ids(old), _ids(new)
    if not ids.equals(copied) and ids.to_pylist() != copied.to_pylist():
        raise MigrationError(
            f"{path} must have the ids of {old.path} in the same order, and has others. Delete it and run shard "
            f"{piece.shard}/{plan.shards} again."
        )
    return {"name": piece.target, "rows": piece.rows, "bytes": file_identity(path)["bytes"]}


def _ids(file: VectorFile) -> pa.ChunkedArray:
    if file.roles.id is None:
        return pa.chunked_array([pa.array([str(row) for row in range(file.first_row, file.first_row + file.rows)])])
    batches = file.source.batches(0, SEQUENTIAL_ROWS, [file.roles.id])
    return pa.chunked_array([batch.column(0) for batch in batches], file.schema.field(file.roles.id).type)
