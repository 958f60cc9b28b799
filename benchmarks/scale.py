"""Many Parquet rows, converted by shards on two processes, one of which is killed on the way.

    nice -n 19 python benchmarks/scale.py --rows 100000000 --kinds affine kernel --folder /data/scale --out scale.json

Each process converts its shards one after the other with one thread, as the machines of a cluster would. A shard's
source is one of a few files that are made before: the disk would not hold as many; the target is checked on a sample
against the aligner in numpy and removed. One process is killed with SIGKILL in the middle of a shard and started
again. What is finished is recorded shard by shard in the folder: the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from conversion import make_artifact, write_gallery
from machine import describe, write_results

from embcompat.aligners import KernelAligner, load_aligner
from embcompat.artifact import Artifact, read_artifact
from embcompat.embeddings import normalize_rows
from embcompat.export import save_artifact
from embcompat.migration import convert_file

DIM, WORKERS, SOURCES, SAMPLE_ROWS = 128, 2, 4, 2_000
BILLIONS = 1, 10


def make_artifacts(folder: Path) -> tuple[Artifact, Artifact]:
    """Make both artifacts, or open those of the run before."""
    paths = folder / f"affine-{DIM}-{DIM}", folder / "kernel-map"
    affine = read_artifact(paths[0]) if paths[0].exists() else make_artifact(folder, "affine", DIM, DIM)
    return affine, read_artifact(paths[1]) if paths[1].exists() else make_kernel(paths[1], affine)


def make_kernel(path: Path, like: Artifact) -> Artifact:
    """Save a kernel aligner of the default size, its numbers drawn at random: speed does not depend on them."""
    rng = np.random.default_rng(0)
    landmarks = normalize_rows(rng.standard_normal((2_500, DIM)))
    aligner = KernelAligner(
        rng.standard_normal((DIM, DIM)) / DIM**0.5,
        np.zeros(DIM),
        np.zeros(DIM),
        landmarks,
        0.1 * rng.standard_normal((DIM, len(landmarks))),
        bandwidth=2.0,
    )
    return save_artifact(aligner, path, source=like.source, target=like.target)


def work(artifact_path: Path, folder: Path, numbers: list[int]) -> None:
    """Convert the shards that are not finished; record each."""
    artifact = read_artifact(artifact_path)
    for number in numbers:
        record, target = folder / f"{number}.json", folder / f"{number}.parquet"
        if record.exists():
            continue
        source = folder.parent / f"source-{number % SOURCES}.parquet"
        report = convert_file(artifact, source, target, space=artifact.source, threads=1, overwrite=True)
        line = {
            "rows": report.rows,
            "resumed_rows": report.resumed_rows,
            "seconds": report.seconds,
            "ended": time.time(),
            "error": largest_error(artifact, source, target, seed=number),
            "peak_bytes": peak_bytes(),
        }
        target.unlink()
        partial = record.with_suffix(".part")
        partial.write_text(json.dumps(line))
        partial.replace(record)


def largest_error(artifact: Artifact, source: Path, target: Path, *, seed: int) -> float:
    """Compare rows in a place drawn at random with the aligner; relative to the length of the vector."""
    start = int(np.random.default_rng(seed).integers(max(1, pq.read_metadata(source).num_rows - SAMPLE_ROWS)))
    original, copy = (read_rows(path, start) for path in (source, target))
    if not original["id"].equals(copy["id"]):
        return float("inf")
    vectors, converted = (np.stack(table["vector"].to_numpy()) for table in (original, copy))
    expected = load_aligner(artifact).transform(vectors)
    return float((np.linalg.norm(converted - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def read_rows(path: Path, start: int) -> pa.Table:
    """Read some rows of a file from its row groups, which differ between source and target."""
    with pq.ParquetFile(path) as file:
        ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        first, last = np.searchsorted(ends, [start, min(start + SAMPLE_ROWS, ends[-1]) - 1], side="right")
        table = file.read_row_groups(list(range(first, last + 1)), ["id", "vector"])
    return table.slice(start - (ends[first - 1] if first else 0), SAMPLE_ROWS).combine_chunks()


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def convert_all(artifact: Artifact, folder: Path, shards: int) -> dict[str, Any]:
    """Convert on two processes; kill the first in the middle of its second shard."""
    folder.mkdir(exist_ok=True)
    workers = [_start(artifact, folder, list(range(first, shards, WORKERS))) for first in range(WORKERS)]
    try:
        kill = 0 if (folder / "killed").exists() else workers[0].pid
        while any(worker.poll() is None for worker in workers):
            time.sleep(0.2)
            if kill and (folder / "0.json").exists() and list(folder.glob(f".{WORKERS}.parquet*")):
                time.sleep(json.loads((folder / "0.json").read_text())["seconds"] / 2)
                os.kill(kill, signal.SIGKILL)
                workers[0].wait()
                (folder / "killed").touch()
                kill = 0
                workers[0] = _start(artifact, folder, list(range(0, shards, WORKERS)))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return summarize(folder, shards)


def summarize(folder: Path, shards: int) -> dict[str, Any]:
    """Sum up the records: rates of single shards on one process, in the order in which they ended."""
    records = sorted((json.loads((folder / f"{number}.json").read_text()) for number in range(shards)), key=_ended)
    whole = [record for record in records if not record["resumed_rows"]]
    rates = [record["rows"] / record["seconds"] for record in whole]
    third = max(1, len(whole) // 3)
    parts = [records[len(records) * part // 3 : len(records) * (part + 1) // 3] or records for part in range(3)]
    return {
        "rows": sum(record["rows"] for record in records),
        "resumed_rows": sum(record["resumed_rows"] for record in records),
        "rows_per_second_of_a_process": statistics.median(rates),
        "last_third_against_first": statistics.median(rates[-third:]) / statistics.median(rates[:third]),
        "largest_error": max(record["error"] for record in records),
        "peak_bytes": max(record["peak_bytes"] for record in records),
        "peak_bytes_of_thirds": [statistics.median(record["peak_bytes"] for record in part) for part in parts],
    }


def extrapolate(rate: float, processes: int, price: float) -> list[dict[str, float]]:
    """Return the hours and the price of billions of rows on so many processes at the measured rate."""
    return [
        {
            "rows": billions * 1e9,
            "processes": processes,
            "hours": (hours := billions * 1e9 / rate / processes / 3600),
            "price": hours * processes * price,
        }
        for billions in BILLIONS
    ]


def _ended(record: dict[str, Any]) -> float:
    return float(record["ended"])


def _start(artifact: Artifact, folder: Path, numbers: list[int]) -> subprocess.Popen[bytes]:
    words = [sys.executable, __file__, "--work", str(artifact.path), str(folder), *map(str, numbers)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(words, env={**os.environ, **threads})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--shard-rows", type=int, default=1_000_000)
    parser.add_argument("--kinds", nargs="+", choices=("affine", "kernel"), default=("affine", "kernel"))
    parser.add_argument("--processes", type=int, default=640, help="of the cluster to extrapolate to, one a core")
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour, in any currency")
    parser.add_argument("--folder", type=Path, required=True, help="where shards and records stand")
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    if "--work" in sys.argv:
        artifact, folder, *numbers = sys.argv[sys.argv.index("--work") + 1 :]
        work(Path(artifact), Path(folder), list(map(int, numbers)))
        return
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or the workers would outlive this process
    rows, shard_rows = (400_000, 50_000) if options.smoke else (options.rows, options.shard_rows)
    options.folder.mkdir(parents=True, exist_ok=True)
    affine, kernel = make_artifacts(options.folder)
    for number in range(SOURCES):
        source = options.folder / f"source-{number}.parquet"
        if not source.exists():
            write_gallery(source, shard_rows, affine.source)
    lines = []
    for kind in options.kinds:
        result = convert_all(affine if kind == "affine" else kernel, options.folder / kind, -(-rows // shard_rows))
        rate = result["rows_per_second_of_a_process"]
        lines.append({"kind": kind, **result, "extrapolated": extrapolate(rate, options.processes, options.price)})
    write_results({"machine": describe("pyarrow", "onnxruntime"), "smoke": options.smoke, "lines": lines}, options.out)


if __name__ == "__main__":
    main()
