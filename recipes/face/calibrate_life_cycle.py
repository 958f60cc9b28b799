"""Find the numbers of the simulated life-cycle, and write ``life_cycle.json`` beside this script.

    python recipes/face/calibrate_life_cycle.py

* ``kept_identity`` and ``kept_image``, in closed form from scenarios 1 to 4 of the aligner a → b, see `shared_parts`
  [derived]. Steps between two versions that the paper converts from the same old one are quotients.
* ``scale``, ``image_noise`` and ``likeness``, by search: the scale from the mean impostor distance, the noise from the
  ratio of genuine to impostor distance, the likeness from the FAR at the paper's FRR.
* Version 3 is only ever a source in the paper, so that nothing is known of it. It gets the distances that its
  converted vectors have among themselves (scenario 2 of 3 → 11), and a FAR three times version 11's [ours].
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from life_cycle import Version, scenario_1, simulate
from paper import SCENARIO_1, TABLE_1, TEST_SUBJECTS, Cell, Row

STEP_TO_11 = TABLE_1[Cell("3", "11", "multi_branch", 60_000, 128)]
STEP_TO_16 = TABLE_1[Cell("11", "16", "multi_branch", 60_000, 128)]
STEP_TO_27 = TABLE_1[Cell("11", "27", "multi_branch", 60_000, 128)]
STEP_TO_46 = TABLE_1[Cell("11", "46.4", "multi_branch", 1_680_000, 512)]

AIMS: dict[str, Row] = {"3": replace(STEP_TO_11[1], frr=0.05, one_in=8_000), **SCENARIO_1}
"""What each version must measure among itself."""

LEAST = 1e-8
"""What a FAR without a single false accept counts as, so that the search can go on."""

SLOPE = 14.0
"""About how fast the logarithm of the FAR rises with the likeness; only the speed of the search."""


def shared_parts(rows: Sequence[Row]) -> tuple[float, float]:
    """Return which part of what a new model sees of a person, and of an image, its old model saw too.

    Squared distances are variances and covariances: half of an impostor's is the variance T of new or V of converted
    vectors; T, V or their mean, less half of a genuine pair's, is the covariance C of two images of one person in
    scenarios 1, 2 and 3. A regression's output has with its target its own variance V. So persons correlate by
    C3 / √(C1·C2), and images, which are the rest, by (V − C3) / √((T − C1)·(V − C2)). The table has means of
    distances; their squares lack the spread of log-distances, about 0.2 [derived].

    Args:
        rows: Scenarios 1 to 4.

    Returns:
        The two correlations, squared.
    """
    new, converted, *cross = rows
    spread = math.exp(0.2**2)
    halves = [each.mean_genuine**2 * spread / 2 for each in (new, converted)]
    between = np.mean([each.mean_genuine for each in cross]) ** 2 * spread / 2
    t, v = new.mean_impostor**2 / 2, converted.mean_impostor**2 / 2
    c1, c2, c3 = t - halves[0], v - halves[1], (t + v) / 2 - between
    return float(c3**2 / (c1 * c2)), float((v - c3) ** 2 / ((t - c1) * (v - c2)))


def kept_parts() -> dict[str, tuple[float, float]]:
    """Return `shared_parts` of each version and the one before it."""
    to_11, to_16, to_27, to_46 = (shared_parts(rows) for rows in (STEP_TO_11, STEP_TO_16, STEP_TO_27, STEP_TO_46))
    steps = {"11": (to_11, (1.0, 1.0)), "16": (to_16, (1.0, 1.0)), "27": (to_27, to_16), "46.4": (to_46, to_27)}
    return {"3": (0.0, 0.0)} | {name: (part[0] / last[0], part[1] / last[1]) for name, (part, last) in steps.items()}


def improve(versions: dict[str, Version], *, seeds: int, subjects: int) -> dict[str, Version]:
    """Take one step of the search, on the mean of several samples of people."""
    measurements: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    for seed in range(seeds):
        faces = simulate(list(versions), subjects, part="test", seed=seed, versions=versions)
        for name, aim in AIMS.items():
            measurements[name].append(scenario_1(faces[name], frr=aim.frr, seed=seed))
    better = {}
    for name, version in versions.items():
        aim, lines = AIMS[name], measurements[name]
        genuine, impostor, far = (
            float(np.mean([line[key] for line in lines])) for key in ("mean_genuine", "mean_impostor", "far")
        )
        print(f"{name:5} {genuine:.4f} {impostor:.4f} 1/{1 / max(far, LEAST):,.0f}", flush=True)
        better[name] = replace(
            version,
            scale=version.scale * aim.mean_impostor / impostor,
            image_noise=version.image_noise * (aim.mean_genuine / aim.mean_impostor) / (genuine / impostor),
            likeness=min(0.99, version.likeness - math.log(max(far, LEAST) * aim.one_in) / SLOPE),
        )
    return better


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("life_cycle.json"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3, help="samples of people; seed 0 is the one recipes report")
    parser.add_argument("--subjects", type=int, default=TEST_SUBJECTS)
    options = parser.parse_args()
    versions = {name: Version(name, *parts, 0.68, 0.445, 0.08) for name, parts in kept_parts().items()}
    for step in range(options.steps):
        print(f"step {step + 1} of {options.steps}: mean genuine, mean impostor, FAR", flush=True)
        versions = improve(versions, seeds=options.seeds, subjects=options.subjects)
    rounded = [
        {key: round(value, 5) if isinstance(value, float) else value for key, value in asdict(version).items()}
        for version in versions.values()
    ]
    options.output.write_text(json.dumps({"versions": rounded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
