"""Convert a file of vectors with an artifact: a stream in constant memory, resumed after a kill, checked at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.artifact import Artifact
from embcompat.errors import InputError, MigrationError
from embcompat.files.npy import read_npy
from embcompat.files.parquet import open_parquet
from embcompat.files.parts import NpyFormat, ParquetFormat, PartFile, PieceFormat, open_part
from embcompat.files.streams import Block, NpyVectors, ParquetVectors, file_identity, open_vectors
from embcompat.migration.checks import SAMPLE_TOLERANCE, CanaryResult, check_canary, first_bad_row, relative_error
from embcompat.migration.pipeline import run_pipeline
from embcompat.migration.sample import Sample
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion, require_space

_BLOCK_BYTES = 8 << 20
_NPY_BLOCK_BYTES = 4 << 20
_NPY_SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("vector", pa.list_(pa.float32()))])

Advance = Callable[[int], None]
ProgressFactory = Callable[[int], AbstractContextManager[Advance]]
"""Called with the number of rows to do; yields a function that is called with the number of rows newly done."""


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
        rows_per_second: Rows that this run converted, a second.
        sampled_rows: Rows read back and computed again.
        sample_error: Largest relative difference among them.
        canary: What the semantic canary said; None when the artifact carries no canary.
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

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON."""
        return asdict(self)


def convert_file(
    artifact_path: str | Path | Artifact,
    source: str | Path,
    target: str | Path,
    *,
    space: SpaceVersion | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    resume: bool = True,
    progress: ProgressFactory | None = None,
) -> ConversionReport:
    """Convert a file of vectors, Parquet or .npy, into the artifact's target space.

    Reading, computing and writing overlap and take constant memory. The target appears only when it is complete and
    was checked: all rows are there, a sample read back equals what the artifact gives, and the artifact's canary
    pairs find each other. A run that was interrupted, even by ``kill -9``, goes on where it stopped when the same
    source is converted with the same artifact to the same target; the batch size may be another one.

    Parquet columns beside ``vector`` are carried over; the schema metadata records the target space and, under
    ``embcompat.provenance``, the artifact.

    Args:
        artifact_path: The artifact.
        source: ``.parquet`` with the columns ``id`` and ``vector``, or ``.npy`` of shape (n, dim).
        target: What to write: the same format, or ``.parquet`` from ``.npy`` (ids are then row numbers).
        space: The space of ``source``; needed where the file does not say it.
        batch_size: Rows that are read, converted and written at a time, and rows in a row group; chosen by the size
            of a vector when None.
        threads: Threads that convert; all processors when None.
        resume: Whether to go on with an interrupted run.
        progress: Called with the number of rows to do; yields a function that is told of rows newly done.

    Raises:
        InputError: If an argument cannot be used.
        FileFormatError: If the source is damaged or holds a bad vector; names the row.
        SpaceMismatchError: If the source is not in the artifact's source space.
        MigrationError: If a check fails. The target is then not written.
        StoreError: If another process is writing the same target.
    """
    start = time.perf_counter()
    path, target = Path(source), Path(target)
    workers = threads if threads is not None else os.cpu_count() or 1
    _check_arguments(path, target, batch_size, workers)
    aligner = OnnxAligner(artifact_path, threads=1)
    artifact = aligner.artifact
    file = open_vectors(path, space=space)
    require_space(file.space, artifact.source, what=str(path))
    canary = check_canary(artifact, aligner.transform)
    layout = _layout(file, target, artifact)
    identity: dict[str, JsonValue] = {"artifact": artifact.id, "source": file_identity(path), "target": target.suffix}
    with open_part(target, layout, identity=identity, resume=resume) as part:
        resumed = part.rows
        sample = Sample(file.rows)
        with (progress or silent)(file.rows - resumed) as advance:
            size = batch_size or _batch_size(file, artifact)
            _convert_rows(
                sample.taken_from(file.blocks(part.rows, size)), path, aligner, layout, part, workers, advance
            )
        part.close_with(layout)
        sampled, error = _check_written(file, part, target, aligner, sample)
        if file_identity(path) != identity["source"]:
            raise MigrationError(f"{path} was changed while it was converted. Nothing was written; start again.")
        part.publish()
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
    )


