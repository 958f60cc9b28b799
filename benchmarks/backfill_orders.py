"""Which items to re-embed first: every order on real galleries, by its area against that of a random order.

Text: nDCG@10 of judged queries on documents; pairs are documents that answer no query. Intents: short questions in 77
classes; pairs are of other classes than the queries. Faces: pairs are of other people; judged by search (is the first
result the same person?) and by verification (true accepts at one false accept in 10,000).

    python benchmarks/backfill_orders.py --data DATA --cache FOLDER --page docs/concepts/backfill.md

DATA is what ``benchmarks/zoo.py`` reads, and ``text/banking77.parquet`` (``split``, ``text``, ``category``), which is
embedded once into FOLDER.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import describe
from zoo import FACE_PAIRS, FITTED_TEXTS, TEXT_PAIRS, load_faces, load_upgrade

import embcompat as ec
from embcompat.aligners import AlignerPair
from embcompat.backfill import BackfillCurve, Backlog, HeldOut, SearchTask, VerificationTask, backfill_curve
from embcompat.backfill.order import available_orders, score_rows, standardize
from embcompat.export.convertibility import fit_convertibility
from embcompat.spaces import SpaceVersion

EXTRACTORS = {"para_l3": "paraphrase-minilm-l3", "minilm": "minilm", "static64": "static64"}
FITTED_INTENTS, FITTED_ROWS, QUERIES = 27, 1_000, 1_000
ORACLE = "true_error"
ORDERS = ("class_mean", "predicted_error", "convertibility", "usefulness", "recommended", ORACLE)


def make_backlog(split: ec.PairSplit, kind: str, old: ec.Embeddings, target: SpaceVersion) -> Backlog:
    """Fit an aligner and convert a gallery."""
    aligner = ec.fit_aligner(kind, split.train, split.validation)
    if isinstance(aligner, AlignerPair):
        raise TypeError(f"{kind} fits a pair")

    def convert(side: ec.Embeddings) -> ec.Embeddings:
        return ec.convert_embeddings(aligner, side, target)

    validation = split.validation
    fitted = fit_convertibility(split.train.source.vectors, validation.source.vectors)
    if fitted is None:
        raise ValueError("the sources do not vary")
    scores = fitted.score(old.vectors).astype(np.float32)
    return Backlog(old, convert(old), HeldOut(validation.source, convert(validation.source), validation.target), scores)


def fitted_ids(split: ec.PairSplit) -> set[str]:
    return {*split.train.ids.tolist(), *split.validation.ids.tolist()}


def summarize(curve: BackfillCurve, oracle: BackfillCurve) -> dict[str, Any]:
    """Keep curves, areas and differences from random, to five digits; the oracle is an order of its own."""
    result: dict[str, Any] = curve.to_dict()
    result["orders"][ORACLE] = oracle.to_dict()["orders"]["usefulness"]  # type: ignore[call-overload, index]
    for order in result["orders"].values():
        del order["retention"], order["retention_intervals"]
    return json.loads(json.dumps(result), parse_float=lambda digits: round(float(digits), 5))  # type: ignore[no-any-return]


def correlations(backlog: Backlog, new: ec.Embeddings, fitted: set[str]) -> dict[str, float]:
    """Return the rank correlation of each score with the true error, over the rows that were not fitted."""
    rows = np.array([row for row, item in enumerate(new.ids.tolist()) if item not in fitted])
    errors = standardize(np.linalg.norm(new.vectors - backlog.converted.vectors, axis=1).astype(np.float64)[rows])
    return {
        kind: float(np.corrcoef(standardize(score_rows(kind, backlog)[rows]), errors)[0, 1])
        for kind in available_orders(backlog)
        if kind != "random"
    }


def measure(
    backlog: Backlog, new: ec.Embeddings, task: Any, *, native_ids: set[str], elsewhere: int = 0
) -> dict[str, Any]:
    """Measure every order, and as an upper hint the order of the true errors, which nobody can know."""
    start = time.perf_counter()
    options: dict[str, Any] = {"native_ids": native_ids, "fitted_elsewhere": elsewhere}
    curve = backfill_curve(backlog, new, task, **options)
    errors = np.linalg.norm(new.vectors - backlog.converted.vectors, axis=1).astype(np.float64)
    oracle = backfill_curve(replace(backlog, visits=errors), new, task, orders=["usefulness"], **options)
    summary = summarize(curve, oracle)
    summary["error_correlations"] = correlations(backlog, new, native_ids)
    summary["seconds"] = time.perf_counter() - start
    for name, order in summary["orders"].items():
        against = order["auc_against_random"] or {"value": 0.0, "low": 0.0, "high": 0.0}
        print(f"  {name:16} {order['auc']:.4f} {against['value']:+.4f} ({against['low']:+.4f} {against['high']:+.4f})")
    return summary


def measure_texts(folder: Path, name: str, models: tuple[str, str], kind: str, weight: float | None) -> dict[str, Any]:
    sides, qrels, split = load_upgrade(folder, name, models)
    backlog = make_backlog(split, kind, sides["old"], sides["new"].space)
    task = SearchTask(sides["new_queries"], qrels, sides["old_queries"], fused_weight=weight)
    return measure(backlog, sides["new"], task, native_ids=fitted_ids(split))


def load_intents(data: Path, cache: Path, model: str) -> tuple[ec.Embeddings, np.ndarray]:
    """Embed the questions, or read what was embedded; also say which are the gallery's."""
    table = pq.read_table(data / "text" / "banking77.parquet")
    path = cache / f"banking77_{model}.npy"
    if not path.exists():
        extractor = ec.load_extractor(EXTRACTORS[model])
        np.save(path, extractor.extract(table.column("text").to_pylist()))
    vectors = np.load(path)
    space = SpaceVersion(name=model.replace("_", "-"), version="1", dim=vectors.shape[1], normalized=True)
    ids = [str(row) for row in range(len(vectors))]
    side = np.array(table.column("split").to_pylist()) == "train"
    return ec.Embeddings(vectors, ids, space, table.column("category").to_pylist()), side


