"""Raw Euclidean spaces, as in the paper: what takes the place of unit vectors there.

Closed-form aligners beside Table 1 on the simulated life-cycle (see life_cycle.py; the paper's figures are of other
faces), and with --data on the raw vectors of face models that exist, LFW. Scenario 3, converted against new, is
measured three times: at scenario 1's threshold, as in the paper; at its own threshold for scenario 1's false reject
rate; and at a threshold that keeps scenario 1's false accept rate on held-out subjects (*transferred*). The part
``networks`` does the same with networks, on fewer simulated subjects; ``normalized`` normalizes the queries' scores on
LFW, with paired intervals over people.

    python recipes/face/raw_spaces.py --data DATA --output recipes-out
    python recipes/face/raw_spaces.py --data DATA --output recipes-out --parts networks normalized

A part that is left out keeps what OUTPUT holds of it.

*Stretched*: the output varies as much as the target (`match_variance`). *Per direction*: the same for each direction,
by the optimal transport between two Gaussians. *One length*: every converted vector has one distance from the mean.
*Reweighted*: that, after unreliable directions were weighted down (`reweight`). The oracle knows the latent point and
the noise of every simulated image, which no aligner does, and its scale is chosen on the test itself, so that it has
1.1 times scenario 1's false accepts, or as many times as the paper's aligner.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from lfw import load_pairs, stand_in_pairs
from life_cycle import encode, read_versions, simulate_views, simulated_pairs
from paper import TABLE_1, Cell
from pooled import FRR
from raw_normalized import run_normalized, show_normalized
from raw_ways import LENGTHS, lengthened, list_networks, list_ways
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.aligners import ReweightedAligner
from embcompat.evaluation.verification import (
    VerificationPairs,
    count_impostors,
    far_at_frr,
    frr_at_far,
    one_in,
    scenario_pairs,
    threshold_at_frr,
)

CELLS = (Cell("11", "46.4", "multi_branch", 1_680_000, 512), Cell("3", "11", "multi_branch", 60_000, 128))
DEVELOPMENT = (("mfn_b", "mfn_a"), ("dlib", "mfn_a"))
"""The upgrades on which the length was chosen."""

REPORTED = (("mfn_a", "mfn_b"), ("dlib", "mfn_b"))
ALLOWED = 1.1
"""False accept rate that the oracle may have, in multiples of scenario 1's, beside the paper's."""


class Test:
    """Scenario 1 of some people, and what an aligner makes of scenarios 2 to 4.

    Args:
        split: The pairs; the validation part transfers thresholds.
        frr: False reject rate of scenario 1.
        all_images: Whether a subject has more than two images.
    """

    def __init__(self, split: ec.PairSplit, frr: float, *, all_images: bool) -> None:
        self.split, self.frr, self.all_images = split, frr, all_images
        native = self.scenarios(split.test, None)
        self.native, self.old = native["S1"], native["old"]
        self.threshold = threshold_at_frr(self.native.genuine.scores, frr, votes=self.native.genuine.votes)
        self.far = self.false_accepts(self.native)
        self.held_out_far = self.false_accepts(self.scenarios(split.validation, None)["S1"])

    def scenarios(self, pairs: ec.PairedEmbeddings, aligner: ec.Aligner | None) -> dict[str, VerificationPairs]:
        """Return the scenarios of some pairs; scenario 1 and old alone are meant where there is no aligner."""
        new = pairs.target
        converted = new if aligner is None else ec.convert_embeddings(aligner, pairs.source, new.space)
        return scenario_pairs(pairs.source, new, converted, all_images=self.all_images)

    def false_accepts(self, pairs: VerificationPairs, threshold: float | None = None) -> float:
        """Return the false accept rate at a threshold; at scenario 1's when None."""
        return float(count_impostors(pairs, [self.threshold if threshold is None else threshold]).far[0])

    def measure(self, aligner: ec.Aligner) -> dict[str, dict[str, float]]:
        """Measure scenarios 2 to 4 at the three thresholds."""
        scenarios = self.scenarios(self.split.test, aligner)
        held_out = self.scenarios(self.split.validation, aligner)["S3"]
        transferred = frr_at_far(held_out, self.held_out_far).threshold
        lines = {name: self.line(scenarios[name]) for name in ("S2", "S3", "S4")}
        lines["S3"]["transferred_frr"] = float(scenarios["S3"].genuine.rejected(transferred))
        lines["S3"]["transferred_far"] = self.false_accepts(scenarios["S3"], transferred)
        return lines

    def line(self, pairs: VerificationPairs) -> dict[str, float]:
        """Return the rates of a scenario at scenario 1's threshold, and at its own."""
        return {
            "frr": float(pairs.genuine.rejected(self.threshold)),
            "far": self.false_accepts(pairs),
            "far_at_frr": far_at_frr(pairs, self.frr).far,
        }

    def figures(self, ways: Mapping[str, ec.Aligner]) -> dict[str, Any]:
        """Measure scenario 1, the old model among itself, and every way."""
        return {
            "fitted_subjects": len(set(self.split.train.labels.tolist())),
            "test_subjects": len(set(self.split.test.labels.tolist())),
            "S1": self.line(self.native),
            "old": {"far_at_frr": far_at_frr(self.old, self.frr).far},
            "ways": {name: self.measure(aligner) for name, aligner in ways.items()},
        }

    def lengths(self, aligner: ReweightedAligner) -> dict[str, float]:
        """Measure other lengths of a reweighted aligner's output: scenario 3's false accept rate."""
        return {
            f"{factor:g}": far_at_frr(self.scenarios(self.split.test, lengthened(aligner, factor))["S3"], self.frr).far
            for factor in LENGTHS
        }


