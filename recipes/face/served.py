"""What a service adds to an aligner: normalized scores, templates of several images, a canary that shows nobody.

The recommended aligner and Dense on the upgrades and folds of ``beat_the_paper.py``, whose fits are taken where OUTPUT
holds them. Everything is by person, on people who were not fitted, with paired intervals against the same aligner
without the addition.

    python recipes/face/served.py --data DATA --output recipes-out

Each fold is written as soon as it is measured, so that a second run goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fitted import convert, fit_or_load
from lfw import MODEL_PAIRS, load_pairs, stand_in_pairs
from pooled import FRR, count_errors, person_folds, pool, pooled_ratio
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.aligners import reweight
from embcompat.embeddings import normalize_rows
from embcompat.evaluation.verification import (
    AnyCohort,
    SubjectDraws,
    VerificationPairs,
    draw_subjects,
    far_at_frr,
    make_score_cohort,
    make_score_moments,
    normalized_pairs,
    one_in,
    scenario_pairs,
    threshold_at_frr,
)
from embcompat.export import blend_people
from embcompat.export.convertibility import fit_convertibility
from embcompat.migration.checks import outranked_share
from embcompat.selection.fitting import fit_ensemble

FOLDS = 5
PEOPLE = (100, 300, 1_000, 4_096)
"""How many people scores are normalized by: all there are, for the last."""

STRENGTHS = (0.5, 2.0, 4.0, 8.0)
"""Of the reweighting; 1 is the default."""

TEMPLATE_FRR = 0.01
IMAGES = 8
"""Images in a template at most; half of a person's."""


def fit_lines(split: ec.PairSplit, folder: Path, *, seed: int, smoke: bool) -> dict[str, ec.Aligner]:
    """Fit Dense and the mean of kernel and network, or take them from an earlier run."""
    short: dict[str, Any] = {"epochs": 2} if smoke else {}
    dense, residual = (fit_or_load(name, split, folder, seed=seed, **short)[0] for name in ("dense", "residual"))
    return {"dense": dense, "ensemble": fit_ensemble(split.train, split.validation, network=residual, seed=seed)}


def measure_fold(split: ec.PairSplit, folder: Path, *, seed: int, smoke: bool) -> dict[str, Any]:
    """Measure everything on the people that a fold holds out."""
    aligners = fit_lines(split, folder, seed=seed, smoke=smoke)
    weighted = {
        strength: reweight(aligners["ensemble"], split.validation, labelled=split.train.target, strength=strength)
        for strength in (1.0, *STRENGTHS)
    }
    old, new = split.test.source, split.test.target
    sides = {strength: convert(aligner, split.test) for strength, aligner in weighted.items()}
    plain = scenario_pairs(old, new, sides[1.0], all_images=True)
    draws = draw_subjects(plain["S1"], seed=seed, replicates=50 if smoke else 1_000)
    fixed = threshold_at_frr(plain["S1"].genuine.scores, FRR, votes=plain["S1"].genuine.votes)
    lines = {"ours": count_errors(plain["S3"], fixed, draws)}
    for strength in STRENGTHS:
        pairs = scenario_pairs(old, new, sides[strength], all_images=True)["S3"]
        lines[f"strength {strength:g}"] = count_errors(pairs, fixed, draws)
    lines |= count_normalized(plain["S3"], convert(weighted[1.0], split.train), split.train.target, draws, seed=seed)
    dense = convert(aligners["dense"], split.test)
    return {
        "lines": lines,
        "impostor_votes": draws.impostor_votes.tolist(),
        "templates": measure_templates(split, sides[1.0].vectors, dense.vectors, seed=seed),
        "canary": measure_canary(aligners["ensemble"], split.test, seed=seed),
    }


def count_normalized(
    pairs: VerificationPairs, converted: ec.Embeddings, native: ec.Embeddings, draws: SubjectDraws, *, seed: int
) -> dict[str, Any]:
    """Count errors with the queries normalized by some of the training people, or by their statistics."""
    lines = {}
    there = len(set(np.asarray(native.labels).tolist()))
    for people in sorted({min(number, there) for number in PEOPLE}):
        name = "all" if people == min(there, PEOPLE[-1]) else f"{people:,}"
        ways: dict[str, AnyCohort] = {
            f"{name} people": make_score_cohort(converted, native, people=people, seed=seed).converted
        }
        if people > 5 * native.space.dim:  # fewer are refused
            ways[f"statistics of {name}"] = make_score_moments(converted, native, people=people, seed=seed).converted
        for way, cohort in ways.items():
            scored = normalized_pairs(pairs, None, cohort.statistics(pairs.positives))
            lines[way] = count_errors(scored, 0.0, draws)
    return lines


