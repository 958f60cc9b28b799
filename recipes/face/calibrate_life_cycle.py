"""Find the numbers of the simulated life-cycle, and write ``life_cycle.json`` beside this script.

    python recipes/face/calibrate_life_cycle.py

* ``kept``, in closed form. A regression's output has the part of the target's variance that it can predict, and the
  mean impostor distance of scenario 2 is the converted vectors' own: so the part of version b that version a knows is
  (mean impostor distance of S2 / of S1)² of the aligner a → b in Table 1 [derived]. Steps between are quotients.
* ``scale``, ``image_noise`` and ``spectrum``, by search: the scale from the mean impostor distance, the noise from the
  ratio of genuine to impostor distance, the spectrum from the FAR at the paper's FRR.
* Version 3 is only ever a source in the paper, so that nothing is known of it. It gets the distances and the FAR that
  its converted vectors have among themselves (scenario 2 of 3 → 11) [ours].
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from life_cycle import Version, scenario_1, simulate
from paper import SCENARIO_1, TABLE_1, TEST_SUBJECTS, Cell, Row

STEP_TO_11 = TABLE_1[Cell("3", "11", "multi_branch", 60_000, 128)]
STEP_TO_16 = TABLE_1[Cell("11", "16", "multi_branch", 60_000, 128)]
STEP_TO_27 = TABLE_1[Cell("11", "27", "multi_branch", 60_000, 128)]
STEP_TO_46 = TABLE_1[Cell("11", "46.4", "multi_branch", 1_680_000, 512)]

AIMS: dict[str, Row] = {"3": STEP_TO_11[1], **SCENARIO_1}
"""What each version must measure among itself."""

LEAST = 1e-8
"""What a FAR without a single false accept counts as, so that the search can go on."""

SLOPE = 22.0
"""About how fast the logarithm of the FAR rises with the spectrum's exponent; only the speed of the search."""


def kept_variance() -> dict[str, float]:
    """Return the part of each version's variance that the version before it knows."""
    known = {
        name: (rows[1].mean_impostor / rows[0].mean_impostor) ** 2
        for name, rows in {"11": STEP_TO_11, "16": STEP_TO_16, "27": STEP_TO_27, "46.4": STEP_TO_46}.items()
    }
    return {
        "3": 0.0,
        "11": known["11"],
        "16": known["16"],
        "27": known["27"] / known["16"],
        "46.4": known["46.4"] / known["27"],
    }


def improve(versions: dict[str, Version], *, seeds: int, subjects: int) -> dict[str, Version]:
    """Take one step of the search, on the mean of several samples of people."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    for seed in range(seeds):
        faces = simulate(list(versions), subjects, part="test", seed=seed, versions=versions)
        for name, aim in AIMS.items():
            found[name].append(scenario_1(faces[name], frr=aim.frr, seed=seed))
    better = {}
    for name, version in versions.items():
        aim, lines = AIMS[name], found[name]
        genuine, impostor, far = (
            float(np.mean([line[key] for line in lines])) for key in ("mean_genuine", "mean_impostor", "far")
        )
        print(f"{name:5} {genuine:.4f} {impostor:.4f} 1/{1 / max(far, LEAST):,.0f}", flush=True)
        better[name] = replace(
            version,
            scale=version.scale * aim.mean_impostor / impostor,
            image_noise=version.image_noise * (aim.mean_genuine / aim.mean_impostor) / (genuine / impostor),
            spectrum=version.spectrum - (math.log(max(far, LEAST)) + math.log(aim.one_in)) / SLOPE,
        )
    return better


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("life_cycle.json"))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3, help="samples of people; seed 0 is the one recipes report")
    parser.add_argument("--subjects", type=int, default=TEST_SUBJECTS)
    options = parser.parse_args()
    versions = {name: Version(name, kept, 1.0, 0.45, 0.1) for name, kept in kept_variance().items()}
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
