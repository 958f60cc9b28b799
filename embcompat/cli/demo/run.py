"""The steps of the demo, in the order in which anyone would take them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embcompat.aligners.text import build_static_encoder, tokenize
from embcompat.artifact import Artifact
from embcompat.cli.console import describe_run, messages, write_json
from embcompat.cli.demo.gallery import Migration, migrate
from embcompat.cli.demo.sides import Sides, Stopwatch, embed, embed_sides
from embcompat.cli.demo.story import describe_cost, tell
from embcompat.cli.demo.texts import Docstring, read_docstrings
from embcompat.cli.progress import show_step, track
from embcompat.embeddings import Embeddings
from embcompat.evaluation import RetrievalReport, search
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.export import save_artifact
from embcompat.extractors import Extractor, load_extractor
from embcompat.migration import convert_file
from embcompat.report import project, write_report
from embcompat.results import Workload
from embcompat.selection import fit_aligner
from embcompat.selection.text import TextAwareFit, fit_text_aware
from embcompat.upgrade import Evaluation, evaluate_upgrade

OLD_MODEL, NEW_MODEL, SUCCESSOR = "paraphrase-minilm-l3", "minilm", "minilm-int8"
"""The upgrade, and a second one: the new model, quantized."""

SECOND_FRACTION = 1 / 3
"""Share of the texts on which the second upgrade is judged."""

EXAMPLES = 4
HITS = 3


def run_demo(folder: Path, *, limit: int, seed: int) -> dict[str, Any]:
    """Run the demo and return what ``demo.json`` holds.

    Args:
        folder: An existing folder for the results.
        limit: Number of texts.
        seed: Seed of everything.
    """
    watch = Stopwatch()
    with track("Reading docstrings", None, unit="texts") as advance:
        texts = read_docstrings(limit)
        advance(len(texts))
    new_model = load_extractor(NEW_MODEL)
    sides = embed_sides(texts, load_extractor(OLD_MODEL), new_model, watch, seed)
    fit, cost = _fit(sides, new_model, watch, seed)
    artifact = save_artifact(
        fit.aligner,
        folder / "old-to-new",
        source=sides.old.space,
        target=sides.new.space,
        split=sides.split,
        measured=fit.held_out,
        overwrite=True,
    )
    converted = _convert(artifact, sides, folder, watch)
    with messages().status("Evaluating"):
        evaluation = _evaluate(sides, artifact, seed)
        plain = _evaluate(sides, getattr(fit.aligner, "plain", fit.aligner), seed, fitted_ids=())
    second = _second_upgrade(sides, seed)
    migration = _migrate(artifact, sides, evaluation, folder)
    story = tell(evaluation, plain, second, f"{NEW_MODEL} → {SUCCESSOR}", migration, cost)
    result = _result(evaluation, watch, sides, converted, artifact, seed)
    result |= {
        "story": [{"title": title, "text": text} for title, text in story],
        "parts": [part.to_dict() for part in fit.parts],
        "cost": describe_cost(cost),
        "plain": plain.to_dict(),
        "second_upgrade": second.to_dict(),
        "migration": vars(migration),
    }
    write_json(result, folder / "demo.json")
    write_report([result], folder / "report.html", title="Upgrading a text search")
    return result


def _fit(sides: Sides, new_model: Extractor, watch: Stopwatch, seed: int) -> tuple[TextAwareFit, Workload]:
    """Ask the new model about the words of the gallery, and fit; return what that costs, too."""
    documents = [text.body for text in sides.texts]
    with watch.measure("table"):
        encoder = build_static_encoder(
            new_model,
            documents,
            max_bigrams=0,
            progress=lambda total: track("New model, words", total, unit="words"),
        )
    with watch.measure("fit"), show_step("Fitting"):
        fit = fit_text_aware(sides.split.train, sides.split.validation, encoder=encoder, seed=seed)
    lengths = {text.name: len(tokenize(text.body)) for text in sides.texts}
    pairs = sum(length for name, length in lengths.items() if name in sides.fitted)
    total = sum(len(tokenize(text)) for text in sides.pair_texts)
    return fit, Workload(
        unit="words",
        items=len(lengths),
        gallery=sum(lengths.values()),
        pairs=pairs,
        pieces=total - pairs,
        table=len(encoder.words),
    )


def _convert(artifact: Artifact, sides: Sides, folder: Path, watch: Stopwatch) -> Embeddings:
    sides.old.save(folder / "old.parquet")
    with watch.measure("convert"):
        convert_file(
            artifact,
            folder / "old.parquet",
            folder / "converted.parquet",
            resume=False,
            overwrite=True,
            progress=lambda total: track("Converting", total, unit="vectors"),
        )
    return Embeddings.load(folder / "converted.parquet")


def _evaluate(sides: Sides, upgrade: Any, seed: int, *, fitted_ids: Collection[str] | None = None) -> Evaluation:
    """Judge on the texts that are no pairs: every row that is searched is converted, and nothing was fitted on it."""
    rows = sides.unfitted
    return evaluate_upgrade(
        upgrade,
        old_gallery=sides.old.select(rows),
        new_gallery=sides.new.select(rows),
        old_queries=sides.old_queries.select(rows),
        new_queries=sides.new_queries.select(rows),
        qrels=Qrels.one_each(sides.old.ids[rows].tolist()),
        fitted_ids=fitted_ids,
        seed=seed,
    )


def _second_upgrade(sides: Sides, seed: int) -> Evaluation:
    """Judge an upgrade from the new model to a successor that is nearly the same, on a part of the texts."""
    successor = load_extractor(SUCCESSOR)
    rows = np.arange(round(SECOND_FRACTION * len(sides.texts)))
    texts: Sequence[Docstring] = [sides.texts[row] for row in rows.tolist()]
    ids = [text.name for text in texts]
    gallery, queries = sides.new.select(rows), sides.new_queries.select(rows)
    unchanged = fit_aligner("identity", sides.split.train, sides.split.validation, seed=seed)
    return evaluate_upgrade(
        unchanged,
        old_gallery=gallery,
        new_gallery=embed(successor, [text.body for text in texts], ids, "Successor, gallery"),
        old_queries=queries,
        new_queries=embed(successor, [text.summary for text in texts], ids, "Successor, queries"),
        qrels=Qrels.one_each(ids),
        fitted_ids=(),
        seed=seed,
    )


def _migrate(artifact: Artifact, sides: Sides, evaluation: Evaluation, folder: Path) -> Migration:
    """Migrate the gallery, and search it with the query that gains most."""
    changes = evaluation.report.changes if isinstance(evaluation.report, RetrievalReport) else None
    query = changes.gains[0].query if changes is not None and changes.gains else evaluation.query_ids[0]
    row = sides.old_queries.ids.tolist().index(query)
    queries = sides.old_queries.vectors[row], sides.new_queries.vectors[row]
    return migrate(artifact, folder / "lancedb", sides.old, *queries, hits=HITS)


def _result(
    evaluation: Evaluation, watch: Stopwatch, sides: Sides, converted: Embeddings, artifact: Artifact, seed: int
) -> dict[str, Any]:
    texts, seconds = sides.texts, watch.seconds
    return {
        **evaluation.to_dict(),
        "kind": "demo",
        "title": f"{len(texts):,} docstrings",
        "reembed_seconds": watch.reindex,
        "pairs_seconds": seconds["documents"] + seconds["pieces"],
        "table_seconds": seconds["table"],
        "fit_seconds": seconds["fit"],
        "convert_seconds": seconds["convert"],
        "speedup": watch.reindex / watch.convert,
        "examples": _examples(sides, converted, evaluation, seed),
        "projection": project(sides.old.vectors, sides.new.vectors, converted.vectors, seed=seed),
        "provenance": {
            "artifact": artifact.id,
            "aligner": artifact.manifest.kind,
            "pairs": artifact.manifest.split,
            "seed": seed,
            "command": f"embcompat demo --limit {len(texts)} --seed {seed}",
            "date": describe_run()["date"],
            "versions": artifact.manifest.versions,
        },
    }


def _examples(sides: Sides, converted: Embeddings, evaluation: Evaluation, seed: int) -> list[dict[str, Any]]:
    """Search for a few held-out queries, drawn at random, before and after."""
    held_out = set(evaluation.query_ids)
    rows = [row for row, text in enumerate(sides.texts) if text.name in held_out]
    sample = np.sort(np.random.default_rng(seed).choice(rows, size=min(EXAMPLES, len(rows)), replace=False))
    _, old_hits = search(sides.old_queries.vectors[sample], sides.old.vectors, k=HITS, similarity="cosine")
    _, new_hits = search(sides.new_queries.vectors[sample], converted.vectors, k=HITS, similarity="cosine")

    def hits(nearest: np.ndarray[Any, Any], query: int) -> list[dict[str, Any]]:
        return [{"text": sides.texts[row].name, "relevant": bool(row == query)} for row in nearest]

    return [
        {"query": sides.texts[row].summary, "before": hits(old_hits[number], row), "after": hits(new_hits[number], row)}
        for number, row in enumerate(sample)
    ]
