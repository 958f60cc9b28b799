"""The doctor's examination of a Parquet gallery, beside reading its ids and vectors.

python benchmarks/doctor.py --rows 1000000 --repeats 5 --out doctor.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from conversion import CHUNK_ROWS, write_gallery
from machine import alternate, describe, line_at_most, median_ratio, write_results

from embcompat.doctor import SpaceReference, examine, fit_reference
from embcompat.embeddings import Embeddings
from embcompat.spaces import SpaceVersion


def make_reference(space: SpaceVersion, seed: int) -> SpaceReference:
    vectors = np.random.default_rng(seed).standard_normal((20 * space.dim, space.dim), dtype=np.float32)
    return fit_reference(Embeddings(vectors, [f"item-{row}" for row in range(len(vectors))], space))


def read(path: Path) -> None:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK_ROWS):
            batch.column("vector").flatten().to_numpy().sum()  # or the pages would never be touched


def lines(path: Path, rows: int, dim: int, repeats: int) -> list[dict[str, Any]]:
    spaces = [SpaceVersion(name=name, version="1", dim=dim) for name in ("old", "new")]
    write_gallery(path, rows, spaces[0])
    references = [make_reference(space, seed) for seed, space in enumerate(spaces)]
    runs = {f"{count} references": partial(examine, path, references[:count]) for count in (0, 1, 2)}
    seconds = alternate({"reading": partial(read, path), **runs}, repeats=repeats)
    return [
        line_at_most(
            f"doctor, {rows:,} × {dim}, {name}",
            "reading ids and vectors",
            median_ratio(seconds, name, "reading"),
            2.0,
            seconds,
            runs=(name, "reading"),
            rows_per_second=rows / statistics.median(seconds[name]),
        )
        for name in runs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.smoke:
        options.rows, options.repeats = 20_000, 1
    with tempfile.TemporaryDirectory() as folder:
        results = lines(Path(folder) / "gallery.parquet", options.rows, options.dim, options.repeats)
    write_results({"machine": describe("pyarrow"), "lines": results}, options.out)


if __name__ == "__main__":
    main()
