"""Migrations of live galleries, beside reading and writing the same rows through the store's bare client.

Five parts, each of which can be run alone; the results of the others are kept in the file:

* ``throughput``: the migration end to end (run, reconcile, verify, cut over) against the bare client, store by store,
  also in processor time (``cpu_ratio``), which a busy machine changes less;
* ``cutover``: the longest time that readers and writers wait while the cutover happens, and beside a reader that holds
  its transactions open;
* ``busy``: how many of twenty cutovers succeed while an application writes;
* ``memory``: peak memory of a fresh process that migrates, at two sizes;
* ``ray``: a folder of Parquet files on two Ray workers against two plain processes with one thread each.

    python benchmarks/stores.py --part throughput --stores lancedb --out benchmarks/results/stores.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from collection_galleries import COLLECTION_GALLERIES
from machine import alternate, describe, line_at_least, median_ratio, write_results
from store_clients import clients
from store_galleries import DIM, BareGallery, make_artifact, write_dataset
from store_galleries import GALLERIES as SERVED_GALLERIES

from embcompat.errors import EmbcompatError
from embcompat.migration import convert_dataset, convert_file, cut_over, roll_back, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store

HERE = Path(__file__)
GALLERIES = SERVED_GALLERIES | COLLECTION_GALLERIES
ROWS = {
    "lancedb": 200_000,
    "postgresql": 200_000,
    "postgresql-column": 200_000,
    "faiss": 300_000,
    "parquet": 1_000_000,
    "qdrant": 500,
    "chroma": 2_000,
    "milvus": 5_000,
    "sqlite": 20_000,
    "duckdb": 50_000,
}
AIMS = {"postgresql": 0.6, "faiss": 0.6}
CUTOVER_ROWS = {"postgresql": 1_000_000, "postgresql-column": 1_000_000, "lancedb": 1_000_000}
BUSY_ROWS = {"postgresql": 100_000, "postgresql-column": 100_000}
BESIDE_POSTGRES = [("reader", "writer"), ("reader", "writer", "open_reader")]
MEMORY_ROWS = (100_000, 2_000_000)


def throughput(gallery: BareGallery, rows: int, repeats: int) -> dict[str, Any]:
    aligner = OnnxAligner(make_artifact(gallery.folder), threads=1)
    runs = {"migration": lambda: migrate(aligner, gallery), "bare client": lambda: gallery.read_and_write()}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in runs}

    def counted(name: str) -> None:
        start = time.process_time()
        runs[name]()
        cpu_seconds[name].append(time.process_time() - start)

    seconds = alternate(
        {"making the gallery": lambda: gallery.create(rows), **{name: partial(counted, name) for name in runs}},
        repeats=repeats,
    )
    of_process = {}
    if not gallery.name.startswith("postgresql"):  # most of the work is in the server's processes
        of_process["cpu_ratio"] = median_ratio(cpu_seconds, "bare client", "migration")
        of_process["cpu_seconds_of_100k_rows"] = statistics.median(cpu_seconds["migration"]) * 100_000 / rows
    return line_at_least(
        f"migration, {gallery.name}, {rows:,} rows, {DIM} → {DIM}",
        "reading and writing through the bare client",
        median_ratio(seconds, "bare client", "migration"),
        AIMS.get(gallery.name, 0.8),
        seconds,
        runs=("migration", "bare client"),
        rows_per_second=rows / statistics.median(seconds["migration"]),
        **of_process,
    )


def migrate(aligner: OnnxAligner, gallery: BareGallery) -> None:
    if gallery.name == "parquet":
        convert_file(aligner.artifact, gallery.path, gallery.target, threads=1, overwrite=True)
        return
    store = open_store(gallery.url)
    try:
        run_migration(aligner, store)
        cut_over(aligner, store)
    finally:
        store.close()


def cutovers(gallery: BareGallery, rows: int, sets: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Let other processes read and write, one set of them after the other, while the cutover happens."""
    aligner = OnnxAligner(make_artifact(gallery.folder), threads=1)
    gallery.create(rows)
    lines = []
    with closing(open_store(gallery.url)) as store:
        run_migration(aligner, store)
        for kinds in sets:
            if lines:
                roll_back(aligner, store)
            with clients(gallery, *kinds) as waits:
                start = time.perf_counter()
                cut_over(aligner, store)
                seconds = time.perf_counter() - start
            line = {
                "what": f"longest waits during the cutover, {gallery.name}, {rows:,} rows, beside {', '.join(kinds)}"
            }
            lines.append({**line, "cutover_seconds": seconds, **waits})
    return lines


