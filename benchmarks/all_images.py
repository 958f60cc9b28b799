"""`embcompat evaluate --task verification --all-images`: its time and memory, and its time beside other work.

The command runs in a process of its own, imports and reading included, on random vectors of people with very different
numbers of images, as in LFW. The other work is as many processes as there are processors, each of which computes all
the time: they leave the command half of the processors.

    python benchmarks/all_images.py --images 5005 --people 840 --repeats 5 --out all_images.json
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, line_at_most, write_results
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.export import save_artifact
from embcompat.spaces import SpaceVersion

DIM, NOISE = 128, 1.07
AIM_SECONDS, AIM_BYTES = 3.0, 1 << 30


def images_of_people(images: int, people: int) -> NDArray[np.int64]:
    """Return how many images each person has: two at least, the others by Zipf's law."""
    shares = 1 / np.arange(1, people + 1)
    counts = 2 + np.floor((images - 2 * people) * shares / shares.sum()).astype(np.int64)
    counts[: images - counts.sum()] += 1
    return counts


def write_inputs(folder: Path, images: int, people: int) -> list[str]:
    """Write both galleries and an aligner that turns the old space into the new one; return the command's arguments."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(people), images_of_people(images, people))
    identities = rng.standard_normal((people, DIM), dtype=np.float32)[rows]
    rotation = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
    spaces = [SpaceVersion(name=name, version="1", dim=DIM, normalized=True) for name in ("old", "new")]
    ids, labels = [f"image-{row}" for row in range(images)], [f"person-{row}" for row in rows]
    for space, turn in zip(spaces, (rotation.T, np.eye(DIM, dtype=np.float32)), strict=True):
        vectors = identities + np.float32(NOISE) * rng.standard_normal(identities.shape, dtype=np.float32)
        Embeddings(normalize_rows(vectors @ turn), ids, space, labels).save(folder / f"{space.name}.parquet")
    aligner = AffineAligner(rotation.T, np.zeros(DIM), normalize=True)
    save_artifact(aligner, folder / "artifact", source=spaces[0], target=spaces[1])
    galleries = [word for name in ("old", "new") for word in (f"--{name}-gallery", str(folder / f"{name}.parquet"))]
    return [str(folder / "artifact"), "--task", "verification", *galleries, "--all-images", "--json"]


def evaluate(arguments: list[str]) -> tuple[float, int]:
    """Run the command and return its seconds and its peak of memory."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "embcompat", "evaluate", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"embcompat evaluate ended with exit code {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


@contextmanager
def other_work(processes: int) -> Iterator[None]:
    """Keep so many processors busy."""
    workers = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def measure(images: int, people: int, repeats: int) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {"alone": [], "beside other work": [], "aim": [AIM_SECONDS]}
    peaks = []
    processors = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        arguments = write_inputs(Path(folder), images, people)
        for _ in range(repeats):
            elapsed, peak = evaluate(arguments)
            seconds["alone"].append(elapsed)
            peaks.append(peak)
            with other_work(processors):
                seconds["beside other work"].append(evaluate(arguments)[0])
    alone, beside = (float(np.median(seconds[name])) for name in ("alone", "beside other work"))
    what = f"evaluate --task verification --all-images, {images:,} images of {people:,} people"
    return [
        line_at_most(what, f"{AIM_SECONDS:g} s", alone / AIM_SECONDS, 1.0, seconds, runs=("alone", "aim")),
        {
            "what": f"peak memory, {what}",
            "against": "1 GiB",
            "ratio": max(peaks) / AIM_BYTES,
            "aim_at_most": 1.0,
            "peak_bytes": [AIM_BYTES, max(peaks)],
        },
        line_at_most(
            f"{what}, beside {processors} busy processes",
            "alone",
            beside / alone,
            2.0,
            seconds,
            runs=("beside other work", "alone"),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_005)
    parser.add_argument("--people", type=int, default=840)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sizes = (200, 60, 1) if options.smoke else (options.images, options.people, options.repeats)
    write_results({"machine": describe("onnxruntime"), "smoke": options.smoke, "lines": measure(*sizes)}, options.out)


if __name__ == "__main__":
    main()
