"""How fast, how large, how exact: section 5.3 of the FC-Aligner paper, Dense and Multi-branch, torch and ONNX.

317,846 vectors of length 128 in batches of 8,192. The weights are not trained: neither time nor size depends on what
they are, and a parity on untrained weights is one of the same arithmetic. 20 million vectors are extrapolated from the
measured rate, unless ``--full`` converts them all.

    python recipes/face/inference_speed.py --output recipes-out
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.aligners import parameter_count
from embcompat.aligners.neural import create_aligner

VECTORS, MANY, BATCH, DIM = 317_846, 20_000_000, 8_192, 128

PAPER = {
    "dense": {"torch_seconds": 176.8, "onnx_seconds": 52.2, "file_megabytes": 5.4, "parity": 4.67e-7},
    "multi_branch": {"torch_seconds": 205.0, "onnx_seconds": 49.0, "file_megabytes": 7.6, "parity": 4.93e-7},
}
"""On a laptop's processor (i7-1165G7); the paper's framework is Keras, ours is torch. 20 M with ONNX: 55 minutes."""


def convert_all(convert: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, count: int) -> float:
    """Convert ``count`` vectors, the rows again and again, batch by batch; return the seconds."""
    convert(rows[:BATCH])
    start = time.perf_counter()
    for first in range(0, count, BATCH):
        offset = first % (len(rows) - BATCH + 1)
        convert(rows[offset : offset + min(BATCH, count - first)])
    return time.perf_counter() - start


def measure(kind: str, rows: np.ndarray, *, count: int, full: bool, folder: Path) -> dict[str, Any]:
    aligner = create_aligner(kind, source_dim=DIM, target_dim=DIM, seed=0)
    spaces = [ec.SpaceVersion(name=name, version="1", dim=DIM, similarity="euclidean") for name in ("old", "new")]
    artifact = ec.save_artifact(aligner, folder / kind, source=spaces[0], target=spaces[1])
    onnx = ec.OnnxAligner(artifact)
    seconds = {
        "torch": convert_all(aligner.transform, rows, count),
        "onnx": convert_all(onnx.transform, rows, count),
    }
    many = convert_all(onnx.transform, rows, MANY) if full else seconds["onnx"] * MANY / count
    parity = np.linalg.norm(aligner.transform(rows[:BATCH]) - onnx.transform(rows[:BATCH]), axis=1)
    return {
        "floats": parameter_count(aligner),
        "vectors": count,
        "seconds": seconds,
        "vectors_per_second": {name: count / spent for name, spent in seconds.items()},
        "graph_bytes": (folder / kind / "aligner.onnx").stat().st_size,
        "weights_bytes": (folder / kind / "weights.safetensors").stat().st_size,
        "parity_mean_euclidean": float(parity.mean()),
        "seconds_of_20_million": many,
        "20_million": "measured" if full else "extrapolated",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--full", action="store_true", help="convert 20 million vectors instead of extrapolating")
    options = parser.parse_args(arguments)
    count = 2 * BATCH if options.smoke else VECTORS
    rows = np.random.default_rng(options.seed).standard_normal((min(count, 10 * BATCH), DIM), dtype=np.float32)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("dense",) if options.smoke else tuple(PAPER):
            paper = PAPER[kind]
            results[kind] = measure(kind, rows, count=count, full=options.full, folder=Path(folder))
            ours, seconds = results[kind], results[kind]["seconds"]
            print(f"{kind}: {count:,} vectors, batch {BATCH:,} (in brackets: the paper, on another machine)")
            print(f"  torch {seconds['torch']:.1f} s ({paper['torch_seconds']:.1f} s)", end="")
            print(f"   ONNX {seconds['onnx']:.1f} s ({paper['onnx_seconds']:.1f} s)")
            print(f"  file {ours['graph_bytes'] / 1e6:.1f} MB ({paper['file_megabytes']} MB)", end="")
            print(f"   parity {ours['parity_mean_euclidean']:.2e} ({paper['parity']:.2e})")
            print(f"  20 million: {ours['seconds_of_20_million'] / 60:.0f} minutes, {ours['20_million']} (55 minutes)")
    write_result(options, "inference_speed", {"paper": PAPER, "batch": BATCH, "kinds": results})


if __name__ == "__main__":
    main()
