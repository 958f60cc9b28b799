"""``embcompat backfill run``: re-embed the planned items in a gallery store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import messages, output, print_json, show_next
from embcompat.cli.inputs.models import open_model, show_estimate
from embcompat.cli.inputs.options import ExtractorOptions, ModelPath
from embcompat.cli.progress import track
from embcompat.errors import InputError

if TYPE_CHECKING:
    from embcompat.artifact import Artifact
    from embcompat.backfill.embed import Embed
    from embcompat.backfill.execute import BackfillRun
    from embcompat.backfill.plan_file import PlanFile
    from embcompat.cli.backfill.watch import Watch
    from embcompat.embeddings import Embeddings
    from embcompat.spaces import SpaceVersion
    from embcompat.upgrade import OnnxMaps

LISTED_FAILURES = 10


def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan that `embcompat backfill plan` wrote.")],
    url: Annotated[str, typer.Argument(metavar="STORE_URL", help="The converted gallery.")],
    extractor: Annotated[str | None, typer.Option("--extractor", "-e", help="Name of the new model.")] = None,
    items: Annotated[Path | None, typer.Option(help="The items, as `embcompat embed` reads them.")] = None,
    new_vectors: Annotated[str | None, typer.Option(help="Native vectors that are known already.")] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="The artifact directory, where it has moved since the plan was made.")
    ] = None,
    model: ModelPath = None,
    option: ExtractorOptions = None,
    id_column: Annotated[str | None, typer.Option(help="Column of the ids in --items.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column to embed in --items.")] = None,
    gallery: Annotated[
        str | None, typer.Option(help="The file that was planned for: its ids are the gallery that --queries search.")
    ] = None,
    queries: Annotated[
        str | None, typer.Option(help="Queries under the new model: measure before the run, and at each tenth of it.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Their judgements, as `embcompat evaluate` reads them.")] = None,
    metric: Annotated[str, typer.Option(help="The metric.")] = "ndcg@10",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    r"""Embed the planned items with the new model; their vectors replace the converted ones and are marked native.

    You can stop the run and start it again at any time: rows that are native already are skipped. Items that are gone
    or fail are listed, and the run continues. The gallery must have been converted with `embcompat migrate run`.

    Examples:
    ```bash
    embcompat backfill run PLAN.json 'lancedb:///data/gallery#docs.vector' \
        --extractor minilm --items docs.jsonl
    embcompat backfill run PLAN.json 'lancedb:///data/gallery#docs.vector' \
        --new-vectors new.parquet
    embcompat backfill run PLAN.json 'lancedb:///data/gallery#docs.vector' \
        -e minilm --items docs.jsonl --gallery old.parquet \
        --queries new-queries.parquet --qrels qrels.tsv
    ```
    """
    from embcompat.backfill.plan_file import read_plan

    planned, ids = read_plan(plan)
    maps = _open(planned, artifact)
    if maps.artifact.manifest.is_reweighted:
        messages().print(
            "this artifact is reweighted, so native rows will push its rows back in a search. "
            "Convert such a gallery with what `embcompat unweight` makes, and plan for that.",
            soft_wrap=True,
        )
    reasons: dict[str, str] = {}
    if new_vectors is not None and extractor is None and items is None:
        embed = _known(new_vectors, maps.new_space)
    elif new_vectors is None and extractor is not None and items is not None:
        embed = _embedder(ids, extractor, items, (model, option or [], id_column, text_column), reasons)
    else:
        raise InputError("native vectors come from --extractor and --items, or from --new-vectors. Pass one of them.")
    start_watch = _watch(gallery, queries, qrels, metric, maps)
    result = _execute(ids, url, maps.artifact, _into_target(embed, maps), reasons, start_watch)
    if as_json:
        print_json({"url": url, "artifact": maps.artifact.id, **result})
    else:
        _show(result)
        show_next("migrate", "verify", maps.artifact.path, url)


def _watch(
    gallery: str | None, queries: str | None, qrels: Path | None, metric: str, maps: OnnxMaps
) -> Callable[..., Watch] | None:
    """Read the queries that measure the gallery during the run; None where there are none."""
    from embcompat.cli.backfill.watch import Watch
    from embcompat.cli.inputs.embeddings import load_embeddings
    from embcompat.evaluation.retrieval.judgements import read_qrels
    from embcompat.evaluation.retrieval.metrics import parse_metric

    if gallery is None and queries is None and qrels is None:
        return None
    if gallery is None or queries is None or qrels is None:
        raise InputError("--gallery, --queries and --qrels belong together. Pass all three, or none.")
    parse_metric(metric)
    vectors = maps.into_target(load_embeddings(queries, likely=maps.new_space))
    ids = load_embeddings(gallery, likely=maps.artifact.source).ids.tolist()
    return partial(Watch, gallery_ids=ids, queries=vectors, qrels=read_qrels(qrels), metric=metric)


def _open(plan: PlanFile, path: Path | None) -> OnnxMaps:
    """Open the artifact that the plan was made for, or both of a pair."""
    from embcompat.upgrade import open_maps

    if path is None and plan.artifact_path is None:
        raise InputError("the plan does not hold the path of its artifact. Pass --artifact.")
    where = Path(plan.artifact_path or "") if path is None else path
    maps = open_maps(where)
    if maps.artifact.id != plan.artifact:
        raise InputError(f"the plan was made for artifact {plan.artifact}. {where} holds {maps.artifact.id}.")
    return maps


def _known(origin: str, space: SpaceVersion) -> Embed:
    from embcompat.backfill.embed import look_up
    from embcompat.cli.inputs.embeddings import load_embeddings

    return look_up(load_embeddings(origin, likely=space))


def _embedder(
    ids: list[str],
    extractor: str,
    items: Path,
    options: tuple[str | None, list[str], str | None, str | None],
    reasons: dict[str, str],
) -> Embed:
    """Load model and items; the reason for each item that cannot be embedded goes to ``reasons``."""
    from embcompat.backfill.embed import embed_items
    from embcompat.cli.inputs.items import read_items
    from embcompat.extractors import SkippedItem

    model, option, id_column, text_column = options
    rows = read_items(items, id_column=id_column, text_column=text_column)
    for note in rows.notes:
        messages().print(note, soft_wrap=True)
    loaded = open_model(extractor, model, option)
    texts = dict(zip(rows.ids, rows.items, strict=True))
    show_estimate(loaded, lambda: [texts[identifier] for identifier in ids if identifier in texts])

    def remember(item: SkippedItem) -> None:
        reasons[item.id] = item.reason

    return embed_items(loaded, texts, on_skip=remember)


def _into_target(embed: Embed, maps: OnnxMaps) -> Embed:
    """Map new vectors to the target space, where that is not the new model's own."""

    def mapped(ids: Sequence[str]) -> Embeddings:
        vectors = embed(ids)
        return vectors if vectors.space == maps.artifact.target else maps.into_target(vectors)

    return mapped


