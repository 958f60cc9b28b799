"""Choosing and fitting an aligner on ever more pairs, beside the float32 products of least squares on all of them.

Each size runs in a process of its own, so that its peak of memory is its own.

    python benchmarks/selection.py --pairs 10000 100000 1000000 --out selection.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, line_at_most, write_results

from embcompat.embeddings import Embeddings, PairedEmbeddings, normalize_rows
from embcompat.selection import select_aligner
from embcompat.spaces import SpaceVersion

SOURCE, TARGET = (SpaceVersion("text", str(dim), dim, modality="text") for dim in (384, 768))
MEANINGS = 6
BLOCK_ROWS = 8_192
MINUTE = 60.0


def make_pairs(start: int, count: int) -> PairedEmbeddings:
    """Make two bent images of the same random meanings; a block at a time, to leave memory as it is.

    No linear map takes one to the other, so that the kernel is chosen, as on real texts.
    """
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((MEANINGS, space.dim), dtype=np.float32) / MEANINGS**0.5 for space in (SOURCE, TARGET)]
    rng = np.random.default_rng(start + 1)
    sides = [np.empty((count, space.dim), dtype=np.float32) for space in (SOURCE, TARGET)]
    for first in range(0, count, BLOCK_ROWS):
        meanings = 6 * rng.standard_normal((min(BLOCK_ROWS, count - first), MEANINGS), dtype=np.float32)
        for side, matrix in zip(sides, maps, strict=True):
            images = np.tanh(meanings @ matrix)
            images += 0.2 * rng.standard_normal(images.shape, dtype=np.float32)
            side[first : first + BLOCK_ROWS] = normalize_rows(images)
    ids = [str(row) for row in range(start, start + count)]
    return PairedEmbeddings(Embeddings(sides[0], ids, SOURCE), Embeddings(sides[1], ids, TARGET))


def measure(count: int) -> dict[str, Any]:
    """Return seconds and memory of one selection, and the seconds of the products."""
    train, validation = make_pairs(0, count - count // 5), make_pairs(count - count // 5, count // 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    for part in (train, validation):
        source, target = part.source.vectors, part.target.vectors
        _ = source.T @ source, source.T @ target
    products = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    chosen = select_aligner(train, validation).aligner.kind
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    memory = {"bytes": before, "peak_bytes": peak}
    return {"products": products, "seconds": seconds, "cpu_seconds": cpu, "chosen": chosen, **memory}


def line(count: int, repeats: int) -> dict[str, Any]:
    """Return the line of one size."""
    command = [sys.executable, __file__, "--measure", str(count)]
    runs = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(repeats)]
    seconds = {name: [run[name] for run in runs] for name in ("products", "seconds")}
    return line_at_most(
        f"select_aligner, {count:,} pairs {SOURCE.dim} → {TARGET.dim}",
        "the products of least squares",
        sorted(run["seconds"] / run["products"] for run in runs)[repeats // 2],
        None,
        seconds,
        runs=("seconds", "products"),
        chosen=runs[0]["chosen"],
        cpu_seconds=runs[0]["cpu_seconds"],
        bytes_of_pairs=runs[0]["bytes"],
        peak_bytes=runs[0]["peak_bytes"],
    )


def growth(counts: list[int], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the largest size takes: time against a minute, and memory beyond its pairs against the next."""
    beyond = [each["peak_bytes"] - each["bytes_of_pairs"] for each in lines[-2:]]
    seconds = lines[-1]["times"]["seconds"]["seconds"]
    minute = {"times": {"seconds": lines[-1]["times"]["seconds"], "aim": {"seconds": MINUTE, "spread": None}}}
    return [
        {
            "what": f"select_aligner, {counts[-1]:,} pairs: time",
            "against": "one minute",
            "ratio": seconds / MINUTE,
            "aim_at_most": 1.0,
            **minute,
            "runs": ("seconds", "aim"),
        },
        {
            "what": f"select_aligner, {counts[-1]:,} pairs: peak memory beyond the pairs",
            "against": f"{counts[-2]:,} pairs",
            "ratio": beyond[1] / beyond[0],
            "aim_at_most": 1.2,
            "peak_bytes": beyond,
        },
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    counts = [500, 1_000] if options.smoke else options.pairs
    lines = [line(count, options.repeats) for count in counts]
    lines += growth(counts, lines) if len(counts) > 1 else []
    write_results({"machine": describe("scipy"), "lines": lines}, options.out)


if __name__ == "__main__":
    main()
