"""N:N verification, beside the bare matrix products that it cannot be faster than.

Four scenarios of one anchor and one positive a subject: the exact counts alone, and the entire report (five lines, as
the status quo is one, with 1,000 bootstrap replicates), against four bare blocked float32 products of the same sides.
Growth: one scenario at other numbers of subjects; --subjects 0 leaves the four scenarios out. Memory is the growth of
the resident set, looked at every 2 ms.

    python benchmarks/verification.py --subjects 14848 --growth 25000 50000 --repeats 5 --out verification.json
    python benchmarks/verification.py --subjects 0 --growth 100000 --similarities cosine --repeats 1
"""

from __future__ import annotations

import argparse
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import alternate, describe, line_at_most, median_ratio, write_results
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.evaluation.verification import (
    Scenario,
    VerificationPairs,
    VerificationReport,
    count_impostors,
    evaluate_verification,
    scenario_pairs,
    threshold_at_frr,
)
from embcompat.spaces import Similarity, SpaceVersion

DIM = 128
FRR = 0.05
BARE_ROWS = 1_024
# Chosen so that scenario 1 to 3 come near the FARs of FC-Aligner's Table 1: 1 in 30,775, 11,082 and 20,779.
NOISE: dict[Similarity, dict[str, float]] = {
    "cosine": {"new": 1.07, "converted": 1.12, "old": 1.15},
    "euclidean": {"new": 0.95, "converted": 0.99, "old": 1.05},
}


def make_embeddings(subjects: int, similarity: Similarity) -> list[Embeddings]:
    """Make two rows of each subject under the old, the new and the converted model: noisy copies of one identity."""
    rng = np.random.default_rng(0)
    identities = rng.standard_normal((subjects, DIM), dtype=np.float32).repeat(2, axis=0)
    ids = [f"item-{row}" for row in range(2 * subjects)]
    labels = [f"subject-{row // 2}" for row in range(2 * subjects)]
    new = SpaceVersion(name="new", version="1", dim=DIM, similarity=similarity)
    old = SpaceVersion(name="old", version="1", dim=DIM, similarity=similarity)
    sides = []
    for name, space in (("old", old), ("new", new), ("converted", new)):
        noise = rng.standard_normal(identities.shape, dtype=np.float32)
        sides.append(Embeddings(identities + np.float32(NOISE[similarity][name]) * noise, ids, space, labels))
    return sides


def bare_product(left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
    """Multiply all rows with all rows, block by block into one buffer."""
    buffer = np.empty((min(BARE_ROWS, len(left)), len(right)), dtype=np.float32)
    for start in range(0, len(left), BARE_ROWS):
        block = left[start : start + BARE_ROWS]
        np.matmul(block, right.T, out=buffer[: len(block)])


def growth_of_memory(run: Callable[[], object]) -> int:
    """Run once and return by how many bytes the resident set grew at most."""
    peak, finished = [_resident_bytes()], threading.Event()
    start = peak[0]

    def watch() -> None:
        while not finished.is_set():
            peak[0] = max(peak[0], _resident_bytes())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    finished.set()
    watcher.join()
    return peak[0] - start


def measure_scenarios(subjects: int, similarity: Similarity, repeats: int) -> list[dict[str, Any]]:
    old, new, converted = make_embeddings(subjects, similarity)
    pairs = scenario_pairs(old, new, converted)
    four: list[Scenario] = ["S1", "S2", "S3", "S4"]

    def bare() -> None:
        for name in four:
            bare_product(pairs[name].anchors, pairs[name].positives)

    def counts() -> None:
        fresh = scenario_pairs(old, new, converted)
        fixed = threshold_at_frr(fresh["S1"].genuine.scores, FRR, votes=fresh["S1"].genuine.votes)
        for name in four:
            count_impostors(
                fresh[name], [fixed, threshold_at_frr(fresh[name].genuine.scores, FRR, votes=fresh[name].genuine.votes)]
            )

    reports: list[VerificationReport] = []

    def report() -> None:
        reports.append(evaluate_verification(old, new, converted, frr=FRR))

    grown = {"counts": growth_of_memory(counts), "report": growth_of_memory(report)}
    seconds = alternate({"bare": bare, "counts": counts, "report": report}, repeats=repeats)
    false = {name: reports[0].scenarios[name].false_acceptances_at_frr for name in four}
    return [
        line_at_most(
            f"N:N, {subjects:,} subjects, four scenarios, {similarity}: {name}",
            "bare blocked products",
            median_ratio(seconds, name, "bare"),
            3.0 if name == "counts" else None,
            seconds,
            runs=(name, "bare"),
            memory_growth_bytes=grown[name],
            false_acceptances_at_frr=false,
        )
        for name in ("counts", "report")
    ]


def measure_growth(subjects: int, similarity: Similarity, repeats: int) -> dict[str, Any]:
    old, new, converted = make_embeddings(subjects, similarity)
    pairs = scenario_pairs(old, new, converted)["S3"]
    threshold = threshold_at_frr(pairs.genuine.scores, FRR, votes=pairs.genuine.votes)

    def counts() -> None:
        fresh = VerificationPairs(
            pairs.anchors, pairs.positives, pairs.anchor_subjects, pairs.positive_subjects, similarity
        )
        count_impostors(fresh, threshold)

    grown = growth_of_memory(counts)
    seconds = alternate(
        {"bare": lambda: bare_product(pairs.anchors, pairs.positives), "counts": counts}, repeats=repeats
    )
    return line_at_most(
        f"N:N, {subjects:,} subjects, one scenario, {similarity}: counts",
        "bare blocked products",
        median_ratio(seconds, "counts", "bare"),
        3.0,
        seconds,
        runs=("counts", "bare"),
        memory_growth_bytes=grown,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=14_848)
    parser.add_argument("--growth", type=int, nargs="*", default=[])
    parser.add_argument("--similarities", nargs="+", choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    subjects, growth, repeats = options.subjects, options.growth, options.repeats
    if options.smoke:
        subjects, growth, repeats = 300, [600], 1
    lines = []
    for similarity in options.similarities:
        lines += measure_scenarios(subjects, similarity, repeats) if subjects else []
        lines += [measure_growth(size, similarity, repeats) for size in growth]
    write_results({"machine": describe(), "smoke": options.smoke, "lines": lines}, options.out)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