def busy_cutovers(gallery: BareGallery, rows: int, count: int) -> dict[str, Any]:
    """Cut over again and again, with a rollback between, while an application writes."""
    aligner = OnnxAligner(make_artifact(gallery.folder), threads=1)
    gallery.create(rows)
    seconds, refusals = [], []
    with closing(open_store(gallery.url)) as store, clients(gallery, "writer") as waits:
        run_migration(aligner, store)
        for _ in range(count):
            start = time.perf_counter()
            try:
                cut_over(aligner, store)
            except EmbcompatError as error:
                refusals.append(str(error))
                continue
            seconds.append(time.perf_counter() - start)
            roll_back(aligner, store)
    what = f"cutovers under 100 writes a second, {gallery.name}, {rows:,} rows"
    median = statistics.median(seconds) if seconds else None
    succeeded = {"succeeded": len(seconds), "of": count, "refusals": refusals, "cutover_seconds": median}
    return {"what": what, **succeeded, **waits}


def memory(gallery: BareGallery, sizes: tuple[int, ...]) -> dict[str, Any]:
    artifact = make_artifact(gallery.folder)
    peaks = []
    for rows in sizes:
        gallery.create(rows)
        command = [sys.executable, str(HERE), "--migrate", gallery.name, str(gallery.folder), str(artifact.path)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {
        "what": f"peak memory, {gallery.name}, {sizes[1]:,} rows",
        "against": f"{sizes[0]:,} rows",
        "ratio": peaks[1] / peaks[0],
        "aim_at_most": 1.2,
        "peak_bytes": peaks,
    }


def migrate_and_print_peak(name: str, folder: str, artifact: str) -> None:
    migrate(OnnxAligner(artifact, threads=1), GALLERIES[name](Path(folder)))
    peak = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(int(peak[0]) * 1024)


def ray_line(folder: Path, files: int, rows: int, repeats: int) -> dict[str, Any]:
    """Ray was started before, as on a cluster; both sides start their workers anew."""
    import ray

    artifact = make_artifact(folder)
    sources = write_dataset(folder / "source", files, rows)
    target = folder / "target"
    target.mkdir()

    def plain() -> None:
        _clear(target)
        commands = [
            [sys.executable, str(HERE), "--convert", str(artifact.path), str(target), *map(str, sources[part::2])]
            for part in (0, 1)
        ]
        for process in [subprocess.Popen(command) for command in commands]:
            if process.wait():
                raise RuntimeError("a plain process failed")

    def on_ray() -> None:
        _clear(target)
        convert_dataset(artifact.path, folder / "source", target, workers=2)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        seconds = alternate({"two Ray workers": on_ray, "two plain processes": plain}, repeats=repeats)
    finally:
        ray.shutdown()
    return line_at_least(
        f"two Ray workers, {files} Parquet files of {rows:,} rows, {DIM} → {DIM}",
        "two plain processes with one thread each",
        median_ratio(seconds, "two plain processes", "two Ray workers"),
        0.95,
        seconds,
        runs=("two Ray workers", "two plain processes"),
        rows_per_second=files * rows / statistics.median(seconds["two Ray workers"]),
    )


def convert_files(artifact: str, target: str, *sources: str) -> None:
    for source in sources:
        convert_file(artifact, source, Path(target) / Path(source).name, threads=1, overwrite=True)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for store in options.stores or GALLERIES:
            for part in options.part:
                with GALLERIES[store].server(folder / f"{part}-{store}") as gallery:
                    if part == "throughput":
                        lines.append(throughput(gallery, options.rows or ROWS[store], options.repeats))
                    elif part == "cutover" and store in CUTOVER_ROWS:
                        sets = BESIDE_POSTGRES if store in BUSY_ROWS else [("reader",)]
                        lines += cutovers(gallery, options.rows or CUTOVER_ROWS[store], sets)
                    elif part == "busy" and store in BUSY_ROWS:
                        lines.append(
                            busy_cutovers(gallery, options.rows or BUSY_ROWS[store], 2 if options.smoke else 20)
                        )
                    elif part == "memory" and store in ("lancedb", "parquet"):
                        sizes = (options.rows // 4, options.rows) if options.rows else MEMORY_ROWS
                        lines.append(memory(gallery, sizes))
        if "ray" in options.part:
            lines.append(ray_line(folder, 4, options.rows or 1_000_000, options.repeats))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", default=["throughput", "cutover", "busy", "memory", "ray"])
    parser.add_argument("--stores", nargs="*", help="all by default")
    parser.add_argument("--rows", type=int, help="instead of each part's own size")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path, help="JSON; lines of other parts in it are kept")
    for internal in ("--migrate", "--convert"):
        parser.add_argument(internal, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.migrate:
        migrate_and_print_peak(*options.migrate)
    elif options.convert:
        convert_files(*options.convert)
    else:
        if options.smoke:
            options.rows, options.repeats = 2_000, 1
        fresh = measure(options)
        recorded = json.loads(options.out.read_text())["lines"] if options.out and options.out.exists() else []
        load = os.getloadavg()[0]
        named = {line["what"]: line for line in [*recorded, *({**line, "load_average": load} for line in fresh)]}
        packages = (
            "lancedb",
            "psycopg",
            "qdrant-client",
            "faiss-cpu",
            "pyarrow",
            "ray",
            "chromadb",
            "pymilvus",
            "sqlite-vec",
            "duckdb",
        )
        write_results({"machine": describe(*packages), "lines": list(named.values())}, options.out)


if __name__ == "__main__":
    main()
