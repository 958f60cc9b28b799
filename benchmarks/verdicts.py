"""Is the verdict right, and the same from both doors? Eight upgrades of real text models, by Python and command line.

Each upgrade is fitted with `ec.fit_artifact` as `embcompat fit` does it, on documents that answer no query, and judged
twice: by `ec.evaluate_upgrade` and by `embcompat evaluate`. Every figure, the decision and the reason must be the same.
Two models are made of a real one: *turned* is minilm in a rotated space, which is no better, and *int8* is minilm
rounded to eight bits. What the right verdict is was written down before any was measured; where the new model is better
and the aligner is fair, any verdict that moves to it passes.

    python benchmarks/verdicts.py --data DATA
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import describe

import embcompat as ec
from embcompat.cli import app
from embcompat.selection import fit_artifact

CONVERTING = ("convert", "fused", "lazy_backfill", "backfill", "reindex")


@dataclass(frozen=True)
class Case:
    """One upgrade, and the decisions that are right for it."""

    name: str
    collection: str
    old: str
    new: str
    right: tuple[str, ...]
    pairs: int = 2_000
    shuffled: bool = False
    judged: bool = True


CASES = (
    Case("true upgrade", "npl", "para_l3", "minilm", CONVERTING),
    Case("downgrade", "npl", "minilm", "para_l3", ("stay",)),
    Case("downgrade, other dimension", "cranfield", "minilm", "static64", ("stay",)),
    Case("no better", "npl", "minilm", "turned", ("stay",)),
    Case("near-identical successor", "npl", "minilm", "int8", ("swap",)),
    Case("shuffled pairs", "npl", "para_l3", "minilm", ("reindex",), shuffled=True),
    Case("few pairs", "cranfield", "para_l3", "minilm", CONVERTING, pairs=60),
    Case("no judgements", "npl", "minilm", "para_l3", ("unjudged",), judged=False),
)


def read_side(data: Path, collection: str, model: str, part: str) -> ec.Embeddings:
    """Read documents or queries under a model; *turned* and *int8* are made of minilm."""
    stored = "minilm" if model in ("turned", "int8") else model
    vectors = np.load(data / f"{collection}_{stored}_{part}.npy")
    if model == "turned":
        vectors = vectors @ np.linalg.qr(np.random.default_rng(0).normal(size=(vectors.shape[1],) * 2))[0]
    if model == "int8":
        vectors = np.round(vectors * 127 / np.abs(vectors).max(axis=1, keepdims=True))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    table = pq.read_table(data / f"{collection}_{part}.parquet")
    ids = [str(each) for each in table.column("doc_id" if part == "docs" else "qid").to_pylist()]
    space = ec.SpaceVersion(name=model.replace("_", "-"), version="1", dim=vectors.shape[1], normalized=True)
    return ec.Embeddings(vectors, ids, space)


def read_judgements(data: Path, collection: str) -> ec.Qrels:
    gains: dict[str, dict[str, float]] = {}
    for row in pq.read_table(data / f"{collection}_qrels.parquet").to_pylist():
        gains.setdefault(str(row["qid"]), {})[str(row["doc_id"])] = float(row["rel"])
    return ec.Qrels(gains)


def run_case(data: Path, case: Case, folder: Path) -> dict[str, Any]:
    """Fit and judge one upgrade by both doors."""
    sides = {
        f"{role}-{what}": read_side(data, case.collection, model, part)
        for role, model in (("old", case.old), ("new", case.new))
        for what, part in (("gallery", "docs"), ("queries", "queries"))
    }
    qrels, rng = read_judgements(data, case.collection), np.random.default_rng(0)
    answers = qrels.relevant_items()
    ids = sides["old-gallery"].ids.tolist()
    rows = [row for row in rng.permutation(len(ids)).tolist() if ids[row] not in answers][: case.pairs]
    source, target = (sides[f"{role}-gallery"].select(rows) for role in ("old", "new"))
    if case.shuffled:
        target = ec.Embeddings(rng.permutation(target.vectors), target.ids, target.space)
    fitted = fit_artifact(ec.PairedEmbeddings(source, target), folder / "artifact")
    names = [name for name in sides if case.judged or name.endswith("gallery")]
    options: dict[str, Any] = {name.replace("-", "_"): sides[name] for name in names}
    words = ["evaluate", str(folder / "artifact"), "--json"]
    for name in names:
        sides[name].save(folder / f"{name}.parquet")
        words += [f"--{name}", str(folder / f"{name}.parquet")]
    if case.judged:
        options["qrels"] = qrels
        lines = (
            f"{query}\t0\t{item}\t{gain:g}\n" for query, items in qrels.gains.items() for item, gain in items.items()
        )
        (folder / "qrels.tsv").write_text("".join(lines))
        words += ["--qrels", str(folder / "qrels.tsv")]
    library = json.loads(json.dumps(ec.evaluate_upgrade(folder / "artifact", **options).to_dict()))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        app(words, standalone_mode=False)
    command = json.loads(printed.getvalue())
    for curve in (*library.get("lazy_backfill", ()), *command.get("lazy_backfill", ())):
        del curve["counters"]  # they hold times
    return {
        "upgrade": f"{case.old} → {case.new}, {case.collection}",
        "aligner": fitted.aligner.kind if not isinstance(fitted.aligner, ec.AlignerPair) else "pair",
        "at_chance": fitted.at_chance,
        "decision": library["decision"],
        "reason": library["reason"],
        "right": library["decision"] in case.right and fitted.at_chance == case.shuffled,
        "differences_between_doors": sorted(
            key for key in {*library, *command} if library.get(key) != command.get(key)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with text/ (see recipes/README.md)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/verdicts.json"))
    options = parser.parse_args()
    results = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            results[case.name] = result = run_case(options.data / "text", case, Path(folder))
        differing = result["differences_between_doors"]
        same = f"the doors differ in {', '.join(differing)}" if differing else "both doors agree"
        print(
            f"{'right' if result['right'] else 'WRONG'}  {case.name}: {result['decision']}, {same}\n"
            f"  {result['reason']}"
        )
    options.out.write_text(json.dumps({"machine": describe(), "cases": results}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
