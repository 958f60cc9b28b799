"""Choosing an aligner for verification, refitting and the score cohort included, beside the chosen fit alone.

Both are `ec.fit_artifact`, all that ``embcompat fit --task verification`` does: once with ``--kind auto``, and once
with the kind that it chose, given by name and refitted.

    python benchmarks/fit_verification.py --pairs 6500 --repeats 3 --out fit_verification.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import alternate, describe, line_at_most, median_ratio, write_results

from embcompat.embeddings import Embeddings, PairedEmbeddings, normalize_rows
from embcompat.selection import fit_artifact
from embcompat.spaces import SpaceVersion

SOURCE_DIM, TARGET_DIM, IMAGES = 192, 128, 5
LATENT_DIM, HIDDEN = 96, 256
AIM = 1.2


def make_pairs(count: int) -> PairedEmbeddings:
    """Make images of people under two models, each a random network."""
    rng = np.random.default_rng(0)
    people = np.arange(count) // IMAGES
    identities = rng.standard_normal((people[-1] + 1, LATENT_DIM), dtype=np.float32)[people]
    images = identities + np.float32(0.6) * rng.standard_normal(identities.shape, dtype=np.float32)
    ids, labels = [f"image-{row}" for row in range(count)], [f"person-{person}" for person in people]

    def embed(name: str, dim: int, noise: float) -> Embeddings:
        into = rng.standard_normal((LATENT_DIM, HIDDEN), dtype=np.float32) / np.float32(LATENT_DIM**0.5)
        out = rng.standard_normal((HIDDEN, dim), dtype=np.float32) / np.float32(HIDDEN**0.5)
        vectors = np.maximum(images @ into, 0) @ out
        vectors = (vectors - vectors.mean(axis=0)) / vectors.std()
        vectors += np.float32(noise) * rng.standard_normal(vectors.shape, dtype=np.float32)
        space = SpaceVersion(name=name, version="1", dim=dim, normalized=True)
        return Embeddings(normalize_rows(vectors), ids, space, labels)

    return PairedEmbeddings(embed("old", SOURCE_DIM, 0.2), embed("new", TARGET_DIM, 0.1))


def measure(count: int, repeats: int, cohort: int) -> dict[str, Any]:
    pairs = make_pairs(count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact"
        options: dict[str, Any] = {"task": "verification", "score_cohort": cohort, "canary": False, "overwrite": True}
        chosen: list[str] = []

        def auto() -> None:
            selection = fit_artifact(pairs, path, **options).selection
            assert selection is not None
            chosen.append(selection.candidate.name)

        def alone() -> None:
            fit_artifact(pairs, path, kind=chosen[-1], refit=True, **options)

        seconds = alternate({"auto": auto, "chosen": alone}, repeats=repeats)
    return line_at_most(
        f"fit --kind auto --task verification, {count:,} pairs {SOURCE_DIM} → {TARGET_DIM}",
        f"fit with the kind that it chose: {chosen[-1]}",
        median_ratio(seconds, "auto", "chosen"),
        AIM,
        seconds,
        runs=("auto", "chosen"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6_500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--score-cohort", type=int, default=200, help="people whose vectors the artifact stores")
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sizes = (400, 1, 20) if options.smoke else (options.pairs, options.repeats, options.score_cohort)
    results = {"machine": describe("torch", "lightning"), "smoke": options.smoke, "lines": [measure(*sizes)]}
    write_results(results, options.out)


if __name__ == "__main__":
    main()
