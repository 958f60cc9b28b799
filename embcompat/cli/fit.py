"""``embcompat fit``: an aligner from pairs of old and new vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embcompat.cli.console import messages, output, print_json, track
from embcompat.cli.data_options import (
    Delimiter,
    IdColumn,
    IdsFile,
    LabelColumn,
    LabelsFile,
    NewSpace,
    NpySimilarity,
    OldSpace,
    VectorColumn,
)
from embcompat.cli.inputs import Reading, load_sides
from embcompat.cli.words import ItemsFile, TextColumn, add_texts, fit_with_words, read_texts, show_parts
from embcompat.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from embcompat.aligners import Aligner, AlignerPair
    from embcompat.artifact import Metric
    from embcompat.embeddings import Embeddings, PairSplit

Task = Literal["retrieval", "verification"]
Objective = Literal["balanced", "lowest_far"]
NEURAL_KINDS = ("dense", "multi_branch", "residual", "ensemble", "bidirectional")


def fit(
    old: Annotated[
        str,
        typer.Argument(help="Vectors of the pairs' items under the old model: a file, or a store's address."),
    ],
    new: Annotated[str, typer.Argument(help="Vectors of the same items under the new model.")],
    out: Annotated[Path, typer.Option(help="The artifact directory to make.")],
    kind: Annotated[
        str,
        typer.Option(
            help="auto, ridge, procrustes, low_rank, canonical, kernel, residual, dense, multi_branch, ensemble, "
            "bidirectional, text_aware: `embcompat aligners` says what each is for."
        ),
    ] = "auto",
    preset: Annotated[str | None, typer.Option(help="A recipe of a neural kind, for instance fc_aligner.")] = None,
    task: Annotated[Task, typer.Option(help="What auto chooses for: search, or the same subject?")] = "retrieval",
    objective: Annotated[
        Objective, typer.Option(help="Best in verification: subjects kept apart, or least FAR at the new threshold.")
    ] = "balanced",
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    ids: IdsFile = None,
    labels: LabelsFile = None,
    delimiter: Delimiter = None,
    items: ItemsFile = None,
    text_column: TextColumn = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", "-e", help="The new model, which text_aware asks about words.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Path or name, for extractors that take one.")
    ] = None,
    min_count: Annotated[int, typer.Option(help="Times a word must occur to be stored by text_aware.")] = 2,
    stop_words: Annotated[Path | None, typer.Option(help="A file of words that text_aware must not store.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Fit even where less than half of the items of either side is paired.")
    ] = False,
    validation: Annotated[float, typer.Option(help="Share of the pairs (by label) to choose on.")] = 0.175,
    test: Annotated[float, typer.Option(help="Share of the pairs (by label) to report on.")] = 0.2,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of a neural kind.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a step of a neural kind.")] = None,
    device: Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Where a neural kind trains.")] = "auto",
    precision: Annotated[Literal["32", "tf32", "bf16"], typer.Option(help="Arithmetic of a neural kind.")] = "32",
    run_dir: Annotated[Path | None, typer.Option(help="Keep checkpoints and metrics of a neural kind here.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --run-dir.")] = False,
    quantize: Annotated[
        Literal["int8"] | None, typer.Option(help="Compute in 8 bits; refused when it costs too much.")
    ] = None,
    canary: Annotated[
        bool, typer.Option(help="Store 64 held-out pairs, on which every conversion is tried. No for faces.")
    ] = True,
    old_space: OldSpace = None,
    new_space: NewSpace = None,
    similarity: NpySimilarity = "cosine",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an artifact at --out.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and the fit.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit an aligner on pairs: items that were embedded with both models, joined by id.

    The pairs are split into train, validation and test, by label where they have labels. What is chosen is chosen on
    validation; what is reported is measured on test, with intervals.

    Examples:
    `embcompat fit old.parquet new.parquet --out old-to-new`

    `embcompat fit old.parquet new.parquet --out faces --kind dense --preset fc_aligner --no-canary`

    `embcompat fit old.parquet new.parquet --out old-to-new --kind text_aware --items items.jsonl -e minilm`
    """
    _check_options(kind, preset, epochs, run_dir, out, resume=resume, overwrite=overwrite)
    texts = read_texts(items, text_column)
    column = text_column if items is None else None
    reading = Reading(id_column, vector_column, label_column, column, ids=ids, labels=labels, delimiter=delimiter)
    sides = load_sides(old, new, old_space=old_space, new_space=new_space, similarity=similarity, reading=reading)
    split = _split(add_texts(sides[0], texts), sides[1], validation, test, seed, partial=partial)
    options: dict[str, Any] = {}
    if kind in NEURAL_KINDS:
        given = {"epochs": epochs, "batch_size": batch_size, "preset": preset, "run_dir": run_dir}
        options = {name: value for name, value in given.items() if value is not None}
        options |= {"device": device, "precision": precision, "resume": resume}
        options["progress"] = messages().is_terminal
    aligner: Aligner | AlignerPair
    parts, candidates = list[dict[str, Any]](), list[dict[str, Any]]()
    if kind == "text_aware":
        aligner, parts = fit_with_words(
            split, texts, extractor, model, min_count=min_count, stop_words=stop_words, seed=seed
        )
    else:
        aligner, candidates = _fit(kind, split, task, objective, seed, options)
    result = _save(aligner, out, split, kind, int8=quantize == "int8", canary=canary, overwrite=overwrite)
    if candidates:
        result["candidates"] = candidates
    if parts:
        result["parts"] = parts
    if as_json:
        print_json(result)
    else:
        _show(result)


