"""``embcompat evaluate``: what an artifact is worth on data that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import describe_run, option_words, output, print_json, show_next, write_json
from embcompat.cli.inputs.embeddings import Reading
from embcompat.cli.inputs.options import (
    ArtifactPath,
    Delimiter,
    GroupsFile,
    IdColumn,
    IdsFile,
    Json,
    LabelColumn,
    LabelsFile,
    NewGallery,
    NewQueries,
    NewSpace,
    NpySimilarity,
    OldGallery,
    OldQueries,
    OldSpace,
    QrelsFile,
    ResultFile,
    TaskName,
    VectorColumn,
    Votes,
    WeighQueries,
)
from embcompat.cli.inputs.sides import artifact_spaces, forward_of, load_queries, load_sides
from embcompat.cli.inputs.words import ItemsFile, TextColumn, add_texts, read_texts
from embcompat.cli.progress import track
from embcompat.errors import GateError, UnknownNameError

if TYPE_CHECKING:
    from embcompat.upgrade import Model


def evaluate(
    artifact: ArtifactPath,
    old_gallery: OldGallery,
    new_gallery: NewGallery,
    old_queries: OldQueries = None,
    new_queries: NewQueries = None,
    qrels: QrelsFile = None,
    lexical_run: Annotated[
        Path | None, typer.Option(help="A lexical run (query, Q0, item, rank, score, tag): judge the hybrid, too.")
    ] = None,
    task: TaskName = "retrieval",
    metric: Annotated[str, typer.Option(help="The metric of the verdict (retrieval).")] = "ndcg@10",
    frr: Annotated[float, typer.Option(help="False reject rate at which thresholds are set (verification).")] = 0.05,
    all_images: Annotated[bool, typer.Option(help="Compare every image, not two of each subject.")] = False,
    weight: Votes = "person",
    groups: GroupsFile = None,
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    items: ItemsFile = None,
    text_column: TextColumn = None,
    ids: IdsFile = None,
    labels: LabelsFile = None,
    delimiter: Delimiter = None,
    old_space: OldSpace = None,
    new_space: NewSpace = None,
    similarity: NpySimilarity = "cosine",
    min_retention: Annotated[
        float | None, typer.Option(help="Exit with code 3 unless the retention's interval lies above this.")
    ] = None,
    models_alive: Annotated[
        str, typer.Option(help="Models that can be alive at query time: old,new or one of them (retrieval).")
    ] = "old,new",
    quality_floor: Annotated[
        float, typer.Option(help="Share of a full reindex that the chosen mode must keep (retrieval).")
    ] = 0.8,
    seconds_per_item: Annotated[
        float | None, typer.Option(help="Time to embed one item with the new model (retrieval).")
    ] = None,
    price_per_item: Annotated[
        float | None, typer.Option(help="Price of embedding one item, in any currency (retrieval).")
    ] = None,
    weigh_queries: WeighQueries = False,
    seed: Annotated[int, typer.Option(help="Seed of folds, anchors and bootstrap.")] = 0,
    out: ResultFile = None,
    as_json: Json = False,
) -> None:
    r"""Measure what converting the gallery is worth, against what is in service today and against a full reindex.

    A verdict needs judged queries: --old-queries, --new-queries and --qrels (trec_eval's format, or a click log with
    the header query_id,item_id,count). Without judgements, items with the query's label are relevant. Without labels
    there is no verdict: what the new model itself ranks first is relevant, which measures the fidelity to that model.

    Items that the artifact was fitted on are served native and never judge. Lazy backfill at depth 10, 20 and 50 is
    measured as well, and so is re-embedding 5, 10, 20 and 50 % of the gallery, each with what it costs. The verdict is
    the cheapest mode that beats today and keeps the quality floor.

    With --weigh-queries, the rows of a reweighted aligner stay unweighted and weighted queries search them: native rows
    may then stand among converted ones. Your service must weigh each query.

    Examples:
    ```bash
    embcompat evaluate old-to-new --old-gallery old.parquet \
        --new-gallery new.parquet --old-queries old-q.parquet \
        --new-queries new-q.parquet --qrels qrels.tsv
    embcompat evaluate faces --task verification --old-gallery old.parquet \
        --new-gallery new.parquet --json
    ```
    """
    from embcompat.evaluation.retrieval.hybrid import read_run
    from embcompat.evaluation.retrieval.judgements import read_qrels
    from embcompat.evaluation.verification import read_groups
    from embcompat.upgrade import evaluate_upgrade

    spaces: dict[str, Any] = {"old_space": old_space, "new_space": new_space, "similarity": similarity}
    spaces |= {"likely": artifact_spaces(artifact)}
    texts = read_texts(items, text_column)
    column = text_column if items is None else None
    reading = Reading(id_column, vector_column, label_column, column, ids=ids, labels=labels, delimiter=delimiter)
    old, new = load_sides(old_gallery, new_gallery, **spaces, reading=reading)
    queries = load_queries(old_queries, new_queries, **spaces, reading=replace(reading, ids=None, labels=None))
    evaluation = evaluate_upgrade(
        artifact,
        old_gallery=add_texts(old, texts),
        new_gallery=new,
        old_queries=None if queries is None else queries[0],
        new_queries=None if queries is None else queries[1],
        qrels=None if qrels is None else read_qrels(qrels),
        lexical_run=None if lexical_run is None else read_run(lexical_run),
        task=task,
        metric=metric,
        frr=frr,
        all_images=all_images,
        weight=weight,
        groups=None if groups is None else read_groups(groups),
        progress=lambda total: track("Comparing", total, unit="pairs"),
        quality_floor=quality_floor,
        models_alive=parse_models(models_alive),
        seconds_per_item=seconds_per_item,
        price_per_item=price_per_item,
        weigh_queries=weigh_queries,
        seed=seed,
    )
    result = {**evaluation.to_dict(), "provenance": dict(describe_run())}
    if out is not None:
        write_json(result, out)
    if as_json:
        print_json(result)
    else:
        from embcompat.report.terminal import show_result

        show_result(result, output())
        files = option_words(**vars(replace(reading, text_column=None)))
        galleries = ["--old-gallery", old_gallery, "--new-gallery", new_gallery, *files]
        _show_next(artifact, galleries, result, weighs_queries=weigh_queries)
    check_gate(result, min_retention)


def _show_next(artifact: Path, galleries: list[str], result: Mapping[str, Any], *, weighs_queries: bool) -> None:
    """Print the command that carries out the verdict, or that leads to one; none if there is nothing to do."""
    from embcompat.artifact import read_artifact
    from embcompat.results import CONVERTING_MODES, MIXED_MODES

    decision = result.get("decision")
    unweighted_modes = CONVERTING_MODES if weighs_queries else MIXED_MODES
    forward = forward_of(artifact)
    if result["kind"] == "verification":
        show_next("thresholds", artifact, *galleries, "--threshold", "THRESHOLD")
    elif decision in unweighted_modes and read_artifact(forward).manifest.is_reweighted:
        show_next("unweight", artifact, "--out", f"{artifact}-unweighted")
    elif decision in CONVERTING_MODES:
        show_next("migrate", "plan", forward, "STORE_URL", instead=("convert", forward, "GALLERY", "CONVERTED"))
    elif decision == "reindex":
        show_next("embed", "ITEMS", "--extractor", "NAME", "--out", "NEW-GALLERY.parquet")
    elif decision not in ("stay", "swap"):
        columns = ("--query-column", "TITLE", "--text-column", "BODY")
        show_next("queries", "known-item", "ITEMS", *columns, "--out", "judged")


def parse_models(text: str) -> list[Model]:
    """Read the models that can be alive: ``old,new`` or one of them.

    Raises:
        UnknownNameError: If there is another name.
    """
    models: list[Model] = []
    for name in (part.strip() for part in text.split(",")):
        if name not in ("old", "new"):
            raise UnknownNameError("model", name, ("old", "new"))
        models.append("old" if name == "old" else "new")
    return models


def check_gate(result: Mapping[str, Any], min_retention: float | None) -> None:
    """Raise unless the lower end of the retention's interval reaches the gate."""
    if min_retention is None:
        return
    interval = result.get("retention_interval")
    if interval is None or interval[0] < min_retention:
        raise GateError(
            f"the lower end of the retention's interval must reach {min_retention}. "
            f"Got {'no retention' if interval is None else f'{interval[0]:.3f}'}."
        )