def simulated_test(cell: Cell, subjects: int, tested: int, *, seed: int) -> Test:
    """Return a test of simulated subjects, with others to fit on."""
    pairs = simulated_pairs(cell.source, cell.target, subjects, part="train", seed=seed)
    split = ec.split_pairs(pairs, validation=0.3, test=0, seed=seed)
    people = simulated_pairs(cell.source, cell.target, tested, part="test", seed=seed)
    return Test(replace(split, test=people), TABLE_1[cell][0].frr, all_images=False)


def lfw_test(source: str, target: str, options: argparse.Namespace) -> Test:
    """Return a test of people of LFW, all their images; the split is that of table1.py."""
    pairs = load_pairs(options.data, source, target, normalized=False)
    return Test(ec.split_pairs(pairs, test=0.3, seed=options.seed), FRR, all_images=True)


def run_simulated(cell: Cell, subjects: int, tested: int, *, seed: int) -> dict[str, Any]:
    """Fit on simulated subjects and measure on others, beside the oracle and the paper."""
    test, rows = simulated_test(cell, subjects, tested, seed=seed), TABLE_1[cell]
    ways = dict(list_ways(test.split, seed=seed))
    return {
        **test.figures(ways),
        "lengths": test.lengths(ways["kernel, reweighted"]),
        "oracle": [
            ask_oracle(test, cell, tested, times, seed=seed) for times in (ALLOWED, rows[0].one_in / rows[2].one_in)
        ],
        "paper": {f"S{number}": {"frr": row.frr, "far": 1 / row.one_in} for number, row in enumerate(rows, start=1)},
    }


def ask_oracle(test: Test, cell: Cell, tested: int, times: float, *, seed: int) -> dict[str, float]:
    """Return scenario 3 at scenario 1's threshold, at the scale with so many times scenario 1's false accepts.

    The oracle encodes the expected person, given the latent point u and the noise σ of the image: √k u / (1 + σ²).
    """
    versions = read_versions()
    views = simulate_views([cell.source], tested, part="test", seed=seed)
    order = list(versions)
    passed = order[order.index(cell.source) + 1 : order.index(cell.target) + 1]
    identity_share = float(np.prod([versions[name].kept_identity for name in passed]))
    noise = versions[cell.source].image_noise * views.quality
    expected = encode(
        versions[cell.target], np.float32(np.sqrt(identity_share)) * views.latent[cell.source] / (1 + noise**2)
    )
    new, mean = test.split.test.target, expected.mean(axis=0)
    low, high = 0.5, 2.0
    for _ in range(8):
        scale = (low + high) / 2
        vectors = (mean + np.float32(scale) * (expected - mean)).astype(np.float32)
        converted = ec.Embeddings(vectors, new.ids, new.space, new.labels)
        line = test.line(scenario_pairs(test.split.test.source, new, converted)["S3"])
        low, high = (scale, high) if line["far"] > times * test.far else (low, scale)
    return {"times": times, "scale": scale, **line}