def _fit(
    kind: str, split: PairSplit, task: Task, objective: Objective, seed: int, options: dict[str, Any]
) -> tuple[Aligner | AlignerPair, list[dict[str, Any]]]:
    """Fit one kind, or choose among the candidates of a task and return their table too."""
    from embcompat.selection import fit_aligner, select_aligner

    if kind != "auto":
        return fit_aligner(kind, split.train, split.validation, seed=seed, **options), []
    with track("Fitting candidates", None, unit="candidates") as advance:
        choice = select_aligner(
            split.train, split.validation, task=task, objective=objective, seed=seed, progress=advance
        )
    return choice.aligner, [dict(row.to_dict()) for row in choice.candidates]


def _check_options(
    kind: str, preset: str | None, epochs: int | None, run_dir: Path | None, out: Path, *, resume: bool, overwrite: bool
) -> None:
    """Refuse before the work what would fail, or be ignored, after it."""
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already. Choose another --out, or pass --overwrite to replace it.")
    if kind not in NEURAL_KINDS and (preset or epochs or run_dir or resume):
        raise InputError(
            f"--preset, --epochs, --run-dir and --resume are for the neural kinds ({', '.join(NEURAL_KINDS)}). "
            f"Got --kind {kind}."
        )
    if resume and run_dir is None:
        raise InputError("--resume needs --run-dir: the directory of the run to go on with.")


def _split(
    source: Embeddings, target: Embeddings, validation: float, test: float, seed: int, *, partial: bool
) -> PairSplit:
    from embcompat.embeddings import pair_embeddings, split_pairs

    pairs = pair_embeddings(source, target)
    counts = f"paired {len(pairs):,} of {len(source):,} and {len(target):,}"
    if 2 * len(pairs) < max(len(source), len(target)) and not partial:
        raise InputError(
            f"{counts}: less than half. The rest of the ids, for instance {_alone(source, target)} and "
            f"{_alone(target, source)}, is on one side only. Pass --partial if that is meant."
        )
    messages().print(f"{counts[0].upper()}{counts[1:]} rows.")
    return split_pairs(pairs, validation=validation, test=test, seed=seed)


def _alone(one: Embeddings, other: Embeddings) -> str:
    """Return an id of one side that the other lacks."""
    known = set(other.ids.tolist())
    return next((repr(identifier) for identifier in one.ids.tolist() if identifier not in known), "none")


