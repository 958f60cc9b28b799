"""What a GPU brings, in one run that ends within eight minutes; without a GPU it is skipped and says so.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json

Training: samples a second of `fit_neural` as a share of a hand-written loop, in float32, TF32 and bfloat16. The
schedule of FC-Aligner: what its 240 epochs take. Conversion: onnxruntime's CUDA provider beside the processor, where
the installed onnxruntime has it. The file is written after each step. A later run with the same options on the same
GPU repeats no step that is in the file; one that failed or was cut off is not in it. Without a GPU, results that are
in the file stay.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from conversion import make_artifact
from machine import alternate, describe, line_at_least, line_at_most, median_ratio, write_results
from training import RECIPE, by_hand, make

from embcompat.embeddings import PairedEmbeddings
from embcompat.runtime import OnnxAligner
from embcompat.training import fit_neural
from embcompat.training.options import PRECISIONS, Precision

LIMIT_SECONDS = 450
"""Seconds after which the process ends itself; importing torch came before and takes up to half a minute."""

RESERVE_SECONDS = 60
"""No step starts in the last seconds."""

CUDA = "CUDAExecutionProvider"

Pairs = tuple[PairedEmbeddings, PairedEmbeddings]


def training_line(precision: Precision, pairs: Pairs, repeats: int) -> dict[str, Any]:
    """Compare an epoch of `fit_neural` with a loop in the same precision, both from arrays to the last loss."""
    rows, small = len(pairs[0]), make(8 * RECIPE.batch_size, 128, 2)
    runs = {"lightning": partial(epoch, precision), "by hand": partial(loop, precision)}
    for run in runs.values():
        run(small, small)
    seconds = alternate({name: partial(run, *pairs) for name, run in runs.items()}, repeats=repeats)
    return line_at_most(
        f"Lightning epoch, dense, {rows:,} pairs, batch {RECIPE.batch_size}, {precision}",
        "hand-written torch loop",
        median_ratio(seconds, "lightning", "by hand"),
        1.15,
        seconds,
        runs=("lightning", "by hand"),
        rows_per_second=rows / statistics.median(seconds["lightning"]),
    )


def epoch(precision: Precision, train: PairedEmbeddings, validation: PairedEmbeddings, *, epochs: int = 1) -> None:
    size = RECIPE.batch_size
    fit_neural(train, validation, kind="dense", epochs=epochs, batch_size=size, device="gpu", precision=precision)


def loop(precision: Precision, train: PairedEmbeddings, validation: PairedEmbeddings) -> None:
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        by_hand(train, validation, RECIPE.batch_size, "cuda")
    torch.cuda.synchronize()


def schedule_line(pairs: Pairs, repeats: int) -> dict[str, Any]:
    """Measure what an epoch costs once training runs, and what the paper's schedule takes at that."""
    runs: dict[str, Callable[[], object]] = {
        f"{count} epochs": partial(epoch, "32", *pairs, epochs=count) for count in (1, 6)
    }
    seconds = alternate(runs, repeats=repeats)
    of_one = (statistics.median(seconds["6 epochs"]) - statistics.median(seconds["1 epochs"])) / 5
    return line_at_most(
        f"FC-Aligner's {RECIPE.epochs} epochs, dense, {len(pairs[0]):,} pairs",
        "ten minutes",
        of_one * RECIPE.epochs / 600,
        None,
        seconds,
        schedule_seconds=of_one * RECIPE.epochs,
    )


def conversion_line(kind: str, rows: int, repeats: int) -> dict[str, Any]:
    """Compare onnxruntime's CUDA provider with the processor, on arrays in memory."""
    what = f"conversion on CUDA, {kind} 128 → 128"
    if CUDA not in onnxruntime.get_available_providers():
        return {"what": what, "skipped": f"the installed onnxruntime has no {CUDA}: install onnxruntime-gpu"}
    vectors = np.random.default_rng(0).standard_normal((rows, 128), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        artifact = make_artifact(Path(folder), kind, 128, 128)
        used = onnxruntime.InferenceSession(artifact.graph(), providers=[CUDA]).get_providers()
        if CUDA not in used:  # onnxruntime computes on the processor where CUDA's libraries cannot be loaded
            return {"what": what, "skipped": f"onnxruntime could not load {CUDA} and used {used[0]}"}
        aligners = {"cuda": OnnxAligner(artifact, providers=(CUDA,)), "cpu": OnnxAligner(artifact)}
        runs: dict[str, Callable[[], object]] = {
            name: partial(aligner.transform, vectors) for name, aligner in aligners.items()
        }
        for run in runs.values():
            run()
        seconds = alternate(runs, repeats=repeats)
    rate = rows / statistics.median(seconds["cuda"])
    return line_at_least(
        what,
        "the processor",
        median_ratio(seconds, "cpu", "cuda"),
        None,
        seconds,
        runs=("cuda", "cpu"),
        rows_per_second=rate,
    )


def steps_of(rows: int, repeats: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return the steps by name, the most wanted first."""
    pairs = make(rows, 128, 0), make(min(10_000, rows), 128, 1)
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        f"training, {precision}": partial(training_line, precision, pairs, repeats) for precision in PRECISIONS
    }
    steps |= {f"conversion, {kind}": partial(conversion_line, kind, rows, repeats) for kind in ("affine", "dense")}
    return steps | {"schedule": partial(schedule_line, pairs, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    start = time.monotonic()
    machine = describe("torch", "lightning", "onnxruntime")
    earlier: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    if not torch.cuda.is_available():
        reason = "torch sees no CUDA device" if torch.version.cuda else "the installed torch is built without CUDA"
        print(f"skipped: {reason}")
        if not earlier.get("lines"):
            write_results({"machine": machine, "skipped": reason, "lines": []}, options.out)
        return
    # The default action ends the process at the limit, whatever it does; what was measured is in the file.
    signal.alarm(LIMIT_SECONDS)
    machine["gpu"] = torch.cuda.get_device_name()
    rows, repeats = (20_000, 1) if options.smoke else (options.rows, options.repeats)
    sizes = {"rows": rows, "repeats": repeats}
    same = earlier.get("machine", {}).get("gpu") == machine["gpu"] and earlier.get("sizes") == sizes
    lines: dict[str, Any] = earlier["steps"] if same else {}
    failures: list[str] = []
    for name, step in steps_of(rows, repeats).items():
        if name in lines or time.monotonic() - start > LIMIT_SECONDS - RESERVE_SECONDS:
            continue
        try:
            lines[name] = step()
        except Exception as error:  # the machine is lent for minutes: the other steps are measured
            failures.append(f"{name}: {type(error).__name__}: {error}")
            continue
        steps = {"steps": lines, "lines": list(lines.values())}
        write_results({"machine": machine, "smoke": options.smoke, "sizes": sizes, **steps}, options.out)
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
