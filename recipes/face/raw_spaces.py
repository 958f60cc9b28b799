"""Raw Euclidean spaces, as in the paper: a kernel aligner beside Table 1, and what replaces reweighting there.

In a space of unit vectors, embcompat weighs directions (`reweight`). A raw space compares lengths, so there the
variance of the output is moved towards the target's, or away from it: as a whole, or per direction by the optimal
transport between two Gaussians. Strength 0 is the fit, 1 has the target's variance, and below 0 the output shrinks
where it is unreliable. The strength is chosen on held-out subjects: the least at which scenario 3 accepts no more
impostors than scenario 1 at scenario 1's threshold. All on the simulated life-cycle (see life_cycle.py), so the
paper's figures stand beside ours, and are not of the same data.

    python recipes/face/raw_spaces.py --output recipes-out
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from life_cycle import simulated_pairs
from paper import TABLE_1, Cell
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.aligners import fit_kernel, match_variance
from embcompat.evaluation.verification import (
    VerificationPairs,
    count_impostors,
    far_at_frr,
    one_in,
    scenario_pairs,
    threshold_at_frr,
)

CELLS = (Cell("11", "46.4", "multi_branch", 1_680_000, 512), Cell("3", "11", "multi_branch", 60_000, 128))
STRENGTHS = np.linspace(-0.6, 1.2, 37)


def transport(aligner: ec.Aligner, pairs: ec.PairedEmbeddings) -> tuple[np.ndarray, np.ndarray]:
    """Return A and m of the optimal transport m + A(f − m) from the output's Gaussian to the target's.

    A = F^(−½) (F^½ T F^½)^½ F^(−½), with the covariances F of the output and T of the target. Source: Peyré and Cuturi,
    Computational Optimal Transport (2019), section 2.6.
    """
    output, target = (
        side.astype(np.float64) for side in (aligner.transform(pairs.source.vectors), pairs.target.vectors)
    )
    root = power(np.cov(output, rowvar=False), 0.5)
    inverse = power(np.cov(output, rowvar=False), -0.5)
    return inverse @ power(root @ np.cov(target, rowvar=False) @ root, 0.5) @ inverse, output.mean(axis=0)


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Raise a positive semidefinite matrix to a power."""
    values, vectors = np.linalg.eigh(matrix)
    floor = 1e-9 * values.max()
    return np.asarray((vectors * np.maximum(values, floor) ** exponent) @ vectors.T)


def matched(aligner: Any, matrix: np.ndarray, mean: np.ndarray, strength: float) -> ec.Aligner:
    """Return the aligner whose output goes a part of the way to m + A(f − m)."""
    partial = np.eye(len(matrix)) + strength * (matrix - np.eye(len(matrix)))
    matched_aligner: ec.Aligner = aligner.with_output_map(partial, mean - partial @ mean)
    return matched_aligner


def choose_strength(aligner: ec.Aligner, matrix: np.ndarray, mean: np.ndarray, held_out: ec.PairedEmbeddings) -> float:
    """Return the least strength at which scenario 3 accepts no more than scenario 1, both at scenario 1's threshold."""
    new = held_out.target
    native = scenario_pairs(held_out.source, new, new)["S1"]
    threshold = threshold_at_frr(native.genuine.scores, 0.05, votes=native.genuine.votes)
    aim = count_impostors(native, [threshold]).far[0]
    for strength in STRENGTHS:
        converted = ec.convert_embeddings(matched(aligner, matrix, mean, strength), held_out.source, new.space)
        pairs = scenario_pairs(held_out.source, new, converted)["S3"]
        if count_impostors(pairs, [threshold]).far[0] <= aim:
            return float(strength)
    return float(STRENGTHS[-1])


def measure(aligner: ec.Aligner, test: ec.PairedEmbeddings, frr: float) -> dict[str, dict[str, float]]:
    """Measure scenarios 1 to 4 at scenario 1's threshold, and at their own."""
    converted = ec.convert_embeddings(aligner, test.source, test.target.space)
    scenarios = scenario_pairs(test.source, test.target, converted)
    native: VerificationPairs = scenarios["S1"]
    threshold = threshold_at_frr(native.genuine.scores, frr, votes=native.genuine.votes)
    return {
        name: {
            "frr": float(pairs.genuine.rejected(threshold)),
            "far": float(count_impostors(pairs, [threshold]).far[0]),
            "far_at_frr": far_at_frr(pairs, frr).far,
        }
        for name, pairs in scenarios.items()
        if name != "old"
    }


def run(cell: Cell, subjects: int, tested: int, *, seed: int) -> dict[str, Any]:
    """Fit on simulated subjects and measure on others."""
    pairs = simulated_pairs(cell.source, cell.target, subjects, part="train", seed=seed)
    split = ec.split_pairs(pairs, validation=0.3, test=0, seed=seed)
    test = simulated_pairs(cell.source, cell.target, tested, part="test", seed=seed)
    kernel = fit_kernel(split.train, split.validation, seed=seed)
    matrix, mean = transport(kernel, split.validation)
    scale = np.eye(len(matrix)) * np.sqrt(np.trace(matrix @ matrix) / len(matrix))
    strengths = {
        name: choose_strength(kernel, way, mean, split.validation)
        for name, way in (("as a whole", scale), ("per direction", matrix))
    }
    ways = {
        "kernel": kernel,
        "stretched to the target's variance": match_variance(kernel, split.validation),
        "moved to it per direction": matched(kernel, matrix, mean, 1.0),
        "calibrated as a whole": matched(kernel, scale, mean, strengths["as a whole"]),
        "calibrated per direction": matched(kernel, matrix, mean, strengths["per direction"]),
    }
    rows = TABLE_1[cell]
    return {
        "fitted_subjects": subjects,
        "test_subjects": tested,
        "strengths": strengths,
        "ways": {name: measure(way, test, rows[0].frr) for name, way in ways.items()},
        "paper": {f"S{number}": {"frr": row.frr, "far": 1 / row.one_in} for number, row in enumerate(rows, start=1)},
    }


def show(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}, simulated: FRR and FAR at scenario 1's threshold | FAR at its FRR")
    for way, scenarios in result["ways"].items():
        for scenario, row in scenarios.items():
            if scenario != "S1" or way == "kernel":
                times = row["far"] / scenarios["S1"]["far"] if scenarios["S1"]["far"] else float("nan")
                at_frr = one_in(row["far_at_frr"])
                print(f"  {way:42s} {scenario} {row['frr']:6.2%} {one_in(row['far']):>12s} (× {times:.2f}) | {at_frr}")
    print("  the paper, multi-branch, its own faces")
    for scenario, row in result["paper"].items():
        times = row["far"] / result["paper"]["S1"]["far"]
        print(f"  {'':42s} {scenario} {row['frr']:6.2%} {one_in(row['far']):>12s} (× {times:.2f})")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--subjects", type=int, default=10_000, help="simulated subjects to fit on")
    parser.add_argument("--tested", type=int, default=5_000, help="simulated subjects to test on")
    options = parser.parse_args(arguments)
    subjects, tested = (600, 300) if options.smoke else (options.subjects, options.tested)
    results = {}
    for cell in CELLS[:1] if options.smoke else CELLS:
        name = f"{cell.source} → {cell.target}"
        results[name] = run(cell, subjects, tested, seed=options.seed)
        show(name, results[name])
    write_result(options, "raw_spaces", {"cells": results})


if __name__ == "__main__":
    main()
