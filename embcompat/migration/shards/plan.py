"""The plan of a conversion in shards: which rows of which file each shard converts, and to which file.

The plan is a file in the target folder, ``_plan.json``; readers of folders leave out names that begin with ``_``. It
holds no time and no name of a machine, so planning twice writes the same bytes.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, field_validator

from embcompat.artifact import Artifact, read_artifact
from embcompat.errors import InputError, MigrationError
from embcompat.evaluation.chance import require_better_than_chance
from embcompat.files.columns import Columns
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.objects import Location, ObjectPath, location
from embcompat.files.patterns import folder_of, is_folder
from embcompat.files.reading.folders import files_of_vectors, path_below
from embcompat.files.reading.opening import file_identity, open_vectors
from embcompat.files.reading.streams import VectorFile
from embcompat.files.writing.atomic import atomic_path
from embcompat.migration.files.folders import list_parquet, make_folders, require_apart

PLAN_FILE: Final = "_plan.json"
SUCCESS_FILE: Final = "_SUCCESS"
REQUESTS: Final = 16
"""Files that are read at the same time [ours]."""


class Piece(BaseModel):
    """Rows of one source file that become one target file.

    Attributes:
        source: Path of the file below the source folder; empty where the source is a single file.
        identity: What shows whether the file is still the same.
        first_row: The first row.
        rows: Number of rows.
        whole: Whether these are all rows of the file.
        target: Path of the file below the target folder.
        shard: The shard that converts it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    identity: dict[str, JsonValue]
    first_row: int
    rows: int
    whole: bool
    target: str
    shard: int

    @field_validator("source", "target")
    @classmethod
    def _below(cls, value: str) -> str:
        if not {"/", ".."}.isdisjoint(PurePosixPath(value).parts):
            raise ValueError(f"a path must stay below its folder, and {value!r} does not")
        return value


