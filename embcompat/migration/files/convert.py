"""Convert a file of vectors with an artifact: a stream in constant memory, resumed after a kill, checked at the end."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue

from embcompat.artifact import Artifact
from embcompat.errors import InputError, MigrationError
from embcompat.evaluation.chance import require_better_than_chance
from embcompat.files.columns import Columns, find_roles
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.objects import Location, ObjectPath, location
from embcompat.files.reading.npy import NpySource
from embcompat.files.reading.opening import file_identity, open_vectors, split_address
from embcompat.files.reading.parquet import ParquetSource
from embcompat.files.reading.streams import Block, VectorFile
from embcompat.files.writing.parts import PartFile, open_part
from embcompat.files.writing.pieces import NpyFormat, ParquetFormat, PieceFormat
from embcompat.migration.checks import SAMPLE_TOLERANCE, CanaryResult, check_canary, relative_error
from embcompat.migration.files.rows import FileRows
from embcompat.migration.files.sample import Sample
from embcompat.migration.pipeline import run_pipeline
from embcompat.progress import Advance, ProgressFactory, silent
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion, require_space

_BLOCK_BYTES = 8 << 20
_NPY_BLOCK_BYTES = 4 << 20

_BLOCKS_OF_A_THREAD = 8
"""Blocks of a small file for each thread, or some threads would wait while others convert the last ones [ours]."""

_LEAST_ROWS = 2_048
"""Rows below which a block is not made smaller for that."""


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did and how it was checked.

    Attributes:
        artifact_id: The artifact that was applied.
        source: The file that was read.
        target: The file that was written.
        source_space: Id of the space of ``source``.
        target_space: Id of the space of ``target``.
        rows: Rows in both files.
        resumed_rows: Rows that an interrupted run had already written.
        seconds: Wall time of this run, checks included.
        rows_per_second: Rows that this run converted per second.
        sampled_rows: Rows read back and recomputed.
        sample_error: Largest relative difference among them.
        canary: The result of the semantic canary; None when the artifact carries no canary.
        rows_without_text: Rows that this run converted from the vector alone because they had no text; None where the
            artifact reads no texts.
    """

    artifact_id: str
    source: str
    target: str
    source_space: str
    target_space: str
    rows: int
    resumed_rows: int
    seconds: float
    rows_per_second: float
    sampled_rows: int
    sample_error: float
    canary: CanaryResult | None
    rows_without_text: int | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON."""
        return asdict(self)


def convert_file(
    artifact_path: str | Path | Artifact,
    source: str | Location | VectorFile,
    target: str | Location,
    *,
    space: SpaceVersion | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
    force: bool = False,
    texts: Mapping[str, str] | None = None,
    progress: ProgressFactory | None = None,
) -> ConversionReport:
    """Convert a file of vectors of any format into the artifact's target space.

    Reading, computing and writing overlap and take constant memory (text files and .npz are held in memory). The target
    appears only when it is complete and checked: all rows are there, a sample read back equals what the artifact gives,
    and the artifact's canary pairs find each other. A run that was interrupted, even by ``kill -9``, resumes where it
    stopped when the same source is converted with the same artifact to the same target; the batch size may differ. A
    file for an object store stays in the temporary folder of this machine until it is complete, so it can only be
    resumed on the same machine.

    Columns beside the vectors are carried over under their names and with their types; the schema metadata records
    the target space and, under ``embcompat.provenance``, the artifact.

    Args:
        artifact_path: The artifact.
        source: A file or folder of vectors, or what `embcompat.files.open_vectors` returns, which also takes the names
            of columns, and ids and labels from other files. ``s3://…`` and ``gs://…`` for Parquet files in an object
            store.
        target: What to write: ``.parquet``, here or in an object store, or ``.npy`` from a ``.npy`` file. Ids that the
            source lacks are row numbers, and marked as such.
        space: The space of ``source``; needed if the file does not name it.
        batch_size: Rows that are read, converted and written at a time, and rows in a row group; derived from the
            length of a vector and the number of rows when None.
        threads: Threads that convert; all processors when None.
        resume: Whether to resume an interrupted run.
        overwrite: Whether to replace a target that exists.
        force: Whether to convert with an aligner that does no better than chance.
        texts: For an artifact that reads texts, the text of each item by id; the file's column of texts when None. A
            row without a text is converted from its vector alone, and counted.
        progress: Takes the total number of rows; yields a function that takes the number of rows newly done.

    Raises:
        InputError: If an argument cannot be used.
        GateError: If the aligner does no better than chance and ``force`` is False.
        FileFormatError: If the source is damaged or holds a bad vector; names the row.
        SpaceMismatchError: If the source is not in the artifact's source space.
        MigrationError: If a check fails. The target is then not written.
        StoreError: If another process is writing the same target, or an object store refuses.
    """
    start = time.perf_counter()
    target = location(target)
    workers = threads if threads is not None else os.cpu_count() or 1
    path = source.path if isinstance(source, VectorFile) else split_address(source, Columns())[0]
    _check_arguments(path, target, batch_size, workers, overwrite=overwrite)
    file = source if isinstance(source, VectorFile) else open_vectors(source, space=space)
    aligner = OnnxAligner(artifact_path, threads=1)
    artifact = aligner.artifact
    require_better_than_chance(artifact, force=force)
    require_space(stated_space(file), artifact.source, what=str(path))
    canary = check_canary(artifact, aligner.transform_canary)
    convert = FileRows(aligner, file, texts)
    layout = _layout(file, target, artifact)
    identity: dict[str, JsonValue] = {
        "artifact": artifact.id,
        "source": file_identity(path),
        "columns": file.roles.describe(),
        "target": target.suffix,
        **file.extent(),
        **convert.identity(),
    }
    with open_part(target, layout, identity=identity, resume=resume) as part:
        resumed = part.rows
        sample = Sample(file.rows)
        with (progress or silent)(file.rows - resumed) as advance:
            size = batch_size or _batch_size(file, artifact, workers)
            blocks = sample.watch(file.blocks(part.rows, size))
            _convert_rows(blocks, convert, layout, part, workers, advance)
        part.close_with(layout)
        sampled, error = _check_written(convert, part, target, sample)
        if file_identity(path) != identity["source"]:
            raise MigrationError(f"{path} was changed while it was converted. Nothing was written; start again.")
        part.publish(path.headers() if isinstance(path, ObjectPath) and path.is_file() else None)
    seconds = time.perf_counter() - start
    return ConversionReport(
        artifact_id=artifact.id,
        source=str(path),
        target=str(target),
        source_space=artifact.source.id,
        target_space=artifact.target.id,
        rows=file.rows,
        resumed_rows=resumed,
        seconds=seconds,
        rows_per_second=(file.rows - resumed) / seconds,
        sampled_rows=sampled,
        sample_error=error,
        canary=canary,
        rows_without_text=sum(convert.without_text) if aligner.reads_texts else None,
    )


def _check_arguments(
    path: Location, target: Location, batch_size: int | None, threads: int, *, overwrite: bool
) -> None:
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1. Got {batch_size}.")
    if threads < 1:
        raise InputError(f"threads must be at least 1. Got {threads}.")
    endings = ENDINGS.get(ending_of(path)), ENDINGS.get(target.suffix.lower())
    here = isinstance(target, Path)
    if endings[1] != "parquet" and not (here and endings == ("npy", "npy")):
        raise InputError(
            f"target must be a .parquet file, or a .npy file when the source is one. Got {path.name} → {target.name}."
        )
    if _is_same(path, target):
        raise InputError(f"target must be another file than the source, which is never modified. Got {target} twice.")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already. Choose another target, or pass overwrite (--overwrite).")


def _is_same(path: Location, target: Location) -> bool:
    if isinstance(path, Path) and isinstance(target, Path):
        return path.exists() and target.exists() and path.samefile(target)
    return path == target


def stated_space(file: VectorFile) -> SpaceVersion:
    """Return the space of a file.

    Raises:
        InputError: If the file does not name it.
    """
    if file.space is None:
        raise InputError(f"{file.path} does not name its space. Name it (--old-space name@version).")
    return file.space


def _layout(file: VectorFile, target: Location, artifact: Artifact) -> PieceFormat:
    if ENDINGS[target.suffix.lower()] == "npy":
        if file.others():
            raise InputError(
                f"a .npy file holds nothing but vectors. Write a .parquet file to keep {file.others()[0]}s."
            )
        return NpyFormat(file.rows, artifact.target.dim)
    provenance: dict[str, JsonValue] = {
        "artifact": artifact.id,
        "columns": file.roles.describe(),
        "native": False,
        "source": file_identity(file.path),
        "source_space": artifact.source.id,
        **file.extent(),
    }
    return ParquetFormat(file.copy_schema(), artifact.target, provenance, vector=file.copy_vector)


def _batch_size(file: VectorFile, artifact: Artifact, threads: int) -> int:
    row_bytes = 4 * max(artifact.source.dim, artifact.target.dim)
    size = _NPY_BLOCK_BYTES if isinstance(file.source, NpySource) else _BLOCK_BYTES
    share = max(_LEAST_ROWS, math.ceil(file.rows / (_BLOCKS_OF_A_THREAD * threads)))
    return max(256, min(65_536, size // row_bytes, share))


def _convert_rows(
    blocks: Iterator[Block],
    convert: FileRows,
    layout: PieceFormat,
    part: PartFile,
    threads: int,
    advance: Advance,
) -> None:
    def compute(block: Block) -> memoryview:
        mapped = convert.checked(block)
        return layout.encode(mapped, convert.file.copy_others(block) if isinstance(layout, ParquetFormat) else None)

    def write(block: Block, piece: memoryview) -> None:
        part.append(piece, len(block))
        advance(len(block))

    run_pipeline(blocks, compute, write, threads=threads)


def _check_written(convert: FileRows, part: PartFile, target: Location, sample: Sample) -> tuple[int, float]:
    """Check the finished file before it gets its name: its number of rows, and a sample that is recomputed."""
    is_npy = ENDINGS[target.suffix.lower()] == "npy"
    copy = NpySource(part.path) if is_npy else ParquetSource(part.path)
    roles = find_roles(copy.schema, Columns(), where=str(target))
    file = convert.file
    result = VectorFile(copy, roles, convert.aligner.artifact.target)
    if not result.rows == part.rows == file.rows:
        raise MigrationError(
            f"{target} must have the {file.rows} rows of {file.path}. Got {result.rows}. "
            "Nothing was written; start again with resume=False."
        )
    sampled, largest = 0, 0.0
    for expected in sample.of(file):
        start = expected.start
        block = result.block_at(start, len(expected) or 1)
        same = is_npy or _values(result.copy_others(block)) == _values(file.copy_others(expected))
        error = relative_error(block.vectors, convert.mapped(expected))
        if not (same and error <= SAMPLE_TOLERANCE):
            raise MigrationError(
                f"{target}: rows {start} to {start + len(block) - 1}, read back, differ from the converted rows "
                f"(largest relative difference {error:.2g}). Nothing was written; start again with resume=False."
            )
        sampled, largest = sampled + len(block), max(largest, error)
    return sampled, largest


def _values(table: pa.Table) -> str:
    return repr(table.to_pydict())  # as text NaN equals NaN
