"""The commands that an upgrade consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embcompat.upgrade.line.description import Upgrade

READ_TEXTS: Final = ("plan", "run", "verify", "cutover")
"""Verbs of a migration that read texts."""

ARTIFACT: Final = "old-to-new"
UNWEIGHTED: Final = "old-to-new-unweighted"
"""Folder of the aligner without its reweighting."""

OLD_QUERIES: Final = "old-queries.parquet"
EVALUATION: Final = "evaluation.json"
REPORT: Final = "report.html"


@dataclass(frozen=True)
class Step:
    """One step of an upgrade.

    Attributes:
        words: The command, without ``embcompat``.
        result: The file or folder that it writes.
        inputs: The files that it reads and that are not results of other steps.
    """

    words: tuple[str, ...]
    result: Path
    inputs: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What the step is called: the name of its result."""
        return self.result.name

    @property
    def overwrites(self) -> bool:
        """Whether the command needs an option to replace an existing result."""
        return self.words[0] in ("sample", "embed", "fit")


def measuring_steps(upgrade: Upgrade, folder: Path) -> list[Step]:
    """Return the steps from the gallery to the report; their results are in ``folder``."""
    old, new, artifact = folder / "old.parquet", folder / "new.parquet", folder / ARTIFACT
    new_model = upgrade.extractor, upgrade.model, upgrade.options
    queries, qrels, judged = _judgements(upgrade, folder)
    space = upgrade.old_space if upgrade.old_extractor is None else str(folder / OLD_QUERIES)
    judgements = () if upgrade.qrels is None else (Path(upgrade.qrels),)
    sample = ["sample", upgrade.gallery, "--rows", str(upgrade.rows), "--text-column", upgrade.text_column]
    sample += [*option("--include", qrels), *option("--space", space), "--out", str(old)]
    fit = ["fit", str(old), str(new), "--no-refit", *option("--keep-out", qrels), *_model(*new_model)]
    evaluate = ["evaluate", str(artifact), "--old-gallery", str(old), "--new-gallery", str(new), *judged]
    evaluate += ["--weigh-queries"] if upgrade.weigh_queries else []
    result = folder / EVALUATION
    return [
        *queries,
        Step(tuple(sample), old, judgements),
        _embed(old, new, *new_model, "--text-column", "text"),
        Step((*fit, "--out", str(artifact)), artifact, judgements),
        Step((*evaluate, "--out", str(result)), result, (*judgements, *_queries(upgrade))),
        Step(("report", str(result), "--out", str(folder / REPORT)), folder / REPORT),
    ]


def _judgements(upgrade: Upgrade, folder: Path) -> tuple[list[Step], str | None, list[str]]:
    """Return the steps that make and embed queries, the file of judgements, and the options that pass both on."""
    qrels, texts, steps = upgrade.qrels, upgrade.queries, []
    if upgrade.items is not None and upgrade.title_column is not None:
        judged = folder / "judged"
        words = ("queries", "known-item", upgrade.items, "--query-column", upgrade.title_column)
        inputs = (Path(upgrade.items),)
        steps.append(Step((*words, "--text-column", upgrade.text_column, "--out", str(judged)), judged, inputs))
        qrels, texts = str(judged / "qrels.tsv"), str(judged / "queries.jsonl")
    old, new = upgrade.old_queries, upgrade.new_queries
    if texts is not None and upgrade.old_extractor is not None:
        paths = folder / OLD_QUERIES, folder / "new-queries.parquet"
        models = (
            (upgrade.old_extractor, upgrade.old_model, upgrade.old_options),
            (upgrade.extractor, upgrade.model, upgrade.options),
        )
        files = () if upgrade.queries is None else (Path(texts),)
        steps += [_embed(Path(texts), path, *model, inputs=files) for path, model in zip(paths, models, strict=True)]
        old, new = map(str, paths)
    return steps, qrels, [*option("--old-queries", old), *option("--new-queries", new), *option("--qrels", qrels)]


def _embed(
    source: Path,
    out: Path,
    extractor: str,
    model: str | None,
    options: list[str],
    *more: str,
    inputs: tuple[Path, ...] = (),
) -> Step:
    words = ["embed", str(source), *_model(extractor, model, options)]
    return Step((*words, *more, "--out", str(out)), out, inputs)


def _model(extractor: str, model: str | None, options: list[str]) -> list[str]:
    """Return the options that name a model: `embed` embeds items with it, `fit` the words of their texts."""
    words = ["--extractor", extractor, *option("--model", model)]
    return words + [word for each in options for word in ("--option", each)]


def _queries(upgrade: Upgrade) -> tuple[Path, ...]:
    return tuple(Path(name) for name in (upgrade.old_queries, upgrade.new_queries) if name is not None)


def migration_step(upgrade: Upgrade, artifact: Path, verb: str, *, reads_texts: bool) -> tuple[str, ...]:
    """Return a command of the migration.

    Args:
        upgrade: The upgrade.
        artifact: The aligner.
        verb: ``run``, ``verify``, ``cutover``, ``rollback`` or ``status``.
        reads_texts: Whether the aligner reads the texts of rows.
    """
    texts = option("--text-column", upgrade.text_column) if reads_texts and verb in READ_TEXTS else []
    return ("migrate", verb, str(artifact), upgrade.gallery, *texts)


def option(name: str, value: str | None) -> list[str]:
    """Return the words of an option; none if it has no value."""
    return [] if value is None else [name, value]
