"""``embcompat evaluate``: what an artifact is worth on data that it was not fitted on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import output, print_json, track
from embcompat.cli.data_options import (
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
)
from embcompat.cli.inputs import Reading, artifact_spaces, load_queries, load_sides
from embcompat.errors import GateError, InputError
from embcompat.similarities import Weight

if TYPE_CHECKING:
    from embcompat.artifact import Artifact
    from embcompat.embeddings import Embeddings
    from embcompat.evaluation.retrieval.qrels import Qrels

REPORTED_METRICS = ("recall@1", "recall@5", "recall@10", "recall@20", "recall@50", "recall@100", "mrr", "map")
"""What is reported beside the metric of the verdict."""


def evaluate(
    artifact: ArtifactPath,
    old_gallery: OldGallery,
    new_gallery: NewGallery,
    old_queries: OldQueries = None,
    new_queries: NewQueries = None,
    qrels: QrelsFile = None,
    task: TaskName = "retrieval",
    metric: Annotated[str, typer.Option(help="The metric of the verdict (retrieval).")] = "ndcg@10",
    frr: Annotated[float, typer.Option(help="False reject rate at which thresholds are set (verification).")] = 0.05,
    all_images: Annotated[bool, typer.Option(help="Compare every image, not two of each subject.")] = False,
    weight: Annotated[
        Weight, typer.Option(help="What has one vote (verification): each person, or each pair of images.")
    ] = "person",
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
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
    seed: Annotated[int, typer.Option(help="Seed of folds, anchors and bootstrap.")] = 0,
    out: ResultFile = None,
    as_json: Json = False,
) -> None:
    """Say what converting the gallery is worth, against what is in service today and against a full reindex.

    Items that the artifact was fitted on are served native and left out of the judgement. Without queries, held-out
    gallery items are the queries; without judgements, items with the query's label are relevant, or else what the
    new model itself ranks first. Measured are also lazy backfill at depth 50 and re-embedding 5, 10, 20 and 50 % of
    the gallery; the verdict is the cheapest mode that beats today and keeps the quality floor.

    Examples:
    `embcompat evaluate old-to-new --old-gallery old.parquet --new-gallery new.parquet --old-queries old-q.parquet
    --new-queries new-q.parquet --qrels qrels.tsv`

    `embcompat evaluate faces --task verification --old-gallery old.parquet --new-gallery new.parquet --json`
    """
    spaces: dict[str, Any] = {"old_space": old_space, "new_space": new_space, "similarity": similarity}
    spaces |= {"likely": artifact_spaces(artifact)}
    reading = Reading(id_column, vector_column, label_column, ids=ids, labels=labels, delimiter=delimiter)
    galleries = load_sides(old_gallery, new_gallery, **spaces, reading=reading)
    if task == "verification":
        result = evaluate_verification_task(
            artifact, *galleries, frr=frr, all_images=all_images, weight=weight, seed=seed
        )
    else:
        from embcompat.cli.modes import parse_models

        result = evaluate_retrieval_task(
            artifact,
            *galleries,
            queries=load_queries(old_queries, new_queries, **spaces, reading=replace(reading, ids=None, labels=None)),
            qrels=qrels,
            metric=metric,
            seed=seed,
            quality_floor=quality_floor,
            models_alive=parse_models(models_alive),
            seconds_per_item=seconds_per_item,
            price_per_item=price_per_item,
        )
    if out is not None:
        write_json(result, out)
    if as_json:
        print_json(result)
    else:
        from embcompat.report.terminal import show_result

        show_result(result, output())
    check_gate(result, min_retention)


def evaluate_retrieval_task(
    path: Path,
    old_gallery: Embeddings,
    new_gallery: Embeddings,
    *,
    queries: tuple[Embeddings, Embeddings] | None,
    qrels: Path | None,
    metric: str,
    seed: int,
    **costs: Any,
) -> dict[str, Any]:
    """Evaluate an artifact by retrieval and return the result as JSON; ``costs`` go to `decide`."""
    from embcompat.cli.modes import measure_modes
    from embcompat.cli.retrieval_inputs import read_retrieval_inputs
    from embcompat.decision import decide
    from embcompat.evaluation.retrieval.evaluate import FUSED_WEIGHTS, evaluate_retrieval
    from embcompat.evaluation.retrieval.lines import Sides

    data = read_retrieval_inputs(path, old_gallery, new_gallery, queries=queries, qrels=qrels)
    found = data.galleries
    sides = Sides(data.old_queries, data.new_queries, found.old, found.new, found.converted)
    report = evaluate_retrieval(
        old_queries=data.old_queries,
        new_queries=data.new_queries,
        old_gallery=found.old,
        new_gallery=found.new,
        converted=found.converted,
        qrels=data.qrels,
        native_ids=found.fitted,
        metric=metric,
        metrics=REPORTED_METRICS,
        fused_weights=FUSED_WEIGHTS,
        exclude_self=data.own_queries,
        seed=seed,
    )
    modes = measure_modes(sides, data.qrels, found.fitted, metric=metric, exclude_self=data.own_queries, seed=seed)
    return {
        "kind": "retrieval",
        "artifact": found.artifact.id,
        "relevance": data.relevance,
        **report.to_dict(),
        **modes.to_dict(),
        **decide(report, options=modes.options, **costs).to_dict(),
    }


def evaluate_verification_task(
    path: Path,
    old_gallery: Embeddings,
    new_gallery: Embeddings,
    *,
    frr: float,
    all_images: bool,
    weight: Weight,
    seed: int,
) -> dict[str, Any]:
    """Evaluate an artifact by verification on the subjects that it was not fitted on, and return JSON."""
    from embcompat.evaluation.verification import evaluate_verification
    from embcompat.runtime import OnnxAligner

    artifact, sides = convert_unseen_subjects(path, old_gallery, new_gallery)
    report = evaluate_verification(
        *sides,
        cohort=OnnxAligner(artifact).cohort(),
        frr=frr,
        all_images=all_images,
        weight=weight,
        seed=seed,
        progress=lambda total: track("Comparing", total, unit="pairs"),
    )
    return {
        "kind": "verification",
        "artifact": artifact.id,
        "old_space": artifact.source.id,
        "new_space": artifact.target.id,
        **report.to_dict(),
    }


def convert_unseen_subjects(
    path: Path, old_gallery: Embeddings, new_gallery: Embeddings
) -> tuple[Artifact, tuple[Embeddings, Embeddings, Embeddings]]:
    """Return an artifact, and old, new and converted embeddings of the subjects that it was not fitted on."""
    from embcompat.embeddings import pair_embeddings

    artifact, backward = open_artifacts(path)
    pairs = pair_embeddings(old_gallery, new_gallery)
    if pairs.labels is None:
        raise InputError("verification needs the subject of each row. Embed with labels, or add a label column.")
    fitted = artifact.pair_ids("train", "validation")
    subjects = {label for identifier, label in zip(pairs.ids, pairs.labels, strict=True) if identifier in fitted}
    pairs = pairs.select([row for row, label in enumerate(pairs.labels.tolist()) if label not in subjects])
    converted, new = convert(artifact, pairs.source), pairs.target
    return artifact, (pairs.source, new if backward is None else convert(backward, new), converted)


def open_artifacts(path: Path) -> tuple[Artifact, Artifact | None]:
    """Read an artifact, or both of a pair (forward, backward)."""
    from embcompat.artifact import MANIFEST, read_artifact

    if (path / "forward" / MANIFEST).is_file():
        return read_artifact(path / "forward"), read_artifact(path / "backward")
    return read_artifact(path), None


def convert(artifact: Artifact, embeddings: Embeddings) -> Embeddings:
    """Convert embeddings to the target space of an artifact; labels stay."""
    from embcompat.runtime import OnnxAligner

    return OnnxAligner(artifact).convert(embeddings)


def neighbours(queries: Embeddings, gallery: Embeddings, *, exclude_self: bool) -> Qrels:
    """Judge relevant to each query what the new model ranks first: `NEIGHBOURS` items."""
    from embcompat.evaluation.retrieval.neighbours import NEIGHBOURS
    from embcompat.evaluation.retrieval.qrels import Qrels
    from embcompat.evaluation.search import search

    row_of = {identifier: row for row, identifier in enumerate(gallery.ids.tolist())}
    own = [row_of[identifier] for identifier in queries.ids.tolist()] if exclude_self else None
    _, rows = search(
        queries.vectors,
        gallery.vectors,
        k=min(NEIGHBOURS, len(gallery) - (own is not None)),
        similarity=gallery.space.similarity,
        exclude_self=own,
    )
    return Qrels(
        {
            query: dict.fromkeys(gallery.ids[found].tolist(), 1.0)
            for query, found in zip(queries.ids.tolist(), rows, strict=True)
        }
    )


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result; the file appears only when complete."""
    import json

    from embcompat.files.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_gate(result: dict[str, Any], min_retention: float | None) -> None:
    """Raise unless the lower end of the retention's interval reaches the gate."""
    if min_retention is None:
        return
    interval = result.get("retention_interval")
    if interval is None or interval[0] < min_retention:
        raise GateError(
            f"the lower end of the retention's interval must reach {min_retention}. "
            f"Got {'no retention' if interval is None else f'{interval[0]:.3f}'}."
        )
