"""``embcompat convert``: a file of vectors into another space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import messages, output, print_json, show_next
from embcompat.cli.inputs.embeddings import Reading, assume_space, assumed_space, is_address, open_file, open_gallery
from embcompat.cli.inputs.options import (
    ChunkRows,
    Delimiter,
    Force,
    IdColumn,
    IdsFile,
    LabelColumn,
    LabelsFile,
    VectorColumn,
)
from embcompat.cli.inputs.words import ItemsFile, TextColumn, read_texts
from embcompat.cli.progress import track
from embcompat.durations import format_duration
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.files.objects import location
from embcompat.files.patterns import is_folder
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.artifact import Artifact
    from embcompat.migration import ConversionReport, DatasetReport


def convert(
    artifact: Annotated[Path, typer.Argument(help="The artifact directory.")],
    source: Annotated[
        str,
        typer.Argument(
            help="What to convert: a file of vectors, a folder or a pattern of .parquet files, or a store's address. "
            "Parquet files may be in an object store. Never modified."
        ),
    ],
    target: Annotated[
        str, typer.Argument(help="What to write: a file, or a folder when SOURCE is one; here or in an object store.")
    ],
    items: ItemsFile = None,
    text_column: TextColumn = None,
    batch_size: ChunkRows = None,
    threads: Annotated[int | None, typer.Option(help="Threads that convert; all processors by default.")] = None,
    workers: Annotated[int, typer.Option(help="Ray workers, when SOURCE is a folder.")] = 2,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Convert one shard, from 0, of the plan that `shards plan` wrote to TARGET."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Resume where an interrupted run stopped.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file at TARGET.")] = False,
    force: Force = False,
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    ids: IdsFile = None,
    labels: LabelsFile = None,
    delimiter: Delimiter = None,
    old_space: Annotated[
        str | None, typer.Option(help="Space of SOURCE as name@version, where the file does not name it.")
    ] = None,
    similarity: Annotated[
        Similarity | None, typer.Option(help="How that space compares; checked against the artifact.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    r"""Convert a file of stored vectors into the artifact's target space.

    Reading, computing and writing overlap in constant memory. All rows and a sample are checked before the target
    appears. After an interruption, the same command resumes where it stopped.

    Object stores (s3://, gs://) take credentials, region and endpoint from the environment (AWS_ACCESS_KEY_ID,
    AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS).

    Examples:
    ```bash
    embcompat convert old-to-new old.parquet converted.parquet
    embcompat convert old-to-new old.npy converted.npy \
        --old-space facenet@11 --similarity euclidean
    embcompat convert text-aware gallery.parquet converted.parquet \
        --items items.jsonl
    embcompat convert old-to-new old-files/ converted-files/ --workers 8
    embcompat convert old-to-new lancedb:///data/lance#docs.vector \
        converted.parquet
    embcompat convert old-to-new s3://bucket/old.parquet s3://bucket/new.parquet
    embcompat convert old-to-new 's3://bucket/old/year=2024/*.parquet' \
        converted.parquet
    embcompat convert old-to-new s3://bucket/old s3://bucket/new --shard 3/64
    ```
    """
    from embcompat.artifact import read_artifact
    from embcompat.migration import convert_file

    loaded = read_artifact(artifact)
    _check_space(loaded, old_space, similarity)
    column = text_column if items is None else None
    reading = Reading(id_column, vector_column, label_column, column, ids=ids, labels=labels, delimiter=delimiter)
    if shard is not None:
        _refuse_planned_options(reading, items=items, text_column=text_column, batch_size=batch_size)
        _convert_shard(loaded, source, target, shard, threads=threads, as_json=as_json)
        return
    if not is_address(source) and is_folder(location(source)) and not location(target).suffix:
        if items is not None or text_column is not None:
            raise InputError(
                "--items and --text-column are for one file. The files of a folder hold their texts in a column text."
            )
        folder = _convert_folder(loaded, source, target, reading, workers=workers, batch_size=batch_size, force=force)
        if as_json:
            print_json(folder.to_dict())
        else:
            _print_dataset_report(folder)
            show_next("doctor", target)
        return
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "threads": threads,
        "overwrite": overwrite,
        "force": force,
        "texts": read_texts(items, text_column),
        "progress": lambda rows: track("Converting", rows),
    }
    try:
        if is_address(source):
            report = _convert_store(loaded, source, target, reading, old_space, options)
        else:
            file = assume_space(open_file(source, reading), loaded.source)
            report = convert_file(loaded, file, target, resume=resume, **options)
    except KeyboardInterrupt:
        messages().print("Interrupted. Run the same command again to resume.")
        raise
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
        show_next("doctor", target)


def _check_space(artifact: Artifact, old_space: str | None, similarity: Similarity | None) -> None:
    """Refuse options that name another space than the artifact converts.

    Raises:
        SpaceMismatchError: If they do.
    """
    expected = artifact.source
    if old_space not in (None, expected.id) or similarity not in (None, expected.similarity):
        raise SpaceMismatchError(
            f"--old-space must be {expected.id!r} with --similarity {expected.similarity}, the space that the artifact "
            f"converts. Got {old_space or 'no space'!r}{'' if similarity is None else f' with {similarity}'}."
        )


def _convert_folder(
    artifact: Artifact,
    source: str,
    target: str,
    reading: Reading,
    *,
    workers: int,
    batch_size: int | None,
    force: bool,
) -> DatasetReport:
    """Convert every file of a folder.

    Raises:
        InputError: If an option is for one file.
    """
    from embcompat.migration import convert_dataset

    if reading.ids or reading.labels or reading.delimiter:
        raise InputError("--ids, --labels and --delimiter are for one file. The files of a folder hold their ids.")
    return convert_dataset(
        artifact.path,
        source,
        target,
        workers=workers,
        space=artifact.source,
        columns=reading.columns(),
        batch_size=batch_size,
        force=force,
        progress=lambda files: track("Converting", files, unit="files"),
    )


def _refuse_planned_options(
    reading: Reading, *, items: Path | None, text_column: str | None, batch_size: int | None
) -> None:
    """Refuse options that are in the plan of the shards, or that shards do not take.

    Raises:
        InputError: If there is one.
    """
    options = {
        "--items": items,
        "--text-column": text_column,
        "--batch-size": batch_size,
        "--id-column": reading.id_column,
        "--vector-column": reading.vector_column,
        "--label-column": reading.label_column,
        "--ids": reading.ids,
        "--labels": reading.labels,
        "--delimiter": reading.delimiter,
    }
    if option := next((name for name, value in options.items() if value is not None), None):
        raise InputError(
            f"{option} cannot be combined with --shard: columns and batches are in the plan (shards plan)."
        )


def _convert_shard(
    artifact: Artifact, source: str, target: str, shard: str, *, threads: int | None, as_json: bool
) -> None:
    """Convert one shard of a plan."""
    from embcompat.migration import convert_shard, parse_shard

    report = convert_shard(
        artifact,
        source,
        target,
        parse_shard(shard),
        threads=threads,
        progress=lambda files: track("Converting", files, unit="files"),
    )
    if as_json:
        print_json(report.to_dict())
        return
    already = f"; {report.finished_before:,} files were finished already" if report.finished_before else ""
    output().print(
        f"{target}: shard {report.shard}/{report.shards}, {report.files:,} files, {report.rows:,} rows, "
        f"{report.converted_rows:,} rows converted in {format_duration(report.seconds)}{already}",
        soft_wrap=True,
    )
    show_next("shards", "finish", artifact.path, source, target)


def _convert_store(
    artifact: Artifact, url: str, target: str, reading: Reading, old_space: str | None, options: dict[str, Any]
) -> ConversionReport:
    """Convert a gallery in use to a file."""
    from embcompat.migration import convert_gallery

    with open_gallery(url, reading) as store:
        return convert_gallery(
            artifact,
            store,
            target,
            space=artifact.source if old_space is not None else assumed_space(store, artifact.source),
            text_column=reading.text_column,
            label_column=reading.label_column,
            **options,
        )


def _print_report(report: ConversionReport) -> None:
    console = output()
    console.print(f"{report.target}: {report.rows:,} rows in {report.target_space}", soft_wrap=True)
    already = f" ({report.resumed_rows:,} were converted already)" if report.resumed_rows else ""
    console.print(f"{format_duration(report.seconds)}, {report.rows_per_second:,.0f} rows/s{already}")
    if report.rows_without_text:
        console.print(f"{report.rows_without_text:,} rows had no text and were converted from the vector alone.")
    checks = f"all rows counted, {report.sampled_rows} read back and recomputed"
    if report.canary is None:
        console.print(f"Checked: {checks}. The artifact carries no canary.")
    else:
        console.print(
            f"Checked: {checks}, canary {report.canary.outranked:.1%} on {report.canary.pairs} held-out pairs."
        )


def _print_dataset_report(report: DatasetReport) -> None:
    console = output()
    console.print(f"{report.target}: {report.files:,} files, {report.rows:,} rows", soft_wrap=True)
    already = f"; {report.finished_before:,} files were finished already" if report.finished_before else ""
    console.print(
        f"{report.converted_rows:,} rows in {format_duration(report.seconds)}, "
        f"{report.rows_per_second:,.0f} rows/s{already}"
    )
