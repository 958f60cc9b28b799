"""``embcompat shards``: one conversion by any number of plain processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.embeddings import Reading
from embcompat.cli.inputs.options import ChunkRows, Force, IdColumn, Json, LabelColumn, VectorColumn
from embcompat.cli.inputs.words import TextColumn
from embcompat.cli.progress import track

app = typer.Typer(
    name="shards",
    help="Convert files on many machines: plan, run each shard by any scheduler, and check the end.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

ArtifactDirectory = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The artifact directory.")]
Source = Annotated[str, typer.Argument(help="A file of vectors, a folder of .parquet files, or a pattern of them.")]
Target = Annotated[str, typer.Argument(help="The folder to write, here or in an object store; it holds the plan.")]


@app.command()
def plan(
    artifact: ArtifactDirectory,
    source: Source,
    target: Target,
    shards: Annotated[int, typer.Option(help="Number of shards.")],
    batch_size: ChunkRows = None,
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    text_column: TextColumn = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another plan in TARGET.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the plan of a conversion: which rows of which file each shard converts.

    The plan is TARGET/_plan.json. It pins the artifact and every source file. With at least as many files as shards, a
    file is converted by one shard; otherwise files are split by rows.

    Example:
    ```bash
    embcompat shards plan old-to-new s3://bucket/old s3://bucket/new --shards 64
    ```
    """
    from embcompat.migration import plan_shards

    columns = Reading(id_column, vector_column, label_column, text_column).columns()
    result = plan_shards(
        artifact,
        source,
        target,
        shards=shards,
        columns=columns,
        batch_size=batch_size,
        overwrite=overwrite,
        force=force,
    )
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    output().print(
        f"{target}: {shards:,} shards, {len(result.pieces):,} files to write, {result.rows:,} rows, "
        f"{result.source_bytes / 1e6:,.1f} MB to read",
        soft_wrap=True,
    )
    show_next("convert", artifact, source, target, "--shard", f"0/{shards}")


@app.command()
def finish(artifact: ArtifactDirectory, source: Source, target: Target, as_json: Json = False) -> None:
    """Check that all shards are there and complete, and write TARGET/_SUCCESS.

    Every file must come from the planned artifact and rows, and have the ids of the source in the same order. If
    something is missing, the error names the shards to run again.

    Example:
    ```bash
    embcompat shards finish old-to-new s3://bucket/old s3://bucket/new
    ```
    """
    from embcompat.migration import finish_shards

    report = finish_shards(artifact, source, target, progress=lambda files: track("Checking", files, unit="files"))
    if as_json:
        print_json(report.to_dict())
        return
    output().print(
        f"{target}: complete. {report.files:,} files of {report.shards:,} shards, {report.rows:,} rows", soft_wrap=True
    )
    show_next("doctor", target)
