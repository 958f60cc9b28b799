"""Options for the data of an evaluation, the same in every command that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from embcompat.similarities import Similarity, Weight

Task = Literal["retrieval", "verification"]

NEURAL_KINDS: Final = ("residual", "dense", "multi_branch", "ensemble", "bidirectional")
"""Kinds of aligners that are fitted with torch."""

ArtifactPath = Annotated[
    Path, typer.Argument(metavar="ARTIFACT", help="The artifact directory, or a directory with forward and backward.")
]
OldGallery = Annotated[str, typer.Option(help="The gallery under the old model: a file, or a store's address.")]
NewGallery = Annotated[str, typer.Option(help="The same items under the new model.")]
OldQueries = Annotated[str | None, typer.Option(help="Queries under the old model.")]
NewQueries = Annotated[str | None, typer.Option(help="The same queries under the new model.")]
QrelsFile = Annotated[Path | None, typer.Option(help="Relevance judgements: trec_eval, BEIR, CSV, JSON or Parquet.")]
WeighQueries = Annotated[
    bool, typer.Option("--weigh-queries", help="Weigh the queries instead of the converted rows (retrieval).")
]
TaskName = Annotated[Task, typer.Option(help="retrieval: search. verification: is it the same subject?")]
OldSpace = Annotated[str | None, typer.Option(help="name@version of old files that do not name their space.")]
NewSpace = Annotated[str | None, typer.Option(help="name@version of new files that do not name their space.")]
NpySimilarity = Annotated[Similarity, typer.Option(help="How a space that is given by its name compares vectors.")]
IdColumn = Annotated[str | None, typer.Option(help="Column of the ids; id, _id, docid, … or pandas' index.")]
VectorColumn = Annotated[
    str | None,
    typer.Option(help="Column of the vectors; vector, embedding, … or the only column of lists. x* takes x0, x1, …."),
]
LabelColumn = Annotated[str | None, typer.Option(help="Column of the labels; label if there is one.")]
IdsFile = Annotated[Path | None, typer.Option(help="The ids of galleries that hold none, one on each line or as .npy.")]
LabelsFile = Annotated[
    Path | None, typer.Option(help="The labels of galleries that hold none, one on each line or as .npy.")
]
ModelPath = Annotated[str | None, typer.Option("--model", "-m", help="Path or name, for extractors that take one.")]
ExtractorOptions = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the extractor; repeatable.")
]
Delimiter = Annotated[str | None, typer.Option(help="Delimiter of CSV files; detected by default.")]
ResultFile = Annotated[
    Path | None, typer.Option("--out", "-o", help="Also write the result as JSON, for `embcompat report`.")
]
Force = Annotated[bool, typer.Option("--force", help="Convert with an aligner that does no better than chance.")]
ChunkRows = Annotated[
    int | None, typer.Option(help="Rows read, converted and written at a time; chosen by vector size by default.")
]
Votes = Annotated[Weight, typer.Option(help="What has one vote (verification): each person, or each pair of images.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
GroupsFile = Annotated[
    Path | None,
    typer.Option(help="Measure false rates within groups: a person, a tab and a group on each line."),
]
