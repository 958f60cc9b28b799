"""File-to-file conversion, beside what it cannot be faster than.

Affine maps are compared with the slower of reading and writing the same rows in the same format and the bare matrix
product; the Dense network with a bare onnxruntime loop on arrays in memory. Peak memory is that of a fresh process
which converts once. A kernel's graph is compared with its products alone.

    python benchmarks/conversion.py --rows 500000 --repeats 5 --out conversion.json
    python benchmarks/conversion.py --parts affine --formats .npy --rows 5000000 --repeats 3
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from machine import alternate, describe, line_at_least, line_at_most, median_ratio, write_results
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner, Aligner
from embcompat.aligners.kernel import KernelAligner, fit_kernel
from embcompat.artifact import Artifact, read_artifact
from embcompat.embeddings import normalize_rows, split_pairs
from embcompat.export import GraphBuilder, save_artifact
from embcompat.files.vectors import ROW_GROUP_ROWS, embeddings_schema, vectors_to_arrow
from embcompat.migration import convert_file
from embcompat.runtime import BATCH_ROWS, OnnxAligner
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs

CHUNK_ROWS = 16_384
SUFFIXES = (".parquet", ".npy")
PRODUCT_ROWS = 8_192
LANDMARKS = 2_500
KERNEL_ROWS = 16_384
KERNEL_DIMS = (128, 128), (384, 384), (384, 768)
PARTS = ["affine", "networks", "memory", "kernel", "int8"]


def make_artifact(folder: Path, kind: str, source_dim: int, target_dim: int) -> Artifact:
    rng = np.random.default_rng(0)
    aligner: Aligner
    if kind == "affine":
        aligner = AffineAligner(rng.standard_normal((target_dim, source_dim)) / source_dim**0.5, np.zeros(target_dim))
    elif kind == "kernel":
        aligner = KernelAligner(
            rng.standard_normal((target_dim, source_dim)) / source_dim**0.5,
            np.zeros(target_dim),
            np.zeros(source_dim),
            normalize_rows(rng.standard_normal((LANDMARKS, source_dim))),
            rng.standard_normal((target_dim, LANDMARKS)) / LANDMARKS**0.5,
            bandwidth=2.0,
        )
    else:
        from embcompat.aligners.neural import create_aligner

        aligner = create_aligner(kind, source_dim=source_dim, target_dim=target_dim)
    spaces = [SpaceVersion(name=name, version="1", dim=dim) for name, dim in (("old", source_dim), ("new", target_dim))]
    path = folder / f"{kind}-{source_dim}-{target_dim}"
    return save_artifact(aligner, path, source=spaces[0], target=spaces[1])


def write_gallery(path: Path, rows: int, space: SpaceVersion) -> None:
    """Write random vectors, a chunk at a time."""
    rng = np.random.default_rng(1)
    if path.suffix == ".npy":
        array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, space.dim))
        for start in range(0, rows, CHUNK_ROWS):
            array[start : start + CHUNK_ROWS] = rng.standard_normal(array[start : start + CHUNK_ROWS].shape)
        return
    schema = embeddings_schema(space, labels=False)
    with pq.ParquetWriter(path, schema, **writer_options()) as writer:
        for start in range(0, rows, ROW_GROUP_ROWS):
            count = min(ROW_GROUP_ROWS, rows - start)
            vectors = rng.standard_normal((count, space.dim), dtype=np.float32)
            ids = [f"item-{row}" for row in range(start, start + count)]
            writer.write_batch(pa.record_batch([ids, vectors_to_arrow(vectors)], schema=schema))


def writer_options() -> dict[str, Any]:
    return {"compression": "none", "use_dictionary": False, "write_statistics": ["id"]}


def read_and_write(source: Path, target: Path, space: SpaceVersion) -> None:
    """Read every row and write as many rows of the target's dimension, in the plainest way, down to the disk."""
    vectors = np.random.default_rng(2).standard_normal((CHUNK_ROWS, space.dim), dtype=np.float32)
    if source.suffix == ".npy":
        array = np.load(source, mmap_mode="r")
        with target.open("wb") as stream:
            for start in range(0, len(array), PRODUCT_ROWS):
                block = np.array(array[start : start + PRODUCT_ROWS])
                stream.write(vectors[: len(block)].data)
        flush(target)
        return
    schema = embeddings_schema(space, labels=False)
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, schema, **writer_options()) as writer:
        for batch in file.iter_batches(CHUNK_ROWS):
            columns = [batch.column("id"), vectors_to_arrow(vectors[: len(batch)])]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    flush(target)


def flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream)


def matrix_product(vectors: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    for start in range(0, len(vectors), PRODUCT_ROWS):
        np.matmul(vectors[start : start + PRODUCT_ROWS], weight.T)


def onnx_loop(graph: bytes, vectors: NDArray[np.float32], block_rows: int = PRODUCT_ROWS) -> Callable[[], None]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run() -> None:
        for start in range(0, len(vectors), block_rows):
            session.run(None, {name: vectors[start : start + block_rows]})

    return run


def bare_products(artifact: Artifact) -> bytes:
    """Return a graph of nothing but a kernel's three products: linear part, landmarks, coefficients."""
    weights = artifact.weights()
    builder = GraphBuilder(artifact.source.dim, artifact.target.dim)
    weight, landmarks, coefficients = (
        builder.constant(name, weights[name].T) for name in ("weight", "landmarks", "coefficients")
    )
    linear = builder.node("MatMul", ["vectors", weight], "linear")
    similarities = builder.node("MatMul", ["vectors", landmarks], "similarities")
    model = builder.finish(builder.node("Gemm", [similarities, coefficients, linear], "mapped"), normalize=False)
    return bytes(model.SerializeToString())


def affine_line(folder: Path, suffix: str, dims: tuple[int, int], rows: int, repeats: int) -> dict[str, Any]:
    artifact = make_artifact(folder, "affine", *dims)
    source, target = folder / f"source{suffix}", folder / f"target{suffix}"
    write_gallery(source, rows, artifact.source)
    vectors = np.random.default_rng(3).standard_normal((rows, dims[0]), dtype=np.float32)
    weight = artifact.weights()["weight"]
    seconds = alternate(
        {
            "convert": lambda: convert_file(artifact, source, target, space=artifact.source, overwrite=True),
            "reading and writing": lambda: read_and_write(source, target, artifact.target),
            "matrix product": lambda: matrix_product(vectors, weight),
        },
        repeats=repeats,
        prepare=lambda: target.unlink(missing_ok=True),  # replacing a large file takes the system a while
    )
    slower = min(("reading and writing", "matrix product"), key=lambda name: median_ratio(seconds, "convert", name))
    return line_at_most(
        f"conversion, affine {dims[0]} → {dims[1]}, {suffix[1:]}, {rows:,} rows",
        slower,
        median_ratio(seconds, "convert", slower),
        1.3,
        seconds,
        runs=("convert", slower),
        rows_per_second=rows / statistics.median(seconds["convert"]),
    )


def network_line(folder: Path, kind: str, suffix: str, rows: int, repeats: int) -> dict[str, Any]:
    artifact = make_artifact(folder, kind, 128, 128)
    source, target = folder / f"source{suffix}", folder / f"target{suffix}"
    write_gallery(source, rows, artifact.source)
    vectors = np.random.default_rng(3).standard_normal((rows, 128), dtype=np.float32)
    seconds = alternate(
        {
            "convert": lambda: convert_file(artifact, source, target, space=artifact.source, overwrite=True),
            "onnxruntime loop": onnx_loop(artifact.graph(), vectors),
        },
        repeats=repeats,
        prepare=lambda: target.unlink(missing_ok=True),  # replacing a large file takes the system a while
    )
    return line_at_least(
        f"conversion, {kind} 128 → 128, {suffix[1:]}, {rows:,} rows",
        "onnxruntime loop in memory",
        median_ratio(seconds, "onnxruntime loop", "convert"),
        0.9,
        seconds,
        runs=("convert", "onnxruntime loop"),
        rows_per_second=rows / statistics.median(seconds["convert"]),
    )


def kernel_line(folder: Path, dims: tuple[int, int], rows: int, repeats: int) -> dict[str, Any]:
    artifact = make_artifact(folder, "kernel", *dims)
    vectors = np.random.default_rng(3).standard_normal((rows, dims[0]), dtype=np.float32)
    seconds = alternate(
        {
            "convert": partial(OnnxAligner(artifact).transform, vectors),
            "products": onnx_loop(bare_products(artifact), vectors, BATCH_ROWS),
        },
        repeats=repeats,
    )
    return line_at_most(
        f"kernel graph, {LANDMARKS:,} landmarks, {dims[0]} → {dims[1]}",
        "its products alone",
        median_ratio(seconds, "convert", "products"),
        1.15,
        seconds,
        runs=("convert", "products"),
        rows_per_second=rows / statistics.median(seconds["convert"]),
    )


def int8_line(folder: Path, kind: str, dim: int, aim: float, pairs: int, rows: int, repeats: int) -> dict[str, Any]:
    """Compare the static int8 graph of a fitted aligner with its float32 graph, both served in memory."""
    split = split_pairs(make_pairs(pairs, source_dim=dim, target_dim=dim, noise=0.2, normalized=True).pairs)
    if kind == "dense":
        from embcompat.training import fit_neural

        aligner: Any = fit_neural(split.train, split.validation, kind="dense", epochs=8, device="cpu")
    else:
        aligner = fit_kernel(split.train, split.validation)
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    aligners = {
        name: OnnxAligner(save_artifact(aligner, folder / name, split=split, int8=name == "int8", **spaces))
        for name in ("float32", "int8")
    }
    vectors = np.resize(split.test.source.vectors, (rows, dim))
    runs = {name: partial(each.transform, vectors) for name, each in aligners.items()}
    seconds = alternate(runs, repeats=repeats)
    return line_at_least(
        f"static int8 graph, {kind} {dim} → {dim}",
        "its float32 graph",
        median_ratio(seconds, "float32", "int8"),
        aim,
        seconds,
        runs=("int8", "float32"),
        held_out={metric.name: metric.value for metric in aligners["int8"].artifact.manifest.metrics},
    )


def memory_line(folder: Path, suffix: str, counts: list[int]) -> dict[str, Any]:
    artifact = make_artifact(folder, "affine", 64, 64)
    peaks = []
    for count in counts:
        source, target = folder / f"source{suffix}", folder / f"target{suffix}"
        write_gallery(source, count, artifact.source)
        child = [sys.executable, __file__, "--convert-once", str(artifact.path), str(source), str(target)]
        peaks.append(int(subprocess.run(child, check=True, capture_output=True, text=True).stdout))
    return {
        "what": f"peak memory, conversion of {counts[1]:,} rows, affine 64 → 64, {suffix[1:]}",
        "against": f"{counts[0]:,} rows",
        "ratio": peaks[1] / peaks[0],
        "aim_at_most": 1.1,
        "peak_bytes": peaks,
    }


def convert_once(artifact: str, source: str, target: str) -> None:
    loaded = read_artifact(artifact)
    convert_file(loaded, source, target, space=loaded.source, overwrite=True)
    peak = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(int(peak[0]) * 1024)


def runs_of(part: str, suffix: str, options: argparse.Namespace) -> list[Callable[[Path], dict[str, Any]]]:
    """Return what makes the lines of one part, each in a folder of its own."""
    few, repeats = options.rows // 4, options.repeats
    if part == "affine":
        sizes = ((128, 128), options.rows), ((384, 768), few)
        return [partial(affine_line, suffix=suffix, dims=dims, rows=rows, repeats=repeats) for dims, rows in sizes]
    if part == "networks":
        kinds = "dense", "multi_branch"
        return [partial(network_line, kind=kind, suffix=suffix, rows=few, repeats=repeats) for kind in kinds]
    if part == "memory":
        return [partial(memory_line, suffix=suffix, counts=options.memory_rows)]
    rows = min(KERNEL_ROWS, few)
    if part == "kernel":
        return [partial(kernel_line, dims=dims, rows=rows, repeats=repeats) for dims in KERNEL_DIMS]
    return [
        partial(int8_line, kind="dense", dim=128, aim=1.5, pairs=options.pairs, rows=few, repeats=repeats),
        partial(int8_line, kind="kernel", dim=384, aim=2, pairs=options.pairs, rows=rows, repeats=repeats),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000, help="at 128 dimensions for affine; else a quarter of it")
    parser.add_argument("--memory-rows", type=int, nargs=2, default=[200_000, 800_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--formats", nargs="+", choices=SUFFIXES, default=SUFFIXES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=8_000, help="pairs that int8 aligners are fitted on")
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--convert-once", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert_once:
        convert_once(*options.convert_once)
        return
    if options.smoke:
        options.rows, options.repeats, options.memory_rows, options.pairs = 20_000, 1, [5_000, 20_000], 600
    lines = []
    for part in options.parts:
        for suffix in options.formats if part in ("affine", "networks", "memory") else [""]:
            for run in runs_of(part, suffix, options):
                with tempfile.TemporaryDirectory() as name:
                    lines.append(run(Path(name)))
    write_results({"machine": describe("onnxruntime", "pyarrow"), "lines": lines}, options.out)


if __name__ == "__main__":
    main()
