"""``embcompat backfill plan``: which items to re-embed within a budget, or to reach a target."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.embeddings import Reading, load_embeddings
from embcompat.cli.inputs.models import open_model
from embcompat.cli.inputs.options import (
    ArtifactPath,
    Delimiter,
    ExtractorOptions,
    IdColumn,
    Json,
    LabelColumn,
    ModelPath,
    NewSpace,
    NpySimilarity,
    VectorColumn,
)
from embcompat.cli.inputs.sides import artifact_spaces
from embcompat.errors import FileFormatError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embcompat.backfill import BackfillCurve, BackfillPlan, Budget, HeldOut
    from embcompat.embeddings import Embeddings


def plan(
    artifact: ArtifactPath,
    gallery: Annotated[
        str, typer.Argument(metavar="GALLERY", help="The stored old vectors: a file, or a store's address.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The plan to write.")] = Path("PLAN.json"),
    ids: Annotated[Path, typer.Option(help="The ids to write, one on each line, the most urgent first.")] = Path(
        "ids.txt"
    ),
    budget_rows: Annotated[int | None, typer.Option(help="Number of items to re-embed.")] = None,
    budget_fraction: Annotated[
        float | None, typer.Option(help="Share of the gallery to re-embed, including rows that are native already.")
    ] = None,
    budget_seconds: Annotated[
        float | None, typer.Option(help="Seconds of embedding to spend; needs --seconds-per-item or -e.")
    ] = None,
    budget_money: Annotated[float | None, typer.Option(help="Money to spend; needs --price-per-item.")] = None,
    target_retention: Annotated[
        float | None,
        typer.Option(help="The fewest items that reach this share of a full reindex; needs --curve or --new-vectors."),
    ] = None,
    seconds_per_item: Annotated[float | None, typer.Option(help="Time to embed one item.")] = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", "-e", help="The new model, to be timed on --items instead.")
    ] = None,
    model: ModelPath = None,
    option: ExtractorOptions = None,
    items: Annotated[Path | None, typer.Option(help="The items, as `embcompat embed` reads them.")] = None,
    price_per_item: Annotated[float | None, typer.Option(help="Price of embedding one item.")] = None,
    order: Annotated[
        str | None, typer.Option(help="The order of the items; recommended if there is a curve, else random.")
    ] = None,
    curve: Annotated[
        Path | None, typer.Option(help="A curve of evaluation data, from `embcompat backfill curve --out`.")
    ] = None,
    new_vectors: Annotated[
        str | None,
        typer.Option(
            help="New vectors of a part of the gallery, used to measure the curve; ignored if --curve is given."
        ),
    ] = None,
    queries: Annotated[str | None, typer.Option(help="New queries: items that they retrieve are useful.")] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Which items answer them; without --queries, a log of items in use.")
    ] = None,
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="The classes for class_mean, one on each line, or id, tab, class; the gallery's own by default."
        ),
    ] = None,
    delimiter: Delimiter = None,
    metric: Annotated[str, typer.Option(help="Metric of the curve of --new-vectors.")] = "ndcg@10",
    space: Annotated[
        str | None,
        typer.Option(help="name@version of a gallery that does not name its space; the artifact's by default."),
    ] = None,
    new_space: NewSpace = None,
    similarity: NpySimilarity = "cosine",
    seed: Annotated[int, typer.Option(help="Seed of orders, folds and bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    r"""Choose the items to re-embed with the new model. Prints what they cost, what to expect, and when to stop.

    The items that the artifact was fitted on have new vectors already: they count as native and are not listed.
    `embcompat backfill run` carries the plan out.

    Examples:
    ```bash
    embcompat backfill plan old-to-new gallery.parquet --curve curve.json \
        --target-retention 0.97 --seconds-per-item 0.2 --out PLAN.json \
        --ids ids.txt
    embcompat backfill plan old-to-new lancedb:///data/lance#docs.vector \
        --budget-fraction 0.2 --order class_mean
    ```
    """
    from embcompat.backfill import Budget, save_plan

    if seconds_per_item is None:
        seconds_per_item = timed_seconds(extractor, model, option, items)
    budget = Budget(
        budget_rows, budget_fraction, budget_seconds, budget_money, target_retention, seconds_per_item, price_per_item
    )
    reading = Reading(id_column, vector_column, label_column, delimiter=delimiter)
    likely = artifact_spaces(artifact)
    stored = load_embeddings(
        gallery, space=space, similarity=similarity, reading=replace(reading, labels=labels), likely=likely[0]
    )
    sample, asking = (
        None if origin is None else load_embeddings(origin, space=new_space, similarity=similarity, likely=likely[1])
        for origin in (new_vectors, queries)
    )
    source = _Source(artifact, stored, asking, qrels, seed)
    known = None if sample is None else source.measure(sample, metric)
    known = known if curve is None else read_curve(curve)
    backfill = source.plan(order or ("random" if known is None else "recommended"), budget, known)
    weights = {} if known is None else known.weights
    saved = save_plan(
        backfill,
        out,
        ids,
        artifact=source.artifact.id,
        artifact_path=artifact,
        source=source.artifact.source.id,
        target=source.artifact.target.id,
        weights=weights,
    )
    if as_json:
        print_json({**saved.model_dump(exclude={"curve"}), "plan": str(out), "ids": str(ids)})
        return
    console = output()
    weighs_queries = known is not None and known.weighted_queries
    for line in (backfill.sentence, backfill.advice, source.note(backfill.native_items, weighs_queries=weighs_queries)):
        if line:
            console.print(line, soft_wrap=True)
    console.print(f"Written to {out} and {ids}.", soft_wrap=True)
    show_next("backfill", "run", out, "STORE_URL", "--extractor", "NAME", "--items", "ITEMS")


class _Source:
    """One gallery, converted, and what is known about its use."""

    def __init__(
        self, path: Path, stored: Embeddings, queries: Embeddings | None, qrels: Path | None, seed: int
    ) -> None:
        from embcompat.evaluation.retrieval.judgements import read_qrels
        from embcompat.upgrade import open_maps

        self._maps = open_maps(path)
        self.artifact = self._maps.artifact
        self._stored, self._seed = stored, seed
        unweighted = self._maps.convert_unweighted(stored)
        self._is_reweighted = unweighted is not None
        self._converted = self._maps.convert(stored) if unweighted is None else unweighted
        self._queries = None if queries is None else self._maps.into_target(queries)
        self._qrels = None if qrels is None else read_qrels(qrels)
        self._held_out: HeldOut | None = None

    def measure(self, sample: Embeddings, metric: str) -> BackfillCurve:
        """Measure the curve on the items whose new vectors are known."""
        from embcompat.backfill import SearchTask, backfill_curve
        from embcompat.cli.backfill.curve import make_backlog
        from embcompat.upgrade import build_search_case, hold_out, join_galleries, judge_by_neighbours

        pairs = join_galleries(self._maps, self._stored, sample)
        galleries, self._held_out = hold_out(pairs, seed=self._seed)
        if self._queries is None:
            case = build_search_case(galleries)
            self._queries = case.sides.new_queries
            task = SearchTask(self._queries, case.qrels, metric=metric, exclude_self=True)
        else:
            judged = self._qrels or judge_by_neighbours(self._queries, galleries.new, exclude_self=False)
            task = SearchTask(self._queries, judged, metric=metric)
        backlog = make_backlog(self.artifact, galleries.old, galleries.mixed, self._held_out, seed=self._seed)
        return backfill_curve(backlog, galleries.new, task, native_ids=galleries.fitted)

    def plan(self, order: str, budget: Budget, known: BackfillCurve | None) -> BackfillPlan:
        """Order the rows that are not native and take what the budget buys."""
        from embcompat.backfill import backfill_order, plan_backfill
        from embcompat.cli.backfill.curve import make_backlog

        ids = set(self._stored.ids.tolist())
        native = self.artifact.pair_ids() & ids
        backlog = make_backlog(self.artifact, self._stored, self._converted, self._held_out, seed=self._seed)
        visits: Counter[str] = Counter()
        for items in () if self._qrels is None else self._qrels.gains.values():
            visits.update(item for item, gain in items.items() if gain > 0)
        ordered = backfill_order(
            order,
            self._stored,
            self._converted,
            native_ids=native,
            held_out=self._held_out,
            convertibility=backlog.convertibility,
            queries=self._query_vectors(weighted=known is not None and known.weighted_queries),
            visits=visits if self._queries is None and visits else None,
            weights=None if known is None else known.weights,
            seed=self._seed,
        )
        return plan_backfill(ordered.tolist(), budget, native_items=len(native), order=order, curve=known)

    def _query_vectors(self, *, weighted: bool) -> NDArray[np.float32] | None:
        """Return the queries as they search the gallery."""
        from embcompat.aligners import weigh_queries

        weights = self._maps.query_weights() if weighted else None
        if self._queries is None or weights is None:
            return None if self._queries is None else self._queries.vectors
        return weigh_queries(self._queries.vectors, weights)

    def note(self, native_items: int, *, weighs_queries: bool) -> str:
        """Return what the plan takes for granted."""
        notes = []
        if native_items:
            notes.append(
                f"The {native_items:,} items of the gallery that the artifact was fitted or tested on count as native: "
                "their new vectors are known. Write them as well."
            )
        if self._is_reweighted:
            notes.append(
                "The artifact is reweighted: native rows would push its rows back in a search. "
                "The figures are without the reweighting. Convert the gallery without it: `embcompat unweight`."
            )
        if weighs_queries:
            notes.append(
                "The curve is of weighted queries: weigh those of your service, too (embcompat.serving.WeightedSearch)."
            )
        return " ".join(notes)


def timed_seconds(
    extractor: str | None, model: str | None, option: list[str] | None, items: Path | None
) -> float | None:
    """Time a model on a file of items; None without either.

    Raises:
        InputError: If only one is given.
    """
    from embcompat.backfill import time_per_item
    from embcompat.cli.inputs.items import read_items

    if (extractor is None) != (items is None):
        raise InputError("--extractor and --items must be given together: a model is timed on the items.")
    if extractor is None or items is None:
        return None
    return time_per_item(open_model(extractor, model, option), read_items(items).items)


def read_curve(path: Path) -> BackfillCurve:
    """Read what ``embcompat backfill curve --out`` wrote.

    Raises:
        FileFormatError: If the file is missing or not JSON.
        InputError: If it is not a curve.
    """
    from embcompat.backfill import BackfillCurve

    try:
        return BackfillCurve.from_dict(json.loads(path.read_bytes()))
    except (OSError, json.JSONDecodeError) as error:
        raise FileFormatError(f"{path} is not a JSON file: {error}") from error
