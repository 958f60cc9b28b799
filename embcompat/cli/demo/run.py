"""The steps of the demo, in the order in which anyone would take them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embcompat.aligners import Aligner
from embcompat.artifact import Artifact
from embcompat.cli.console import track, write_json
from embcompat.cli.demo.texts import Docstring, read_docstrings
from embcompat.embeddings import Embeddings, PairSplit, pair_embeddings, split_pairs
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.evaluation.search import search
from embcompat.export import save_artifact
from embcompat.extractors import Extractor, extract_embeddings, load_extractor
from embcompat.migration.convert import convert_file
from embcompat.report import project, write_report
from embcompat.selection import select_aligner
from embcompat.upgrade import Evaluation, evaluate_upgrade

OLD_MODEL, NEW_MODEL = "paraphrase-minilm-l3", "minilm"

PAIRS_FRACTION = 0.25
"""Share of the gallery that is embedded with both models, to fit and choose the aligner on."""

EXAMPLES = 4
HITS = 3


@dataclass
class Stopwatch:
    """Seconds that the steps took, by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of a block to a step."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @property
    def reindex(self) -> float:
        """Time to embed the whole gallery with the new model."""
        return self.seconds["pairs"] + self.seconds["rest"]

    @property
    def convert(self) -> float:
        """Time to embed the pairs, to fit, and to convert."""
        return self.seconds["pairs"] + self.seconds["fit"] + self.seconds["convert"]


@dataclass(frozen=True)
class Sides:
    """Queries and gallery under both models.

    Attributes:
        old_queries: Summary lines, old model.
        new_queries: Summary lines, new model.
        old: Documents, old model.
        new: Documents, new model.
        split: The documents that serve as pairs: train and validation; the queries are the test.
    """

    old_queries: Embeddings
    new_queries: Embeddings
    old: Embeddings
    new: Embeddings
    split: PairSplit


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
    sides = _embed_all(texts, watch, seed)
    with watch.measure("fit"), track("Fitting aligners", None, unit="aligners") as advance:
        choice = select_aligner(sides.split.train, sides.split.validation, seed=seed, progress=advance)
    artifact = _save(choice.aligner, sides, folder / "old-to-new")
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
    converted = Embeddings.load(folder / "converted.parquet")
    evaluation = _evaluate(sides, artifact, watch, seed)
    result = _result(evaluation, watch, sides, converted, artifact, texts, seed)
    result["candidates"] = [candidate.to_dict() for candidate in choice.candidates]
    write_json(result, folder / "demo.json")
    write_report([result], folder / "report.html", title="Upgrading a text search")
    return result


def _embed_all(texts: Sequence[Docstring], watch: Stopwatch, seed: int) -> Sides:
    old_model, new_model = load_extractor(OLD_MODEL), load_extractor(NEW_MODEL)
    new_model.extract(["the first call of a model pays for its set-up"])
    queries, documents = [text.summary for text in texts], [text.body for text in texts]
    ids = [text.name for text in texts]
    old = _embed(old_model, documents, ids, "Old model, gallery")
    old_queries = _embed(old_model, queries, ids, "Old model, queries")
    order = np.random.default_rng(seed).permutation(len(texts))
    count = round(PAIRS_FRACTION * len(texts))
    parts = []
    for name, rows in (("pairs", order[:count]), ("rest", order[count:])):
        with watch.measure(name):
            chosen = [documents[row] for row in rows]
            parts.append(_embed(new_model, chosen, [ids[row] for row in rows], f"New model, {name}"))
    new_queries = _embed(new_model, queries, ids, "New model, queries")
    new = Embeddings(
        np.concatenate([part.vectors for part in parts]), [*parts[0].ids, *parts[1].ids], new_model.space
    ).select(np.argsort(order))
    pairs = pair_embeddings(old, parts[0])
    return Sides(old_queries, new_queries, old, new, split_pairs(pairs, validation=0.3, test=0, seed=seed))


def _embed(model: Extractor, items: Sequence[str], ids: Sequence[str], what: str) -> Embeddings:
    with track(what, len(items), unit="texts") as advance:
        return extract_embeddings(model, items, ids=ids, progress=advance)


def _save(aligner: Aligner, sides: Sides, path: Path) -> Artifact:
    return save_artifact(
        aligner, path, source=sides.old.space, target=sides.new.space, split=sides.split, overwrite=True
    )


def _evaluate(sides: Sides, artifact: Artifact, watch: Stopwatch, seed: int) -> Evaluation:
    with track("Evaluating", None, unit="queries"):
        return evaluate_upgrade(
            artifact,
            old_gallery=sides.old,
            new_gallery=sides.new,
            old_queries=sides.old_queries,
            new_queries=sides.new_queries,
            qrels=Qrels.one_each(sides.old.ids.tolist()),
            seconds={"convert": watch.convert, "fused": watch.convert, "reindex": watch.reindex},
            seconds_per_item=watch.reindex / len(sides.old),
            seed=seed,
        )


def _fitted(sides: Sides) -> set[str]:
    return {*sides.split.train.ids.tolist(), *sides.split.validation.ids.tolist()}


def _result(
    evaluation: Evaluation,
    watch: Stopwatch,
    sides: Sides,
    converted: Embeddings,
    artifact: Artifact,
    texts: Sequence[Docstring],
    seed: int,
) -> dict[str, Any]:
    return {
        **evaluation.to_dict(),
        "kind": "demo",
        "title": f"{len(texts):,} docstrings",
        "reembed_seconds": watch.reindex,
        "pairs_seconds": watch.seconds["pairs"],
        "fit_seconds": watch.seconds["fit"],
        "convert_seconds": watch.seconds["convert"],
        "speedup": watch.reindex / watch.convert,
        "examples": _examples(sides, converted, texts, evaluation, seed),
        "projection": project(sides.old.vectors, sides.new.vectors, converted.vectors, seed=seed),
        "provenance": {
            "artifact": artifact.id,
            "aligner": artifact.manifest.kind,
            "pairs": artifact.manifest.split,
            "seed": seed,
            "command": f"embcompat demo --limit {len(texts)} --seed {seed}",
            "versions": artifact.manifest.versions,
        },
    }


def _examples(
    sides: Sides, converted: Embeddings, texts: Sequence[Docstring], evaluation: Evaluation, seed: int
) -> list[dict[str, Any]]:
    """Search for a few held-out queries, drawn at random, before and after."""
    held_out = set(evaluation.query_ids)
    rows = [row for row, text in enumerate(texts) if text.name in held_out]
    chosen = np.sort(np.random.default_rng(seed).choice(rows, size=min(EXAMPLES, len(rows)), replace=False))
    served, native = converted.vectors.copy(), np.isin(sides.new.ids.astype(str), sorted(_fitted(sides)))
    served[native] = sides.new.vectors[native]
    _, before = search(sides.old_queries.vectors[chosen], sides.old.vectors, k=HITS, similarity="cosine")
    _, after = search(sides.new_queries.vectors[chosen], served, k=HITS, similarity="cosine")

    def hits(found: np.ndarray[Any, Any], query: int) -> list[dict[str, Any]]:
        return [{"text": texts[row].name, "relevant": bool(row == query)} for row in found]

    return [
        {"query": texts[query].summary, "before": hits(before[number], query), "after": hits(after[number], query)}
        for number, query in enumerate(chosen)
    ]