def _save(
    aligner: Aligner | AlignerPair, out: Path, split: PairSplit, kind: str, *, int8: bool, canary: bool, overwrite: bool
) -> dict[str, Any]:
    from embcompat.aligners import AlignerPair, parameter_count
    from embcompat.aligners.shared import shared_space
    from embcompat.export import save_aligner_pair, save_artifact

    old, new = split.train.source.space, split.train.target.space
    metrics = held_out_metrics(aligner, split)
    if isinstance(aligner, AlignerPair):
        if int8:
            raise InputError(f"--quantize is for single aligners. Got --kind {kind}, which fits a pair.")
        space = shared_space(old, new, aligner, method=kind)
        saved = save_aligner_pair(
            aligner, out, old=old, new=new, shared=space, split=split, metrics=metrics, overwrite=overwrite
        )
        artifacts, maps = [saved[0], saved[1]], [aligner.forward_map, aligner.backward_map]
    else:
        one = save_artifact(
            aligner,
            out,
            source=old,
            target=new,
            split=split,
            metrics=metrics,
            int8=int8,
            canary=canary,
            overwrite=overwrite,
        )
        artifacts, maps = [one], [aligner]
    return {
        "out": str(out),
        "artifacts": [artifact.id for artifact in artifacts],
        "kind": maps[0].kind,
        "config": maps[0].config(),
        "source": artifacts[0].source.id,
        "target": artifacts[0].target.id,
        "parameters": sum(parameter_count(each) for each in maps),
        "split": artifacts[0].manifest.split,
        "metrics": [metric.model_dump() for metric in artifacts[0].manifest.metrics],
    }


def held_out_metrics(aligner: Aligner | AlignerPair, split: PairSplit) -> list[Metric]:
    """Measure an aligner on the test part: mean cosine, and how many native neighbours it finds (retention)."""
    import numpy as np

    from embcompat.aligners import AlignerPair
    from embcompat.artifact import Metric
    from embcompat.embeddings import normalize_rows, transform_embeddings
    from embcompat.evaluation.bootstrap import bootstrap_mean
    from embcompat.evaluation.retrieval.neighbours import neighbour_overlap

    held_out = split.test if len(split.test) else split.validation
    part: Literal["test", "validation"] = "test" if len(split.test) else "validation"
    native = held_out.target.vectors
    if isinstance(aligner, AlignerPair):
        native = aligner.backward_map.transform(native)
        aligner = aligner.forward_map
    converted = transform_embeddings(aligner, held_out.source)
    figures = {
        "mean_cosine": np.einsum("ij,ij->i", normalize_rows(converted), normalize_rows(native)),
        "retention": neighbour_overlap(native, converted, held_out.target.space.similarity),
    }
    metrics = []
    for name, values in figures.items():
        found = bootstrap_mean(values, seed=0)
        metrics.append(
            Metric(name=name, value=found.value, low=found.low, high=found.high, count=len(values), part=part)
        )
    return metrics


def _show_candidates(candidates: list[dict[str, Any]], console: Console) -> None:
    from rich.table import Table

    table = Table("aligner", "floats", "seconds", "score", "against the best", box=None, header_style="bold")
    chosen = next(row["name"] for row in candidates if row["as_good"])
    for row in candidates:
        low, high = row["against_best"]["low"], row["against_best"]["high"]
        table.add_row(
            row["name"] + (" (chosen)" if row["name"] == chosen else ""),
            f"{row['parameters']:,}",
            f"{row['fit_seconds']:.1f}",
            f"{row['score']['value']:.3g}",
            f"{row['against_best']['value']:.3g} [{'-' if low is None else f'{low:.3g}'}, "
            f"{'-' if high is None else f'{high:.3g}'}]",
        )
    console.print(table)
    console.print("Chosen is the cheapest whose paired difference from the best may be none.\n")


def _show(result: dict[str, Any]) -> None:
    console = output()
    if "parts" in result:
        show_parts(result["parts"], console)
        if result["kind"] != "text_aware":
            console.print("Words are of no use here: the aligner reads vectors alone.")
    if "candidates" in result:
        _show_candidates(result["candidates"], console)
    console.print(
        f"{result['out']}: {result['kind']} aligner, {result['source']} -> {result['target']}, "
        f"{result['parameters']:,} floats"
    )
    for metric in result["metrics"]:
        console.print(
            f"  {metric['name']:<12} {metric['value']:.3f}  [{metric['low']:.3f}, {metric['high']:.3f}]  "
            f"on {metric['count']:,} {metric['part']} pairs"
        )
    console.print(
        "The pairs alone cannot say whether the new model is worth it: embcompat evaluate compares with today's search."
    )
