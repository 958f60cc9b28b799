"""Lazy backfill: what it is worth on known vectors, and what a query takes with the real model in the loop.

Worth: six changes of model on two collections, of which two are downgrades. Pairs are documents that answer no query;
the aligner is `kernel`; queries come one after the other in random order, and only the pairs are native at first.

Time: the new model is all-MiniLM-L6-v2 on this machine's processor, the texts are docstrings of installed packages
(and Cranfield's abstracts with ``--data``). Install the extra `demo` and the text adapter.

    python benchmarks/lazy.py --data DATA --out benchmarks/results/lazy.json
    python benchmarks/lazy.py --parts docstrings --texts 600 --queries 150

DATA holds ``text/`` as `benchmarks/zoo.py` describes it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import describe
from zoo import FITTED_TEXTS, TEXT_PAIRS, draw_pairs, load_qrels, load_texts

import embcompat as ec
from embcompat.backfill import Embed, LazyCurve, embed_items, replay_lazy
from embcompat.cli.demo.texts import read_docstrings
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_ratio
from embcompat.evaluation.retrieval.evaluate import held_out_relevance
from embcompat.evaluation.retrieval.lines import Sides, rank_lines
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Qrels, Relevance, match_qrels
from embcompat.serving import DEFAULT_WEIGHT

DEPTHS = (10, 20, 50)
WORTH_DEPTHS = (10, 20, 50, 100)
SECONDS_PER_QUERY = 0.5
PARTS = ("worth", "docstrings", "cranfield")


def fit_and_convert(old: ec.Embeddings, new: ec.Embeddings, rows: Sequence[int]) -> ec.Embeddings:
    pairs = ec.pair_embeddings(old.select(np.asarray(rows)), new.select(np.asarray(rows)))
    split = ec.split_pairs(pairs, test=0, seed=0)
    aligner = ec.fit_aligner("kernel", split.train, split.validation)
    return ec.convert_embeddings(aligner, old, new.space)


def judge(sides: Sides, qrels: Qrels, pairs: Sequence[int]) -> tuple[Relevance, np.ndarray[Any, Any]]:
    fitted = np.zeros(len(sides.old_gallery), dtype=bool)
    fitted[list(pairs)] = True
    judged = match_qrels(qrels, sides.old_queries.ids, sides.old_gallery.ids, exclude_self=False)
    return held_out_relevance(judged, fitted), fitted


def means(sides: Sides, relevance: Relevance, fitted: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return nDCG@10 of each query on the lines to compare with."""
    ranks, _ = rank_lines(sides.lines(fitted), (DEFAULT_WEIGHT,), relevance, "ndcg@10", seed=0)
    return {line: metric_per_query("ndcg@10", line_ranks[-1], relevance) for line, line_ranks in ranks.items()}


