"""``embcompat fit``: an aligner from pairs of old and new vectors."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embcompat.cli.console import messages, option_words, print_json, show_next
from embcompat.cli.fit.output import fit_result, show_fit
from embcompat.cli.inputs.embeddings import Reading
from embcompat.cli.inputs.options import (
    NEURAL_KINDS,
    Delimiter,
    ExtractorOptions,
    IdColumn,
    IdsFile,
    LabelColumn,
    LabelsFile,
    ModelPath,
    NewSpace,
    NpySimilarity,
    OldSpace,
    Task,
    VectorColumn,
)
from embcompat.cli.inputs.sides import load_sides
from embcompat.cli.inputs.words import ItemsFile, TextColumn, add_texts, fit_with_words, load_word_model, read_texts
from embcompat.cli.progress import show_step, track
from embcompat.errors import GateError, InputError

if TYPE_CHECKING:
    from embcompat.embeddings import Embeddings, PairedEmbeddings

Objective = Literal["balanced", "lowest_far"]
PENALTY_KINDS = ("ridge", "low_rank", "kernel", "pieces", "canonical")
LANDMARK_KINDS = ("kernel", "pieces")


def fit(
    old: Annotated[
        str,
        typer.Argument(help="Vectors of the pairs' items under the old model: a file, or a store's address."),
    ],
    new: Annotated[str, typer.Argument(help="Vectors of the same items under the new model.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The artifact directory to create.")],
    kind: Annotated[
        str,
        typer.Option(
            help="auto, identity, ridge, procrustes, low_rank, canonical, kernel, pieces, residual, dense, "
            "multi_branch, ensemble, bidirectional, text_aware, or one with a correction ('kernel, reweighted'): "
            "`embcompat aligners` lists them, those of installed packages included."
        ),
    ] = "auto",
    preset: Annotated[str | None, typer.Option(help="A recipe of a neural kind, for instance fc_aligner.")] = None,
    task: Annotated[
        Task, typer.Option(help="The task that auto chooses for: search, or verification of subjects.")
    ] = "retrieval",
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
        str | None, typer.Option("--extractor", "-e", help="The new model: auto and text_aware embed words with it.")
    ] = None,
    model: ModelPath = None,
    option: ExtractorOptions = None,
    min_count: Annotated[int, typer.Option(help="Fewest occurrences of a word that text_aware stores.")] = 2,
    stop_words: Annotated[Path | None, typer.Option(help="A file of words that text_aware must not store.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Fit even where less than half of the items of either side is paired.")
    ] = False,
    validation: Annotated[float, typer.Option(help="Share of the pairs (by label) to choose on.")] = 0.175,
    test: Annotated[float, typer.Option(help="Share of the pairs (by label) to report on.")] = 0.2,
    penalty: Annotated[
        float | None, typer.Option(help="Penalty of the kind; chosen on held-out pairs if left out.")
    ] = None,
    landmarks: Annotated[
        int | None, typer.Option(min=1, help="Landmarks of kernel and pieces; 2,500 if left out.")
    ] = None,
    reweight: Annotated[
        bool | None,
        typer.Option("--reweight/--no-reweight", help="Weigh unreliable directions down, or never; auto tries both."),
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit/--no-refit",
            help="Fit on all pairs after measuring; the default except for neural kinds. Then no pair can judge.",
        ),
    ] = None,
    keep_out: Annotated[
        Path | None,
        typer.Option(help="Judgements (trec_eval's format): no pair of an item that answers a query is used."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Maximum number of epochs of a neural kind.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per training step of a neural kind.")] = None,
    device: Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Where a neural kind trains.")] = "auto",
    precision: Annotated[Literal["32", "tf32", "bf16"], typer.Option(help="Arithmetic of a neural kind.")] = "32",
    run_dir: Annotated[Path | None, typer.Option(help="Keep checkpoints and metrics of a neural kind here.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint in --run-dir.")] = False,
    quantize: Annotated[
        Literal["int8"] | None, typer.Option(help="Compute in 8 bits; refused if it loses too much.")
    ] = None,
    canary: Annotated[
        bool, typer.Option(help="Store 64 held-out pairs, on which every conversion is tested. Not for faces.")
    ] = True,
    blended_canary: Annotated[
        bool, typer.Option("--blended-canary", help="Store blends of 20 people each in place of pairs: nobody's face.")
    ] = False,
    score_cohort: Annotated[
        int,
        typer.Option(
            min=0, help="Store one vector each of so many fitted people, to normalize scores by: biometric data."
        ),
    ] = 0,
    score_statistics: Annotated[
        bool,
        typer.Option("--score-statistics", help="Store statistics of fitted people to normalize scores by: no vector."),
    ] = False,
    old_space: OldSpace = None,
    new_space: NewSpace = None,
    similarity: NpySimilarity = "cosine",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an artifact at --out.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and the fit.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    r"""Fit an aligner on pairs: items that were embedded with both models, joined by id.

    The pairs are split into train, validation and test, by label where they have labels. The kind is chosen by
    cross-fitting on train and validation, the figures are measured on test, and the same kind is then fitted on all
    pairs: the figures are a lower bound of what is saved. With --extractor the items' words are tried as well
    (text_aware), and kept if their gain on held-out pairs is significant. Pieces of texts (`embcompat embed --pieces`)
    are recognized by their labels.

    Exits with 3 when the aligner does no better than chance on held-out pairs; the artifact is written and marked.

    Examples:
    ```bash
    embcompat fit old.parquet new.parquet --out old-to-new
    embcompat fit old.parquet new.parquet --keep-out qrels.tsv \
        --out old-to-new
    embcompat fit old.parquet new.parquet --out faces \
        --kind "ensemble, reweighted" --blended-canary
    embcompat fit old.parquet new.parquet --out old-to-new \
        --items items.jsonl -e minilm
    ```
    """
    from embcompat.evaluation import read_qrels
    from embcompat.selection import fit_artifact, leave_out

    if blended_canary and not canary:
        raise InputError("--blended-canary and --no-canary exclude each other. Choose one.")
    kind, candidates = _named_kind(kind, task, reweight)
    base = kind.partition(",")[0]
    _check_options(base, preset, epochs, run_dir, out, resume=resume, overwrite=overwrite)
    texts = read_texts(items, text_column)
    column = text_column if items is None else None
    reading = Reading(id_column, vector_column, label_column, column, ids=ids, labels=labels, delimiter=delimiter)
    sides = load_sides(old, new, old_space=old_space, new_space=new_space, similarity=similarity, reading=reading)
    pairs = _pairs(add_texts(sides[0], texts), sides[1], partial=partial)
    kept_out = 0
    if keep_out is not None:
        pairs, kept_out = leave_out(pairs, read_qrels(keep_out).relevant_items())
    words: dict[str, Any] = {"min_count": min_count, "stop_words": stop_words, "seed": seed}
    word_model = load_word_model(extractor, model, option or [], kind=base, task=task)

    options = _kind_options(base, penalty=penalty, landmarks=landmarks)
    if base in NEURAL_KINDS:
        neural = {"epochs": epochs, "batch_size": batch_size, "preset": preset, "run_dir": run_dir}
        options |= {name: value for name, value in neural.items() if value is not None}
        options |= {"device": device, "precision": precision, "resume": resume, "progress": messages().is_terminal}
    alone = kind != "auto" and base not in NEURAL_KINDS and word_model is None  # no other progress is shown
    with show_step("Fitting") if alone else nullcontext():
        fitted = fit_artifact(
            pairs,
            out,
            kind=kind,
            task=task,
            objective=objective,
            candidates=candidates,
            validation=validation,
            test=test,
            refit=refit,
            int8=quantize == "int8",
            canary="blended" if blended_canary else canary,
            score_cohort=score_cohort,
            score_statistics=score_statistics,
            overwrite=overwrite,
            seed=seed,
            selection_progress=lambda total: track("Fitting", total, unit="fits"),
            fit_words=None if word_model is None else lambda split: fit_with_words(split, texts, word_model, **words),
            **options,
        )
    result = fit_result(fitted, out, kept_out)
    if as_json:
        print_json(result)
    else:
        show_fit(result)
    if fitted.at_chance:
        raise GateError(f"{out} is written, and marked: {_CHANCE}")
    if not as_json:
        files = option_words(**vars(replace(reading, text_column=text_column)), items=items)
        if task == "verification" and fitted.refitted:  # it is measured on people who were not fitted
            old, new, files = "OTHER-OLD.parquet", "OTHER-NEW.parquet", []
        _show_evaluation(out, old, new, task, keep_out, files)


def _show_evaluation(out: Path, old: str, new: str, task: Task, keep_out: Path | None, files: list[str]) -> None:
    """Print the command that evaluates the artifact, with the options by which the same files are read."""
    if task == "verification":
        judged = ["--task", task]
    else:
        queries = {"old_queries": "OLD-QUERIES.parquet", "new_queries": "NEW-QUERIES.parquet"}
        judged = option_words(**queries, qrels=keep_out or "QRELS.tsv")
    show_next("evaluate", out, "--old-gallery", old, "--new-gallery", new, *files, *judged)


_CHANCE = (
    "it does no better than chance on held-out pairs. Most often the two files do not hold the same items under the "
    "same ids. convert and migrate refuse it without --force."
)


def _named_kind(kind: str, task: Task, reweight: bool | None) -> tuple[str, list[str] | None]:
    """Return the kind with its correction, and the names that auto tries where --reweight or --no-reweight cut them."""
    from embcompat.selection import CANDIDATES

    if kind == "auto":
        if reweight is None:
            return kind, None
        return kind, [name for name in CANDIDATES[task] if ("reweighted" in name) == reweight]
    if reweight is None:
        return kind, None
    base, comma, correction = (part.strip() for part in kind.partition(","))
    if comma and (correction == "reweighted") != reweight:
        flag = "--reweight" if reweight else "--no-reweight"
        raise InputError(f"--kind {kind!r} and {flag} must agree. Leave one of them out.")
    return (f"{base}, reweighted" if reweight else base), None


def _kind_options(kind: str, **values: float | None) -> dict[str, Any]:
    """Return the options of a closed form that were given, and refuse those that the kind does not take."""
    takes = {"penalty": PENALTY_KINDS, "landmarks": LANDMARK_KINDS}
    options = {name: value for name, value in values.items() if value is not None}
    for name in options:
        if kind not in takes[name]:
            raise InputError(f"--{name} is for the kinds {', '.join(takes[name])}. Got --kind {kind}.")
    return options


def _check_options(
    kind: str, preset: str | None, epochs: int | None, run_dir: Path | None, out: Path, *, resume: bool, overwrite: bool
) -> None:
    """Refuse, before the work begins, options that would fail or be ignored."""
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already. Choose another --out, or pass --overwrite to replace it.")
    if kind not in NEURAL_KINDS and (preset or epochs or run_dir or resume):
        raise InputError(
            f"--preset, --epochs, --run-dir and --resume are for the neural kinds ({', '.join(NEURAL_KINDS)}). "
            f"Got --kind {kind}."
        )
    if resume and run_dir is None:
        raise InputError("--resume needs --run-dir: the directory of the run to resume.")


def _pairs(source: Embeddings, target: Embeddings, *, partial: bool) -> PairedEmbeddings:
    from embcompat.embeddings import pair_embeddings

    pairs = pair_embeddings(source, target)
    counts = f"paired {len(pairs):,} of {len(source):,} and {len(target):,}"
    if 2 * len(pairs) < max(len(source), len(target)) and not partial:
        raise InputError(
            f"{counts}: less than half. The rest of the ids, for instance {_alone(source, target)} and "
            f"{_alone(target, source)}, is on one side only. Pass --partial if that is meant."
        )
    messages().print(f"{counts[0].upper()}{counts[1:]} rows.")
    return pairs


def _alone(one: Embeddings, other: Embeddings) -> str:
    """Return an id of one side that the other lacks."""
    known = set(other.ids.tolist())
    return next((repr(identifier) for identifier in one.ids.tolist() if identifier not in known), "none")
