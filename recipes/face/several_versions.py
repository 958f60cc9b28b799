"""Versions 3, 11, 16 and 27 beside 46.4 in one gallery: each with its own aligner, or through its successors.

    python recipes/face/several_versions.py --data DATA --output recipes-out

The versions are the simulated life-cycle's (see life_cycle.py). The paper proposes this setting (its Figure 1,
equations 1 and 2) and prints no figures for it, so there are none to compare with. Tables:

* equation 1, dist(A_k,m(e_k), M_m(f)): a converted anchor against a new positive, converted by the aligner k → 46.4,
  or by a chain of aligners from version to version;
* equation 2, dist(A_k,m(e_k), A_l,m(e_l)): two old versions, both converted to 46.4;
* one gallery that holds a fifth of the subjects in each version, all converted, searched by the newest model;
* the compatibility of every two versions: the older side converted directly to the newer one.

With --data also both equations on LFW: two unrelated old models, both converted to a third.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from lfw import MODEL_PAIRS, load_pairs
from life_cycle import simulate
from numpy.typing import NDArray
from paper import TEST_SUBJECTS
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.chains import compose, convert_through, evaluate_path
from embcompat.evaluation.compatibility import CompatibilityMatrix, compatibility_matrix
from embcompat.evaluation.verification import VerificationPairs, far_at_frr, frr_at_far, rates_at

VERSIONS = ("3", "11", "16", "27", "46.4")
"""Oldest first. A smoke run takes the newest three."""

NEWEST = VERSIONS[-1]
FRR, FAR = 0.05, 1e-4

Faces = dict[str, ec.Embeddings]
Artifacts = dict[tuple[str, str], ec.Artifact]
Vectors = NDArray[np.float32]


def fit_all(kind: str, train: Faces, folder: Path, *, seed: int) -> Artifacts:
    """Fit and save the aligners from every version to every newer one."""
    artifacts = {}
    for old, new in combinations(train, 2):
        split = ec.split_pairs(ec.PairedEmbeddings(train[old], train[new]), test=0, seed=seed)
        aligner = ec.fit_aligner(kind, split.train, split.validation, seed=seed)
        spaces = {"source": train[old].space, "target": train[new].space}
        artifacts[old, new] = ec.save_artifact(aligner, folder / f"{old}-{new}", split=split, **spaces)
        print(f"fitted {old} → {new}", flush=True)
    return artifacts


def steps_to_newest(name: str, artifacts: Artifacts) -> list[ec.Artifact]:
    """Return the aligners from a version to its successor, and on to the newest."""
    return [artifacts[each] for each in pairwise(VERSIONS[VERSIONS.index(name) :])]


def convert(faces: ec.Embeddings, steps: Sequence[ec.Artifact]) -> Vectors:
    """Convert by artifacts, one after the other; none leaves the vectors as they are."""
    return convert_through(steps, faces).vectors


def pair_up(anchors: Vectors, positives: Vectors) -> VerificationPairs:
    """Compare all anchors with all positives, by the Euclidean distance; the rows of `simulate` alternate."""
    subjects = np.arange(len(anchors) // 2)
    return VerificationPairs(anchors[0::2], positives[1::2], subjects, subjects, "euclidean")


def figures(pairs: VerificationPairs, threshold: float) -> dict[str, float]:
    """Return the FAR at the pairs' own FRR of 5 %, and both rates at a fixed threshold."""
    fixed = rates_at(pairs, threshold)
    return {"far_at_frr": far_at_frr(pairs, FRR).far, "frr": fixed.frr, "far": fixed.far}


def measure_conversions(test: Faces, artifacts: Artifacts) -> dict[str, Any]:
    """Measure equations 1 and 2 and the shared gallery, at the threshold of 46.4 among itself."""
    older, new = list(test)[:-1], test[NEWEST].vectors
    native = far_at_frr(pair_up(new, new), FRR)
    direct = {name: convert(test[name], [artifacts[name, NEWEST]]) for name in older} | {NEWEST: new}
    results: dict[str, Any] = {"native": figures(pair_up(new, new), native.threshold)}
    results |= {"equation_1": {}, "equation_2": {}}
    for name in older:
        steps = steps_to_newest(name, artifacts)
        line = {"direct": figures(pair_up(direct[name], new), native.threshold)}
        if len(steps) > 1:
            composed = compose(steps).transform(test[name].vectors)
            line["composed"] = figures(pair_up(composed, new), native.threshold)
        results["equation_1"][name] = line
    for old, newer in combinations(older, 2):
        results["equation_2"][f"{old}, {newer}"] = figures(pair_up(direct[old], direct[newer]), native.threshold)
    version_of = np.arange(len(new)) // 2 % len(direct)
    gallery = np.choose(version_of[:, None], list(direct.values()))
    results["one_gallery"] = figures(pair_up(gallery, new), native.threshold)
    return results


def measure_compatibility(test: Faces, artifacts: Artifacts) -> CompatibilityMatrix:
    """Measure 1 − FRR at a FAR of 1/10,000 of every version's anchors and every version's gallery."""

    def measure(queries: str, gallery: str) -> float:
        newer = max(queries, gallery, key=list(test).index)
        sides = [convert(test[name], [artifacts[name, newer]] if name != newer else []) for name in (gallery, queries)]
        return 1 - frr_at_far(pair_up(*sides), FAR).frr

    return compatibility_matrix(list(test), measure)