def silent(_rows: int) -> AbstractContextManager[Advance]:
    """Show no progress."""
    return nullcontext(lambda _done: None)


def _check_arguments(source: Path, target: Path, batch_size: int | None, threads: int) -> None:
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1. Got {batch_size}.")
    if threads < 1:
        raise InputError(f"threads must be at least 1. Got {threads}.")
    if (source.suffix, target.suffix) not in ((".parquet", ".parquet"), (".npy", ".npy"), (".npy", ".parquet")):
        raise InputError(
            f"target must be a .parquet file, or a .npy file when the source is one. Got {source.name} → {target.name}."
        )
    if source.exists() and target.exists() and source.samefile(target):
        raise InputError(f"target must be another file than the source, which is never modified. Got {target} twice.")


def _layout(file: ParquetVectors | NpyVectors, target: Path, artifact: Artifact) -> PieceFormat:
    if target.suffix == ".npy":
        return NpyFormat(file.rows, artifact.target.dim)
    provenance: dict[str, JsonValue] = {
        "artifact": artifact.id,
        "native": False,
        "source": file_identity(file.path),
        "source_space": artifact.source.id,
    }
    schema = file.schema if isinstance(file, ParquetVectors) else _NPY_SCHEMA
    return ParquetFormat(schema, artifact.target, provenance)


def _batch_size(file: ParquetVectors | NpyVectors, artifact: Artifact) -> int:
    row_bytes = 4 * max(artifact.source.dim, artifact.target.dim)
    size = _NPY_BLOCK_BYTES if isinstance(file, NpyVectors) else _BLOCK_BYTES
    return max(256, min(65_536, size // row_bytes))


def _convert_rows(
    blocks: Iterator[Block],
    path: Path,
    aligner: OnnxAligner,
    layout: PieceFormat,
    part: PartFile,
    threads: int,
    advance: Advance,
) -> None:
    def compute(block: Block) -> memoryview:
        mapped = _mapped(aligner, block, path)
        return layout.encode(mapped, _with_ids(block) if isinstance(layout, ParquetFormat) else None)

    def write(block: Block, piece: memoryview) -> None:
        part.append(piece, len(block))
        advance(len(block))

    run_pipeline(blocks, compute, write, threads=threads)


def _mapped(aligner: OnnxAligner, block: Block, path: Path) -> NDArray[np.float32]:
    mapped = aligner.transform(block.vectors)
    bad = first_bad_row(mapped)
    if bad is not None:
        raise MigrationError(
            f"{path}: row {block.start + bad} maps to NaN or infinity. Remove the row; the aligner cannot convert it."
        )
    return mapped


def _with_ids(block: Block) -> pa.Table:
    if block.others is not None:
        return block.others
    return pa.table({"id": pa.array(np.arange(block.start, block.start + len(block))).cast(pa.string())})


def _check_written(
    file: ParquetVectors | NpyVectors, part: PartFile, target: Path, aligner: OnnxAligner, sample: Sample
) -> tuple[int, float]:
    """Check the finished file before it gets its name: all rows, and a sample that is computed again."""
    space = aligner.artifact.target
    written: ParquetVectors | NpyVectors
    if target.suffix == ".npy":
        written = NpyVectors(part.path, space, read_npy(part.path))
    else:
        written = ParquetVectors(part.path, space, open_parquet(part.path))
    if not written.rows == part.rows == file.rows:
        raise MigrationError(
            f"{target} must have the {file.rows} rows of {file.path}. Got {written.rows}. "
            "Nothing was written; start again with resume=False."
        )
    sampled, largest = 0, 0.0
    for expected in sample.of(file):
        start = expected.start
        with closing(written.blocks(start, len(expected) or 1)) as pieces:
            found = next(pieces)
        same = found.others is None or _values(found.others) == _values(_with_ids(expected))
        error = relative_error(found.vectors, aligner.transform(expected.vectors))
        if not (same and error <= SAMPLE_TOLERANCE):
            raise MigrationError(
                f"{target}: rows {start} to {start + len(found) - 1}, read back, are not what was converted (largest "
                f"relative difference {error:.2g}). Nothing was written; start again with resume=False."
            )
        sampled, largest = sampled + len(found), max(largest, error)
    return sampled, largest


def _values(table: pa.Table) -> str:
    return repr(table.to_pydict())  # as text NaN equals NaN