def run_lfw(source: str, target: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fit on some people of LFW and measure on others."""
    test = lfw_test(source, target, options)
    ways = dict(list_ways(test.split, seed=options.seed))
    return {**test.figures(ways), "lengths": test.lengths(ways["kernel, reweighted"])}


def show(name: str, result: dict[str, Any]) -> None:
    far = result["S1"]["far"]
    print(f"\n{name}: scenario 1 {result['S1']['frr']:.2%}, {one_in(far)}; old {one_in(result['old']['far_at_frr'])}")
    print(f"  {'scenario 3':34s}{'at its threshold':>18}{'transferred':>18}{'at its FRR':>12}")
    for way, scenarios in result["ways"].items():
        row = scenarios["S3"]
        rates = [(row["frr"], row["far"]), (row["transferred_frr"], row["transferred_far"])]
        cells = "".join(f"{frr:9.2%} × {rate / far:6.2f}" for frr, rate in rates)
        print(f"  {way:34s}{cells} × {row['far_at_frr'] / far:9.3f}")
    if "lengths" in result:
        lengths = ", ".join(f"{factor}: × {rate / far:.3f}" for factor, rate in result["lengths"].items())
        print(f"  the last one at its FRR, by length: {lengths}")
    if "paper" in result:
        row, base = result["paper"]["S3"], result["paper"]["S1"]["far"]
        for oracle in result["oracle"]:
            print(f"  {'oracle':34s}{oracle['frr']:9.2%} × {oracle['far'] / far:6.2f}")
        print(f"  {'the paper, its own faces':34s}{row['frr']:9.2%} × {row['far'] / base:6.2f}")


def run_cells(options: argparse.Namespace) -> dict[str, Any]:
    subjects, tested = (600, 300) if options.smoke else (options.subjects, options.tested)
    results = {}
    for cell in CELLS[:1] if options.smoke else CELLS:
        name = f"{cell.source} → {cell.target}"
        results[name] = run_simulated(cell, subjects, tested, seed=options.seed)
        show(name, results[name])
    return results


def run_upgrades(options: argparse.Namespace) -> dict[str, Any]:
    results = {}
    for source, target in (*DEVELOPMENT, *REPORTED) if options.data else ():
        name = f"{source} → {target}"
        results[name] = run_lfw(source, target, options)
        show(name, results[name])
    return results


def run_networks(options: argparse.Namespace) -> dict[str, Any]:
    subjects, tested = (300, 200) if options.smoke else (options.network_subjects, options.network_subjects)
    tests: dict[str, Callable[[], Test]] = {
        f"{cell.source} → {cell.target}, simulated": partial(simulated_test, cell, subjects, tested, seed=options.seed)
        for cell in (CELLS[:1] if options.smoke else CELLS)
    }
    for models in (*DEVELOPMENT, *REPORTED) if options.data else ():
        tests[" → ".join(models)] = partial(lfw_test, *models, options)
    results = {}
    for name, make in tests.items():
        test = make()
        results[name] = test.figures(dict(list_networks(test.split, seed=options.seed, smoke=options.smoke)))
        show(name, results[name])
    return results


def run_normalizations(options: argparse.Namespace) -> dict[str, Any]:
    results = {}
    for models in (*DEVELOPMENT, *REPORTED) if options.data else [()]:
        name = " → ".join(models) or "stand-in"
        if models:
            pairs = load_pairs(options.data, *models, normalized=False)
        else:
            pairs = stand_in_pairs(subjects=200, normalized=False, seed=options.seed)
        results[name] = run_normalized(pairs, seed=options.seed, smoke=not models)
        show_normalized(name, results[name])
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parts = {"cells": run_cells, "lfw": run_upgrades, "networks": run_networks, "normalized": run_normalizations}
    parser = make_parser(__doc__)
    parser.add_argument("--subjects", type=int, default=10_000, help="simulated subjects to fit on")
    parser.add_argument("--tested", type=int, default=5_000, help="simulated subjects to test on")
    parser.add_argument("--network-subjects", type=int, default=3_000, help="the same, of each, for networks")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts), help="what to measure")
    options = parser.parse_args(arguments)
    record = options.output / "raw_spaces.json"
    recorded = json.loads(record.read_text()) if record.exists() and not options.smoke else {}
    results = {part: recorded[part] for part in parts if part in recorded}
    for part in options.parts:
        results[part] = parts[part](options)
        write_result(options, "raw_spaces", results)


if __name__ == "__main__":
    main()
