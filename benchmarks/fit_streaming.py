"""Streaming ridge on pairs on disk, beside the same float64 products alone.

The comparison casts blocks of float32 arrays in memory to float64 and multiplies them, and does nothing else: no
reading, no checks, no means, no held-out part. Beyond --resident-rows its arrays are gone through again from the start,
so that the products are as many and memory stays bounded. Anonymous memory is that of a fresh process which fits once.

    python benchmarks/fit_streaming.py --rows 5000000 --repeats 3 --out fit_streaming.json
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import alternate, describe, line_at_most, median_ratio, write_results
from numpy.typing import NDArray

from embcompat.aligners import fit_affine_sums, stream_sums
from embcompat.files.vectors import ROW_GROUP_ROWS, embeddings_schema, vectors_to_arrow
from embcompat.spaces import SpaceVersion

DIM = 384
BLOCK_ROWS = 8_192


def write_pairs(folder: Path, rows: int, suffix: str) -> tuple[Path, Path]:
    """Write random source vectors and a noisy linear map of them, a chunk at a time."""
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((DIM, DIM)) / DIM**0.5).astype(np.float32)
    paths = folder / f"old{suffix}", folder / f"new{suffix}"
    writers = [_Writer(path, rows) for path in paths]
    for start in range(0, rows, ROW_GROUP_ROWS):
        count = min(ROW_GROUP_ROWS, rows - start)
        source = rng.standard_normal((count, DIM), dtype=np.float32)
        target = source @ weight + rng.standard_normal((count, DIM), dtype=np.float32)
        for writer, vectors in zip(writers, (source, target), strict=True):
            writer.write(vectors, start)
    for writer in writers:
        writer.close()
    return paths


class _Writer:
    def __init__(self, path: Path, rows: int) -> None:
        self.array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, DIM)) if path.suffix == ".npy" else None
        if self.array is None:
            self.schema = embeddings_schema(SpaceVersion(name=path.stem, version="1", dim=DIM), labels=False)
            self.parquet = pq.ParquetWriter(path, self.schema, compression="none", use_dictionary=False)

    def write(self, vectors: NDArray[np.float32], start: int) -> None:
        if self.array is not None:
            self.array[start : start + len(vectors)] = vectors
            return
        ids = [f"item-{row}" for row in range(start, start + len(vectors))]
        self.parquet.write_batch(pa.record_batch([ids, vectors_to_arrow(vectors)], schema=self.schema))

    def close(self) -> None:
        if self.array is None:
            self.parquet.close()


def fit(source: Path, target: Path) -> None:
    fit_affine_sums(*stream_sums(source, target), normalize=False)


def products(rows: int, source: NDArray[np.float32], target: NDArray[np.float32]) -> None:
    gram, cross = np.zeros((DIM, DIM)), np.zeros((DIM, DIM))
    for start in range(0, rows, BLOCK_ROWS):
        first = start % len(source)
        count = min(BLOCK_ROWS, rows - start)
        x = source[first : first + count].astype(np.float64)
        y = target[first : first + count].astype(np.float64)
        gram += x.T @ x
        cross += x.T @ y


def peak_anonymous_bytes(source: Path, target: Path) -> int:
    """Return the most anonymous memory of a fresh process that fits once, looked at 50 times a second."""
    child = subprocess.Popen([sys.executable, __file__, "--fit-once", str(source), str(target)])
    peak = 0
    while child.poll() is None:
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit(f"the fit in a fresh process failed with exit code {child.returncode}")
    return peak


def measure(folder: Path, suffix: str, rows: int, resident_rows: int, repeats: int) -> dict[str, Any]:
    source, target = write_pairs(folder, rows, suffix)
    peak = peak_anonymous_bytes(source, target)
    rng = np.random.default_rng(1)
    resident = -(-min(rows, resident_rows) // BLOCK_ROWS) * BLOCK_ROWS
    arrays = [rng.standard_normal((resident, DIM), dtype=np.float32) for _ in range(2)]
    seconds = alternate(
        {"fit": lambda: fit(source, target), "products": lambda: products(rows, *arrays)}, repeats=repeats
    )
    return line_at_most(
        f"closed-form fit, {rows:,} × {DIM}, {suffix[1:]}, streaming",
        "its float64 products alone, in memory",
        median_ratio(seconds, "fit", "products"),
        1.7,
        seconds,
        runs=("fit", "products"),
        rows_per_second=rows / statistics.median(seconds["fit"]),
        peak_anonymous_bytes=peak,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--resident-rows", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=[".npy", ".parquet"], default=[".npy", ".parquet"])
    parser.add_argument("--folder", type=Path, help="where the files are written; they are removed at the end")
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fit-once", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit_once:
        fit(*options.fit_once)
        return
    if options.smoke:
        options.rows, options.repeats = 20_000, 1
    lines = []
    for suffix in options.formats:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            lines.append(measure(Path(name), suffix, options.rows, options.resident_rows, options.repeats))
    write_results({"machine": describe("pyarrow"), "lines": lines}, options.out)


if __name__ == "__main__":
    main()
