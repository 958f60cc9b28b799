"""Options for the data of an evaluation, the same in every command that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from embcompat.similarities import Similarity

Task = Literal["retrieval", "verification"]

ArtifactPath = Annotated[
    Path, typer.Argument(metavar="ARTIFACT", help="The artifact directory, or a directory with forward and backward.")
]
OldGallery = Annotated[Path, typer.Option(help="The gallery under the old model (.parquet or .npy).")]
NewGallery = Annotated[Path, typer.Option(help="The same items under the new model.")]
OldQueries = Annotated[Path | None, typer.Option(help="Queries under the old model.")]
NewQueries = Annotated[Path | None, typer.Option(help="The same queries under the new model.")]
QrelsFile = Annotated[Path | None, typer.Option(help="Relevance judgements in the format of trec_eval.")]
TaskName = Annotated[Task, typer.Option(help="retrieval: search. verification: is it the same subject?")]
OldSpace = Annotated[str | None, typer.Option(help="name@version of old .npy files.")]
NewSpace = Annotated[str | None, typer.Option(help="name@version of new .npy files.")]
NpySimilarity = Annotated[Similarity, typer.Option(help="Similarity of .npy files.")]
ResultFile = Annotated[Path | None, typer.Option(help="Also write the result as JSON, for `embcompat report`.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
