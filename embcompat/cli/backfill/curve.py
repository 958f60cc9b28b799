"""``embcompat backfill curve``: what re-embedding a part of the gallery gains, in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import describe_run, output, print_json, show_next, write_json
from embcompat.cli.inputs.embeddings import Reading
from embcompat.cli.inputs.options import (
    ArtifactPath,
    Delimiter,
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
from embcompat.cli.inputs.sides import artifact_spaces, load_queries, load_sides
from embcompat.errors import InputError
from embcompat.similarities import Weight

if TYPE_CHECKING:
    from embcompat.artifact import Artifact
    from embcompat.backfill import BackfillCurve, Backlog, HeldOut
    from embcompat.embeddings import Embeddings


def curve(
    artifact: ArtifactPath,
    old_gallery: OldGallery,
    new_gallery: NewGallery,
    old_queries: OldQueries = None,
    new_queries: NewQueries = None,
    qrels: QrelsFile = None,
    task: TaskName = "retrieval",
    orders: Annotated[
        str | None,
        typer.Option(
            help="Orders, separated by commas; by default all that the data allow. random is always included."
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="The metric (retrieval).")] = "ndcg@10",
    far: Annotated[float, typer.Option(help="False accept rate at which true accepts are counted (verification).")] = (
        1e-4
    ),
    weight: Votes = "person",
    fused_weight: Annotated[
        float | None, typer.Option(help="Add the old scores, too: weight of the new ones (retrieval).")
    ] = None,
    weigh_queries: WeighQueries = False,
    steps: Annotated[int, typer.Option(help="Equally spaced fractions, both ends included.")] = 11,
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    ids: IdsFile = None,
    labels: LabelsFile = None,
    delimiter: Delimiter = None,
    old_space: OldSpace = None,
    new_space: NewSpace = None,
    similarity: NpySimilarity = "cosine",
    seed: Annotated[int, typer.Option(help="Seed of orders, folds and bootstrap.")] = 0,
    out: ResultFile = None,
    as_json: Json = False,
) -> None:
    r"""Measure what re-embedding a part of the gallery gains, for each order. The rest stays converted.

    The items that the artifact was fitted on count as re-embedded. Queries and judgements are found as by `embcompat
    evaluate`; verification takes the subjects that were not fitted. Orders: random, class_mean, predicted_error,
    convertibility, usefulness, recommended.

    With --weigh-queries, weighted queries search the gallery, as in `embcompat evaluate`.

    Examples:
    ```bash
    embcompat backfill curve old-to-new --old-gallery old.parquet \
        --new-gallery new.parquet --old-queries old-q.parquet \
        --new-queries new-q.parquet --qrels qrels.tsv --out curve.json
    embcompat backfill curve faces --task verification \
        --old-gallery old.parquet --new-gallery new.parquet \
        --orders random,class_mean --json
    ```
    """
    spaces: dict[str, Any] = {"old_space": old_space, "new_space": new_space, "similarity": similarity}
    spaces |= {"likely": artifact_spaces(artifact)}
    reading = Reading(id_column, vector_column, label_column, ids=ids, labels=labels, delimiter=delimiter)
    galleries = load_sides(old_gallery, new_gallery, **spaces, reading=reading)
    options: dict[str, Any] = {
        "orders": None if orders is None else [name.strip() for name in orders.split(",")],
        "steps": steps,
        "seed": seed,
    }
    if task == "verification":
        if weigh_queries:
            raise InputError("verification has no queries to weigh: leave --weigh-queries out.")
        measured, source = verification_curve(artifact, *galleries, far=far, weight=weight, **options)
    else:
        queries = load_queries(old_queries, new_queries, **spaces, reading=replace(reading, ids=None, labels=None))
        options |= {"metric": metric, "fused_weight": fused_weight, "weigh_queries": weigh_queries}
        measured, source = retrieval_curve(artifact, *galleries, queries=queries, qrels=qrels, **options)
    result = {**measured.to_dict(), "artifact": source.id, "provenance": dict(describe_run())}
    if out is not None:
        write_json(result, out)
    if as_json:
        print_json(result)
    else:
        from embcompat.report.terminal import show_result

        show_result(result, output())
        known = ("CURVE.json" if out is None else out, "--target-retention", "0.95")
        show_next("backfill", "plan", artifact, "GALLERY", "--curve", *known)


def retrieval_curve(
    path: Path,
    old_gallery: Embeddings,
    new_gallery: Embeddings,
    *,
    queries: tuple[Embeddings, Embeddings] | None,
    qrels: Path | None,
    metric: str = "ndcg@10",
    fused_weight: float | None = None,
    weigh_queries: bool = False,
    orders: list[str] | None = None,
    steps: int = 11,
    seed: int = 0,
) -> tuple[BackfillCurve, Artifact]:
    """Measure the curve by search; also return the artifact."""
    from embcompat.backfill import SearchTask, backfill_curve
    from embcompat.evaluation.retrieval.judgements import read_qrels
    from embcompat.upgrade import build_search_case, hold_out, join_galleries, open_maps

    maps = open_maps(path)
    galleries, held_out = hold_out(join_galleries(maps, old_gallery, new_gallery), seed=seed)
    old_queries, new_queries = (None, None) if queries is None else queries
    judged = None if qrels is None else read_qrels(qrels)
    case = build_search_case(
        galleries, old_queries=old_queries, new_queries=new_queries, qrels=judged, weigh=weigh_queries
    )
    sides = case.sides
    task = SearchTask(
        sides.new_queries,
        case.qrels,
        sides.old_queries,
        metric,
        fused_weight,
        case.own_queries,
        sides.weighted_queries,
    )
    backlog = make_backlog(maps.artifact, galleries.old, galleries.mixed, held_out, seed=seed)
    measured = backfill_curve(backlog, galleries.new, task, native_ids=galleries.fitted, orders=orders, steps=steps)
    return measured, maps.artifact


def verification_curve(
    path: Path,
    old_gallery: Embeddings,
    new_gallery: Embeddings,
    *,
    far: float,
    weight: Weight,
    orders: list[str] | None,
    steps: int,
    seed: int,
) -> tuple[BackfillCurve, Artifact]:
    """Measure the curve by verification on subjects that were not fitted; also return the artifact."""
    from embcompat.backfill import VerificationTask, backfill_curve
    from embcompat.upgrade import hold_out, join_galleries, open_maps, unseen_subjects

    maps = open_maps(path)
    galleries, held_out = hold_out(join_galleries(maps, old_gallery, new_gallery), seed=seed)
    old, new, converted = unseen_subjects(replace(galleries, converted=galleries.mixed))
    backlog = make_backlog(maps.artifact, old, converted, held_out, seed=seed)
    fitted = len(galleries.fitted & set(galleries.old.ids.tolist()))
    task = VerificationTask(far, weight)
    return backfill_curve(backlog, new, task, fitted_elsewhere=fitted, orders=orders, steps=steps), maps.artifact


def make_backlog(
    artifact: Artifact, old: Embeddings, converted: Embeddings, held_out: HeldOut | None, *, seed: int
) -> Backlog:
    """Make the backlog of a gallery, with the artifact's convertibility if it has one."""
    from embcompat.artifact import CONVERTIBILITY
    from embcompat.backfill import Backlog
    from embcompat.runtime import OnnxAligner

    scores = None
    if CONVERTIBILITY in artifact.manifest.calibration:
        scores = OnnxAligner(artifact).convertibility(old.vectors)
    return Backlog(old, converted, held_out, scores, seed=seed)