def measure_templates(
    split: ec.PairSplit, converted: np.ndarray, dense: np.ndarray, *, seed: int
) -> dict[str, dict[str, float]]:
    """Compare the mean of several images of a person with one image, as the gallery that new images meet."""
    test = split.test
    people = np.unique(np.asarray(test.labels).astype(str), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    enrolled, probes = [], []
    for person in np.flatnonzero(np.bincount(people) >= 4):
        rows = rng.permutation(np.flatnonzero(people == person))
        half = min(len(rows) // 2, IMAGES)
        enrolled.append(rows[:half])
        probes.append(rows[half:])
    rows, codes = np.concatenate(probes), np.repeat(np.arange(len(probes)), [len(each) for each in probes])

    def far(templates: list[np.ndarray], probe: np.ndarray) -> dict[str, float]:
        pairs = VerificationPairs(np.stack(templates), probe[rows], np.arange(len(templates)), codes, "cosine")
        errors = far_at_frr(pairs, TEMPLATE_FRR)
        return {"far": errors.far, "false_acceptances": errors.false_acceptances, "votes": pairs.impostor_votes}

    new = test.target.vectors.astype(np.float64)
    old = normalize_rows(test.source.vectors).astype(np.float64)
    nearness = agreement_with_others(converted.astype(np.float64), enrolled)
    galleries = {"converted": converted, "new": new, "dense": dense, "old": old}
    result = {}
    for name, gallery in galleries.items():
        probe = old if name == "old" else new
        result[f"{name}, one image"] = far([gallery[each[0]] for each in enrolled], probe)
        result[f"{name}, mean"] = far([gallery[each].mean(axis=0) for each in enrolled], probe)
    distances = fit_convertibility(split.train.source.vectors, split.validation.source.vectors)
    trust = np.ones(len(test)) if distances is None else 1 / distances.score(test.source.vectors)
    for what, weights in (("agreement", nearness), ("convertibility", trust)):
        weighted = [(weights[each][:, np.newaxis] * converted[each]).sum(axis=0) for each in enrolled]
        result[f"converted, mean weighted by {what}"] = far(weighted, new)
    return result


def agreement_with_others(vectors: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Return the cosine of each row with the mean of its group, at least 0."""
    result = np.zeros(len(vectors))
    for rows in groups:
        mean = vectors[rows].mean(axis=0)
        result[rows] = np.maximum(vectors[rows] @ mean / np.linalg.norm(mean), 0)
    return result


def measure_canary(aligner: ec.Aligner, test: ec.PairedEmbeddings, *, seed: int) -> dict[str, float]:
    """Try a canary of people and one of blends: with the right map, and in the wrong direction."""
    blends = blend_people(test, seed=seed)
    first = np.unique(np.asarray(test.labels).astype(str), return_index=True)[1][:64]
    people = test.source.vectors[first], test.target.vectors[first]
    vectors = test.target.vectors.astype(np.float64)
    return {
        "people": outranked_share(aligner.transform(people[0]), people[1], "cosine"),
        "blends": outranked_share(aligner.transform(blends[0]), blends[1], "cosine"),
        "blends, wrong way": outranked_share(aligner.transform(blends[1]), blends[0], "cosine"),
        "nearest person": float((normalize_rows(blends[1]) @ vectors.T).max(axis=1).mean()),
    }


def summarize(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pool the folds."""
    votes = [fold["impostor_votes"] for fold in folds]
    by_line = {name: [fold["lines"][name] for fold in folds] for name in folds[0]["lines"]}
    templates = {}
    for name in folds[0]["templates"]:
        rates, weights = ([fold["templates"][name][key] for fold in folds] for key in ("far", "votes"))
        templates[name] = float(np.average(rates, weights=weights))
    return {
        "folds": len(folds),
        "lines": {
            name: pool(counts, votes) | {"to_ours": pooled_ratio(counts, by_line["ours"], votes)}
            for name, counts in by_line.items()
        },
        "templates": templates,
        "canary": {name: [fold["canary"][name] for fold in folds] for name in folds[0]["canary"]},
    }


def show(name: str, summary: dict[str, Any]) -> None:
    print(f"\n{name}, {summary['folds']} folds: FAR at FRR 5 % in scenario 3, as a multiple of ours (95 %)")
    for line, row in summary["lines"].items():
        ratio = row["to_ours"]
        times = "" if ratio["value"] is None else "{value:.3f} ({low:.3f} to {high:.3f})".format(**ratio)
        print(f"  {line:24s} {one_in(row['far_at_frr']['value']):>14s}  {times}  FRR at S1's {row['fixed_frr']:.1%}")
    print(f"templates: FAR at FRR {TEMPLATE_FRR:.0%}")
    for line, far in summary["templates"].items():
        print(f"  {line:40s} {one_in(far)}")
    print(f"canary: {summary['canary']}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the five folds to measure")
    options = parser.parse_args(arguments)
    upgrades: dict[str, Any] = {}
    for old, new in MODEL_PAIRS[:1] if options.smoke else MODEL_PAIRS:
        name = f"{old} → {new}" if options.data else "stand-in"
        pairs = load_pairs(options.data, old, new) if options.data else stand_in_pairs(subjects=600, seed=options.seed)
        folds = []
        splits = person_folds(pairs, folds=FOLDS, seed=options.seed)
        for number, split in enumerate(splits[: 1 if options.smoke else options.folds]):
            part = "smoke" if options.smoke else "fits"
            folder = options.output / f"beat_the_paper-{part}" / f"{old}-{new}" / f"fold-{number}"
            path = folder / "served.json"
            if not path.exists():
                figures = measure_fold(split, folder, seed=options.seed + number, smoke=options.smoke)
                path.write_text(json.dumps(figures))
            folds.append(json.loads(path.read_text()))
            print(f"{name}: fold {number} measured", flush=True)
        upgrades[name] = summarize(folds)
        show(name, upgrades[name])
    write_result(options, "served", {"frr": FRR, "template_frr": TEMPLATE_FRR, "upgrades": upgrades})


if __name__ == "__main__":
    main()