def measure_chains(test: Faces, artifacts: Artifacts, *, seed: int) -> dict[str, Any]:
    """Ask how often a converted vector finds its own image among 2,000, direct and composed."""
    chains = {}
    for name in list(test)[:-2]:
        pairs = ec.PairedEmbeddings(test[name], test[NEWEST]).select(np.arange(min(2_000, len(test[name]))))
        steps, direct = steps_to_newest(name, artifacts), artifacts[name, NEWEST]
        report = evaluate_path(steps, direct, pairs, metric="recall@1", seed=seed)
        chains[name] = report.to_dict()
    return chains


def measure_faces(data: Path, kind: str, *, seed: int) -> dict[str, Any]:
    """Measure both equations on LFW: two unrelated old models, both converted to a third; held-out people."""
    codes, sides, native = None, {}, {}
    for old, new in MODEL_PAIRS:
        split = ec.split_pairs(load_pairs(data, old, new), test=0.3, seed=seed)
        sides[old] = ec.fit_aligner(kind, split.train, split.validation, seed=seed).transform(split.test.source.vectors)
        native[new] = split.test.target.vectors
        codes = np.unique(split.test.target.labels.astype(str), return_inverse=True)[1]
    ((newest, new_vectors),) = native.items()

    def far(left: Vectors, right: Vectors) -> float:
        return far_at_frr(VerificationPairs(left, right, codes, codes, "cosine", same_items=True), FRR).far

    return {
        "newest": newest,
        "native": far(new_vectors, new_vectors),
        "equation_1": {old: far(vectors, new_vectors) for old, vectors in sides.items()},
        "equation_2": {f"{a}, {b}": far(sides[a], sides[b]) for a, b in combinations(sides, 2)},
    }


def one_in(rate: float) -> str:
    return f"1/{1 / rate:,.0f}" if rate else "none"


def print_tables(results: dict[str, Any]) -> None:
    """Print what was found."""
    print(f"\nAll converted to {NEWEST}; FAR at an FRR of 5 % | FRR and FAR at the threshold of {NEWEST} among itself")
    lines = {f"{NEWEST} among itself": results["native"]}
    for name, line in results["equation_1"].items():
        lines |= {f"eq. 1: {name} ({how}) against {NEWEST}": each for how, each in line.items()}
    lines |= {f"eq. 2: {names}": each for names, each in results["equation_2"].items()}
    lines |= {f"one gallery of all versions against {NEWEST}": results["one_gallery"]}
    for name, each in lines.items():
        print(f"{name:46}{one_in(each['far_at_frr']):>12} |{each['frr']:8.2%}{one_in(each['far']):>12}")
    print("\nA converted vector finds its own image among 2,000: composed / direct")
    for name, each in results["chains"].items():
        print(f"{name:>6} → {NEWEST}: {each['chain']['value']:.3f} / {each['direct']['value']:.3f}")
    matrix = results["compatibility"]
    print("\n1 − FRR at a FAR of 1/10,000; row = version of the queries, column = version of the gallery")
    print(" " * 6 + "".join(f"{name:>8}" for name in matrix["versions"]))
    for name, row in zip(matrix["versions"], matrix["values"], strict=True):
        print(f"{name:6}" + "".join(f"{value:8.3f}" for value in row))
    print(f"average compatibility {matrix['average_compatibility']:.2f}")
    if (faces := results.get("faces")) is not None:
        print(f"\nLFW, held-out people, all converted to {faces['newest']}: FAR at an FRR of 5 %")
        print(f"{faces['newest']} among itself {one_in(faces['native'])}")
        for equation in ("equation_1", "equation_2"):
            for name, rate in faces[equation].items():
                print(f"{equation.replace('_', ' ')}: {name} {one_in(rate)}")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Fit all aligners and measure them."""
    kind = "ridge" if options.smoke else options.kind
    versions = VERSIONS[-3:] if options.smoke else VERSIONS
    fitted, tested = (300, 200) if options.smoke else (options.subjects, TEST_SUBJECTS)
    train = simulate(versions, fitted, part="train", seed=options.seed)
    test = simulate(versions, tested, part="test", seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        artifacts = fit_all(kind, train, Path(folder), seed=options.seed)
        results = measure_conversions(test, artifacts)
        results["chains"] = measure_chains(test, artifacts, seed=options.seed)
        results["compatibility"] = measure_compatibility(test, artifacts).to_dict()
    if options.data is not None:
        results["faces"] = measure_faces(options.data, kind, seed=options.seed)
    return {"kind": kind, "fitted_subjects": fitted, "test_subjects": tested, **results}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--kind", default="kernel", help="kind of the aligners")
    parser.add_argument("--subjects", type=int, default=5_000, help="subjects to fit on")
    options = parser.parse_args(arguments)
    results = run(options)
    print_tables(results)
    write_result(options, "several_versions", results)


if __name__ == "__main__":
    main()