def measure_intents(data: Path, cache: Path, models: tuple[str, str], kind: str, metric: str) -> dict[str, Any]:
    (old, in_gallery), (new, _) = (load_intents(data, cache, model) for model in models)
    rng = np.random.default_rng(0)
    assert old.labels is not None
    intents = np.unique(old.labels.astype(str))
    known = np.isin(old.labels.astype(str), rng.permutation(intents)[:FITTED_INTENTS])
    chosen = rng.permutation(np.flatnonzero(known & in_gallery))[:FITTED_ROWS]
    split = ec.split_pairs(ec.pair_embeddings(old.select(chosen), new.select(chosen)), test=0, seed=0)
    queries = rng.permutation(np.flatnonzero(~known & ~in_gallery))[:QUERIES]
    gallery = np.flatnonzero(in_gallery)
    backlog = make_backlog(split, kind, old.select(gallery), new.space)
    task = SearchTask(
        new.select(queries), ec.Qrels.from_labels(old.select(queries), backlog.old), old.select(queries), metric=metric
    )
    return measure(backlog, new.select(gallery), task, native_ids=fitted_ids(split))


def measure_faces(folder: Path, models: tuple[str, str], kind: str, how: str) -> dict[str, Any]:
    pairs = ec.pair_embeddings(*(load_faces(folder, model) for model in models))
    split = ec.split_pairs(pairs, validation=0.1, test=0.7, seed=0)
    old, new = split.test.source, split.test.target
    backlog = make_backlog(split, kind, old, new.space)
    elsewhere = len(fitted_ids(split))
    if how == "verification":
        return measure(backlog, new, VerificationTask(), native_ids=set(), elsewhere=elsewhere)
    assert old.labels is not None
    _, codes, counts = np.unique(old.labels.astype(str), return_inverse=True, return_counts=True)
    queries = np.random.default_rng(0).permutation(np.flatnonzero(counts[codes] > 1))[:QUERIES]
    qrels = ec.Qrels.from_labels(old.select(queries), old)
    task = SearchTask(new.select(queries), qrels, old.select(queries), metric="cmc@1", exclude_self=True)
    return measure(backlog, new, task, native_ids=set(), elsewhere=elsewhere)


