"""One Lightning epoch of a dense aligner against a hand-written torch loop over the same model, batches and data.

    python benchmarks/training.py --rows 1000000 --output benchmarks/training.json

Both train `dense` at 128 → 128 with the `fc_aligner` recipe for one epoch from arrays in memory: the same rows in the
same number of batches, the same optimizer, the same evaluation of the validation rows. They take turns; the ratios
are those of the medians, of the clock's time and of the processor's (which other programs on the machine disturb
less). The Lightning side is `fit_neural` as a whole, from arrays to fitted aligner.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from embcompat.aligners.neural import create_aligner
from embcompat.aligners.neural.losses import euclidean
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.spaces import SpaceVersion
from embcompat.training import PRESETS, fit_neural

RECIPE = PRESETS["fc_aligner"]


def make(rows: int, dim: int, seed: int) -> PairedEmbeddings:
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((rows, dim), dtype=np.float32)
    target = source @ rng.standard_normal((dim, dim), dtype=np.float32) / np.float32(np.sqrt(dim))
    ids = np.array([str(row) for row in range(rows)], dtype=object)
    spaces = [SpaceVersion(name=name, version="1", dim=dim, similarity="euclidean") for name in ("old", "new")]
    return PairedEmbeddings(
        *(Embeddings(side, ids, space) for side, space in zip((source, target), spaces, strict=True))
    )


def by_hand(train: PairedEmbeddings, validation: PairedEmbeddings, batch_size: int, device: str) -> None:
    """What one would write in a notebook."""
    dims = {"source_dim": train.source.space.dim, "target_dim": train.target.space.dim}
    model = create_aligner("dense", **dims).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=RECIPE.learning_rate, fused=True)
    source, target = (torch.from_numpy(side.vectors).to(device) for side in (train.source, train.target))
    order = torch.randperm(len(source), device=device)
    for rows in order.split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = euclidean(model(source.index_select(0, rows)), target.index_select(0, rows))
        loss.backward()
        optimizer.step()
    model.eval()
    source, target = (torch.from_numpy(side.vectors).to(device) for side in (validation.source, validation.target))
    with torch.inference_mode():
        losses = [
            euclidean(model(x), y) for x, y in zip(source.split(batch_size), target.split(batch_size), strict=True)
        ]
        torch.stack(losses).mean().item()


def lightning(train: PairedEmbeddings, validation: PairedEmbeddings, batch_size: int, device: str) -> None:
    fit_neural(
        train,
        validation,
        kind="dense",
        epochs=1,
        batch_size=batch_size,
        device="cpu" if device == "cpu" else "gpu",
    )


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds on the clock and on the processor."""
    start = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def machine(device: str) -> dict[str, object]:
    names = ("embcompat", "torch", "lightning", "numpy")
    return {
        "device": torch.cuda.get_device_name() if device != "cpu" else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=RECIPE.batch_size)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="torch threads; torch's own choice when not given")
    parser.add_argument("--output", type=Path, help="write the JSON here as well")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    train, validation = make(options.rows, options.dim, 0), make(min(10_000, options.rows), options.dim, 1)
    small = make(8 * options.batch_size, options.dim, 2)
    runs = {"lightning": lightning, "by_hand": by_hand}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():  # imports and first calls
        run(small, small, options.batch_size, options.device)
    for repetition in range(options.repetitions):
        for name in sorted(runs, reverse=bool(repetition % 2)):
            run = runs[name]
            times[name].append(seconds(lambda run=run: run(train, validation, options.batch_size, options.device)))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    ratios = [mine / bare for mine, bare in zip(medians["lightning"], medians["by_hand"], strict=True)]
    result = {
        "rows": options.rows,
        "dim": options.dim,
        "batch_size": options.batch_size,
        "clock_and_processor_seconds": times,
        "rows_per_second": {name: options.rows / clock for name, (clock, _) in medians.items()},
        "clock_ratio": ratios[0],
        "processor_ratio": ratios[1],
        "machine": machine(options.device),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