def worth_of(curve: LazyCurve, lines: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Return what a lazy backfill is worth against the status quo and a full reindex."""
    status_quo, goal = lines["status_quo"], lines["full_reindex"]
    return {
        "ndcg@10": float(curve.values.mean()),
        "gap": float((curve.values.mean() - status_quo.mean()) / (goal.mean() - status_quo.mean())),
        "difference": bootstrap_difference(curve.values, status_quo, seed=0).to_dict(),
        "retention": bootstrap_ratio(curve.values, goal, seed=0).to_dict(),
        "rows_embedded": int(curve.embedded[-1]),
        "native_fraction": float(curve.native_fraction()[-1]),
    }


def worth(folder: Path, name: str, models: tuple[str, str]) -> dict[str, Any]:
    """Serve a collection's queries from known vectors."""
    old, new = (load_texts(folder, name, model, "docs") for model in models)
    queries = [load_texts(folder, name, model, "queries") for model in models]
    qrels = load_qrels(folder, name)
    pairs = draw_pairs(old, qrels, name).tolist()
    sides = Sides(queries[0], queries[1], old, new, fit_and_convert(old, new, pairs))
    relevance, fitted = judge(sides, qrels, pairs)
    lines = means(sides, relevance, fitted)
    result: dict[str, Any] = {
        "queries": len(relevance),
        "gallery_size": len(old),
        "native_at_first": int(fitted.sum()),
        **{line: float(values.mean()) for line, values in lines.items()},
    }
    for search, weight in (("fused", DEFAULT_WEIGHT), ("converted", None)):
        curves = {depth: replay_lazy(sides, relevance, fitted, depth=depth, weight=weight) for depth in WORTH_DEPTHS}
        result[f"over_{search}"] = {f"depth {depth}": worth_of(curve, lines) for depth, curve in curves.items()}
        result[f"over_{search}"]["curve"] = curves[50].to_dict()
    figures = result["over_fused"]["depth 50"]
    print(
        f"{name}, {' -> '.join(models)}: gap {figures['gap']:+.2f}, native {figures['native_fraction']:.0%}", flush=True
    )
    return result


def served(sides: Sides, qrels: Qrels, pairs: Sequence[int], embed: Embed) -> dict[str, Any]:
    """Serve queries with the real model in the loop, at each depth and once with a budget of time."""
    relevance, fitted = judge(sides, qrels, pairs)
    lines = means(sides, relevance, fitted)
    result: dict[str, Any] = {
        "queries": len(relevance),
        "gallery_size": len(fitted),
        "native_at_first": int(fitted.sum()),
        **{line: float(values.mean()) for line, values in lines.items()},
    }
    runs: dict[str, tuple[int, float | None]] = {f"depth {depth}": (depth, None) for depth in DEPTHS}
    runs[f"depth 50, at most {SECONDS_PER_QUERY} s"] = (50, SECONDS_PER_QUERY)
    for name, (depth, seconds) in runs.items():
        curve = replay_lazy(sides, relevance, fitted, depth=depth, embed=embed, seconds_per_query=seconds)
        milliseconds = 1_000 * curve.seconds
        halves = np.array_split(milliseconds[curve.order], 2)
        result[name] = {
            **worth_of(curve, lines),
            "p50_milliseconds": float(np.quantile(milliseconds, 0.5)),
            "p99_milliseconds": float(np.quantile(milliseconds, 0.99)),
            "p50_milliseconds_of_each_half": [float(np.quantile(half, 0.5)) for half in halves],
            "counters": curve.counters.to_dict(),
        }
        print(f"{name}: {json.dumps({key: result[name][key] for key in list(result[name])[:-1]})}", flush=True)
    return result


def docstrings(texts: int, queries: int) -> dict[str, Any]:
    """Upgrade a search of docstrings from paraphrase-MiniLM-L3 to all-MiniLM-L6."""
    texts_by_id = read_docstrings(texts)
    ids, documents = [text.name for text in texts_by_id], [text.body for text in texts_by_id]
    old_model, new_model = ec.load_extractor("paraphrase-minilm-l3"), ec.load_extractor("minilm")
    new_model.extract(["the first call of a model pays for its set-up"])
    start = time.perf_counter()
    new = ec.extract_embeddings(new_model, documents, ids=ids)
    seconds = time.perf_counter() - start
    old = ec.extract_embeddings(old_model, documents, ids=ids)
    order = np.random.default_rng(0).permutation(len(texts_by_id))
    pairs, query_rows = order[: len(texts_by_id) // 4].tolist(), order[len(texts_by_id) // 4 :][:queries]
    asked_ids, summaries = [ids[row] for row in query_rows], [texts_by_id[row].summary for row in query_rows]
    sides = Sides(
        ec.extract_embeddings(old_model, summaries, ids=asked_ids),
        ec.extract_embeddings(new_model, summaries, ids=asked_ids),
        old,
        new,
        fit_and_convert(old, new, pairs),
    )
    embed = embed_items(new_model, dict(zip(ids, documents, strict=True)))
    return {"reindex_seconds": seconds, **served(sides, Qrels.one_each(asked_ids), pairs, embed)}


def cranfield(folder: Path) -> dict[str, Any]:
    """Upgrade Cranfield from paraphrase-MiniLM-L3 to all-MiniLM-L6, which embeds the abstracts again."""
    table = pq.read_table(folder / "cranfield_docs.parquet").to_pylist()
    texts = {str(row["doc_id"]): f"{row.get('title') or ''} {row['text']}".strip() for row in table}
    old = load_texts(folder, "cranfield", "para_l3", "docs")
    model = ec.load_extractor("minilm")
    model.extract(["the first call of a model pays for its set-up"])
    ids = old.ids.tolist()
    start = time.perf_counter()
    new = ec.extract_embeddings(model, [texts[each] for each in ids], ids=ids)
    seconds = time.perf_counter() - start
    queries = pq.read_table(folder / "cranfield_queries.parquet").to_pylist()
    qids = [str(row["qid"]) for row in queries]
    qrels = load_qrels(folder, "cranfield")
    pairs = draw_pairs(old, qrels, "cranfield").tolist()
    sides = Sides(
        load_texts(folder, "cranfield", "para_l3", "queries"),
        ec.extract_embeddings(model, [row["text"] for row in queries], ids=qids),
        old,
        new,
        fit_and_convert(old, new, pairs),
    )
    return {"reindex_seconds": seconds, **served(sides, qrels, pairs, embed_items(model, texts))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with text/")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--texts", type=int, default=1_000, help="docstrings to search in")
    parser.add_argument("--queries", type=int, default=200, help="docstrings to search for")
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path, help="JSON to write; parts that are not measured now stay")
    options = parser.parse_args()
    parts = ("docstrings",) if options.smoke else options.parts
    if options.data is None and set(parts) & {"worth", "cranfield"}:
        parser.error("--data is needed for the parts worth and cranfield")
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    result["machine"] = describe("onnxruntime", "sentence-transformers")

    def keep(part: str, figures: dict[str, Any]) -> None:
        result[part] = figures | {"load_average": describe()["load_average"]}
        if options.out:
            options.out.write_text(json.dumps(result, indent=2) + "\n")

    if "worth" in parts:
        figures = {
            f"{old} → {new}, {name}": worth(options.data / "text", name, (old, new))
            for name in FITTED_TEXTS
            for old, new in TEXT_PAIRS
        }
        gaps = [
            each["over_fused"]["depth 50"]["gap"]
            for each in figures.values()
            if each["full_reindex"] > each["status_quo"]
        ]
        keep("worth", {"upgrades": figures, "mean_gap_of_upgrades": float(np.mean(gaps)), "aim": 0.85})
        print(f"mean gap of {len(gaps)} true upgrades at depth 50: {np.mean(gaps):+.2f}", flush=True)
    if "docstrings" in parts:
        texts, queries = (160, 40) if options.smoke else (options.texts, options.queries)
        keep("docstrings", docstrings(texts, queries))
    if "cranfield" in parts:
        keep("cranfield", cranfield(options.data / "text"))


if __name__ == "__main__":
    main()