class ShardPlan(BaseModel):
    """What ``_plan.json`` holds.

    Attributes:
        schema_version: Version of this layout.
        artifact: Id of the artifact.
        source: The source, as it was named when the plan was made.
        target: The target, as it was named when the plan was made.
        columns: Which columns are which, where their names do not tell.
        batch_size: Rows that are converted at a time, and rows in a row group; derived from the length of a vector when
            None.
        shards: Number of shards.
        rows: Number of rows.
        source_bytes: Size of all source files.
        pieces: What the shards convert, in the order of the source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    artifact: str
    source: str
    target: str
    columns: dict[str, str | None]
    batch_size: int | None
    shards: int
    rows: int
    source_bytes: int
    pieces: tuple[Piece, ...]

    def of_shard(self, index: int) -> list[Piece]:
        """Return the pieces of one shard."""
        return [piece for piece in self.pieces if piece.shard == index]

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes of the file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def chosen_columns(self) -> Columns:
        """Return the roles of the columns."""
        return Columns(self.columns["id"], self.columns["vector"], self.columns["label"], self.columns["text"])


def plan_shards(
    artifact_path: str | Path | Artifact,
    source: str | Location,
    target: str | Location,
    *,
    shards: int,
    columns: Columns = Columns(),  # noqa: B008
    batch_size: int | None = None,
    overwrite: bool = False,
    force: bool = False,
) -> ShardPlan:
    """Plan the conversion of a file, a folder or a pattern in shards, and write the plan to the target folder.

    A file is one piece where there are at least as many files as shards; otherwise files are split by rows. Shards get
    about the same number of rows. The same plan made again changes nothing.

    Args:
        artifact_path: The artifact.
        source: A file of vectors, a folder of Parquet files or a pattern, here or in an object store.
        target: The folder to write Parquet files to, here or in an object store.
        shards: Number of shards.
        columns: Which columns are which, where their names do not tell.
        batch_size: Rows that are converted at a time, and rows in a row group; derived from the length of a vector when
            None.
        overwrite: Whether to replace another plan. Files that fit both plans stay.
        force: Whether to convert with an aligner that does no better than chance.

    Raises:
        InputError: If the source cannot be converted, or the target holds another plan or other files of vectors.
        GateError: If the aligner does no better than chance and ``force`` is False.
        SpaceMismatchError: If a file is not in the artifact's source space.
    """
    if shards < 1:
        raise InputError(f"shards must be at least 1. Got {shards}.")
    artifact = artifact_path if isinstance(artifact_path, Artifact) else read_artifact(artifact_path)
    source, target = location(source), location(target)
    require_better_than_chance(artifact, force=force)
    if target.suffix or target.is_file():
        raise InputError(f"target must be a folder, because each piece is a file of its own. Got {target}.")
    require_apart(source, target)
    files = list_sources(source)

    def look(name: str) -> tuple[VectorFile, dict[str, JsonValue]]:
        path = source_path(source, name)
        return open_vectors(path, space=artifact.source, columns=columns), file_identity(path)

    with ThreadPoolExecutor(REQUESTS) as pool:
        looks = dict(zip(files, pool.map(look, files), strict=True))
    rows = sum(file.rows for file, _ in looks.values())
    share = None if len(files) >= shards else max(1, -(-rows // shards))
    pieces = [piece for name, (file, identity) in looks.items() for piece in _cut(name, file, identity, share)]
    roles = {key: value for key, value in asdict(columns).items() if key != "required"}
    plan = ShardPlan(
        artifact=artifact.id,
        source=str(source),
        target=str(target),
        columns=roles,
        batch_size=batch_size,
        shards=shards,
        rows=rows,
        source_bytes=sum(int(str(identity["bytes"])) for _, identity in looks.values()),
        pieces=tuple(_assigned(pieces, shards)),
    )
    _write_plan(plan, target, overwrite=overwrite)
    return plan


def read_plan(target: Location) -> ShardPlan:
    """Read the plan in a target folder.

    Raises:
        InputError: If there is none, or it cannot be read.
    """
    path = target / PLAN_FILE
    if not path.is_file():
        raise InputError(f"{target} holds no plan. Make one first: embcompat shards plan ARTIFACT SOURCE {target}")
    data = path.read_bytes()
    try:
        return ShardPlan.model_validate_json(data)
    except ValidationError as error:
        raise InputError(f"{path} is not a plan of this version: {error.errors()[0]['msg']}. Make it again.") from error


def require_plan(artifact: Artifact, target: Location) -> ShardPlan:
    """Read the plan, which must be for this artifact.

    Raises:
        MigrationError: If it is for another one.
    """
    plan = read_plan(target)
    if plan.artifact != artifact.id:
        raise MigrationError(
            f"the plan in {target} is for artifact {plan.artifact[:12]}. Got artifact {artifact.id[:12]}. Convert with "
            "the planned one, or make a plan for this one in another folder."
        )
    return plan


def list_sources(source: Location) -> list[str]:
    """List the files of a source below its folder; one empty name for a single file."""
    return [name.as_posix() for name in list_parquet(source)] if is_folder(source) else [""]


def source_path(source: Location, name: str) -> Location:
    """Return where a file of the source is."""
    return folder_of(source) / name if name else source


def write_bytes(path: Location, data: bytes) -> None:
    """Write a small file that appears only when it is complete."""
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    make_folders([path])
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def other_files(plan: ShardPlan, target: Location) -> list[str]:
    """List the files of vectors in the target folder that the plan does not name."""
    if isinstance(target, Path) and not target.is_dir():
        return []
    names = {piece.target for piece in plan.pieces}
    files = (path_below(file, target).as_posix() for file in files_of_vectors(target))
    return [name for name in files if name not in names]


def _cut(name: str, file: VectorFile, identity: dict[str, JsonValue], share: int | None) -> Iterable[Piece]:
    """Cut a file into pieces of about ``share`` rows; one piece when None."""
    path = PurePath(name or file.path.name)
    count = 1 if share is None else max(1, -(-file.rows // share))
    whole = path if ENDINGS.get(ending_of(file.path)) == "parquet" else path.with_name(f"{path.name}.parquet")
    bounds = [file.rows * number // count for number in range(count + 1)]
    for number, (start, end) in enumerate(pairwise(bounds)):
        part = whole if count == 1 else path.with_name(f"{path.stem}-{number:05d}-of-{count:05d}.parquet")
        yield Piece(
            source=name,
            identity=identity,
            first_row=start,
            rows=end - start,
            whole=count == 1,
            target=part.as_posix(),
            shard=0,
        )


def _assigned(pieces: list[Piece], shards: int) -> list[Piece]:
    """Give each piece to the shard that has the fewest rows so far, large pieces first."""
    loads = [(0, shard) for shard in range(shards)]
    owners: dict[int, int] = {}
    for number in sorted(range(len(pieces)), key=lambda number: (-pieces[number].rows, number)):
        load, shard = heapq.heappop(loads)
        owners[number] = shard
        heapq.heappush(loads, (load + pieces[number].rows + 1, shard))  # files without rows are work, too
    return [piece.model_copy(update={"shard": owners[number]}) for number, piece in enumerate(pieces)]


def _write_plan(plan: ShardPlan, target: Location, *, overwrite: bool) -> None:
    """Write a plan unless it is there.

    Raises:
        InputError: If two pieces have the same name, or the target holds another plan or other files of vectors.
    """
    names: dict[str, Piece] = {}
    for piece in plan.pieces:
        other = names.setdefault(piece.target, piece)
        if other is not piece:
            raise InputError(f"two pieces would be called {piece.target}: of {piece.source} and {other.source}.")
    if (path := target / PLAN_FILE).is_file():
        if path.read_bytes() == plan.to_bytes():
            return
        if not overwrite:
            raise InputError(
                f"{target} holds another plan: of other files, or for another artifact or number of shards. Choose "
                "another folder, or pass overwrite (--overwrite)."
            )
    if others := other_files(plan, target):
        raise InputError(
            f"{target} must hold no other files of vectors. Got {len(others)}, for instance {others[0]}. Remove them, "
            "or choose another folder."
        )
    if (success := target / SUCCESS_FILE).is_file():
        success.unlink()
    write_bytes(path, plan.to_bytes())
