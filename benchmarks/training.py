"""One Lightning epoch of a dense aligner against a hand-written torch loop over the same model, batches and data.

    python benchmarks/training.py --rows 1000000 --out training.json

Both train `dense` at 128 → 128 with the `fc_aligner` recipe for one epoch from arrays in memory: the same rows in the
same number of batches, the same optimizer, the same evaluation of the validation rows. They take turns. The Lightning
side is `fit_neural` as a whole, from arrays to fitted aligner.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from machine import alternate, describe, line_at_most, median_ratio, write_results

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=RECIPE.batch_size)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="torch threads; torch's own choice when not given")
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows, repeats = (4_096, 1) if options.smoke else (options.rows, options.repeats)
    if options.threads:
        torch.set_num_threads(options.threads)
    arguments = options.batch_size, options.device
    small = make(8 * options.batch_size, options.dim, 2)
    for run in (lightning, by_hand):  # imports and first calls
        run(small, small, *arguments)
    pairs = make(rows, options.dim, 0), make(min(10_000, rows), options.dim, 1)
    seconds = alternate(
        {"lightning": lambda: lightning(*pairs, *arguments), "by hand": lambda: by_hand(*pairs, *arguments)},
        repeats=repeats,
    )
    line = line_at_most(
        f"Lightning epoch, dense, {rows:,} pairs, batch {options.batch_size}, {options.device}",
        "hand-written torch loop",
        median_ratio(seconds, "lightning", "by hand"),
        1.15,
        seconds,
        runs=("lightning", "by hand"),
        rows_per_second=rows / statistics.median(seconds["lightning"]),
    )
    machine = {**describe("torch", "lightning"), "torch_threads": torch.get_num_threads()}
    write_results({"machine": machine, "smoke": options.smoke, "lines": [line]}, options.out)


if __name__ == "__main__":
    main()