def _execute(
    ids: list[str],
    url: str,
    artifact: Artifact,
    embed: Embed,
    reasons: dict[str, str],
    start_watch: Callable[..., Watch] | None,
) -> dict[str, Any]:
    from embcompat.backfill import run_backfill
    from embcompat.migration import job_of
    from embcompat.stores import open_store

    job = job_of(artifact)
    with closing(open_store(url)) as store:
        if store.state(job).phase == "untouched":
            raise InputError(f"{store.url} was not converted with this artifact. Run `embcompat migrate run` first.")
        watch = None if start_watch is None else start_watch(store, job, planned=ids)
        try:
            with track("Embedding", len(ids), unit="items") as advance:

                def progress(count: int) -> None:
                    advance(count)
                    if watch is not None:
                        watch.advance(count)

                run: BackfillRun = run_backfill(ids, store, job, embed, progress=progress)
        except KeyboardInterrupt:
            messages().print("Stopped. What was written stays; run the same command again to resume.")
            raise
        coverage = store.coverage(job)
    failures = {identifier: reasons.get(identifier, reason) for identifier, reason in run.failures.items()}
    gallery = {
        "native": coverage.native,
        "converted": coverage.converted - coverage.native,
        "missing": coverage.missing,
    }
    measured = None if watch is None else {"metric": watch.metric, "values": watch.measured}
    return {**run.to_dict(), "failures": failures, "gallery": gallery, "measured": measured}


def _show(result: dict[str, Any]) -> None:
    console, failures = output(), result["failures"]
    console.print(
        f"{result['rows']:,} rows re-embedded in {result['seconds']:,.1f} s; {result['already_native']:,} were native"
    )
    for identifier, reason in list(failures.items())[:LISTED_FAILURES]:
        console.print(f"  {identifier}: {reason}", soft_wrap=True)
    if len(failures) > LISTED_FAILURES:
        console.print(f"  and {len(failures) - LISTED_FAILURES:,} more; --json lists all")
    gallery = result["gallery"]
    console.print(f"the gallery has {gallery['native']:,} native and {gallery['converted']:,} converted rows")