def plan_work(data: Path, cache: Path, *, smoke: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what to measure, by name."""
    work: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in ("cranfield",) if smoke else FITTED_TEXTS:
        for models in TEXT_PAIRS[:1] if smoke else TEXT_PAIRS:
            label = f"{name}, {' → '.join(models)}"
            work[label] = partial(measure_texts, data / "text", name, models, "kernel", None)
            work[f"{label}, fused"] = partial(measure_texts, data / "text", name, models, "kernel", 0.5)
    if smoke:
        return work
    for models in TEXT_PAIRS:
        for metric in ("ndcg@10", "cmc@1"):
            label = f"banking77, {' → '.join(models)}, {metric}"
            work[label] = partial(measure_intents, data, cache, models, "kernel", metric)
    for models in FACE_PAIRS:
        for how in ("search", "verification"):
            label = f"lfw {how}, {' → '.join(models)}"
            work[label] = partial(measure_faces, data / "faces", models, "kernel", how)
    return work


def cell(order: dict[str, Any] | None) -> str:
    """Write an area less that of random, bold where the interval excludes 0."""
    if order is None:
        return ""
    against = order["auc_against_random"]
    text = f"{against['value']:+.3f} ({against['low']:+.3f} to {against['high']:+.3f})"
    return f"**{text}**" if against["low"] > 0 or against["high"] < 0 else text


def make_table(result: dict[str, Any]) -> str:
    """Write one line for each gallery and upgrade."""
    lines = [
        "| gallery, upgrade | pairs | " + " | ".join(["random", *(name.replace("_", " ") for name in ORDERS)]) + " |",
        "|---" * (3 + len(ORDERS)) + "|",
    ]
    for name, curve in result["curves"].items():
        orders, random = curve["orders"], curve["orders"]["random"]
        cells = [name, f"{random['fractions'][0]:.0%}", f"{random['auc']:.3f}"]
        lines.append("| " + " | ".join([*cells, *(cell(orders.get(each)) for each in ORDERS)]) + " |")
    return "\n".join(lines)


def make_errors(result: dict[str, Any]) -> str:
    """Write the rank correlation of each score with the true error, for each upgrade once."""
    kinds = ("class_mean", "predicted_error", "convertibility")
    errors: dict[str, dict[str, float]] = {}
    for name, curve in result["curves"].items():
        upgrade = re.sub(r" search| verification|, fused|, (ndcg|cmc)@[0-9]+", "", name)
        errors.setdefault(upgrade, curve["error_correlations"])
    lines = ["| gallery, upgrade | " + " | ".join(each.replace("_", " ") for each in kinds) + " |", "|---" * 4 + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{each[kind]:.2f}" for kind in kinds) + " |" for name, each in errors.items()
    ]
    return "\n".join(lines)


def write_page(path: Path, tables: dict[str, str]) -> None:
    """Put each table between its two markers."""
    text = path.read_text()
    for name, table in tables.items():
        marked = re.compile(
            rf"(<!-- {name}: made by benchmarks/backfill_orders.py -->\n).*?(<!-- end of {name} -->)", re.DOTALL
        )
        text = marked.sub(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)
    path.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with faces/ and text/")
    parser.add_argument("--page", type=Path, help="page of the docs whose tables to write")
    parser.add_argument("--only-page", action="store_true", help="write the tables from --out, measure nothing")
    parser.add_argument("--cache", type=Path, default=Path(), help="where banking77_<model>.npy are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/backfill_orders.json"))
    parser.add_argument("--only", nargs="+", default=[], help="measure what has one of these in its name")
    parser.add_argument("--smoke", action="store_true", help="the smallest upgrade only")
    options = parser.parse_args()
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    if not options.only_page:
        if options.data is None:
            parser.error("--data is needed to measure")
        result["machine"] = describe()
        for name, run in plan_work(options.data, options.cache, smoke=options.smoke).items():
            if options.only and not any(part in name for part in options.only):
                continue
            print(name, flush=True)
            result.setdefault("curves", {})[name] = run()
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    if options.page is not None:
        write_page(options.page, {"areas": make_table(result), "errors": make_errors(result)})


if __name__ == "__main__":
    main()
