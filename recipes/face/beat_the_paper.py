"""FC-Aligner's Dense against what embcompat recommends: same space, same similarity, same pairs, other people.

Real faces under three models, unit vectors compared by cosine. The people are cut into five folds; each fold is held
out once, all its images are compared with each other, and rates are averaged by person. Both sides are fitted on the
same pairs. Nothing is tuned to a pair of models: ``tried.py`` shows how the recommendation was found, on other pairs of
models.

    python recipes/face/beat_the_paper.py --data DATA --output recipes-out

Every aligner and every fold's errors are kept in ``OUTPUT/beat_the_paper-fits/`` as soon as they are there, so that a
second run goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fitted import PAPER, convert, fit_or_load
from lfw import MODEL_PAIRS, load_pairs, stand_in_pairs
from pooled import FRR, count_errors, person_folds, pool, pooled_ratio
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.aligners import reweight
from embcompat.evaluation.verification import (
    VerificationPairs,
    draw_subjects,
    make_cohort,
    normalized_pairs,
    one_in,
    scenario_pairs,
    threshold_at_frr,
)
from embcompat.selection.fitting import fit_ensemble

FOLDS = 5
BASES = (PAPER, "dense")
OURS = "ensemble, reweighted"
NORMALIZED = (*BASES, OURS)
NORMALIZATIONS = {"score normalization": False, "queries normalized": True}
"""Both sides, or the queries alone, as a service does it."""

FUSED_WEIGHTS = (0.5, 1.0)
AIMS = {"plain": 0.45, "score normalization": 0.40}


def fit_lines(split: ec.PairSplit, folder: Path, *, seed: int, smoke: bool) -> tuple[dict[str, ec.Aligner], Any]:
    """Fit everything that is compared on one fold; also return the seconds of the fits."""
    short: dict[str, Any] = {"epochs": 2} if smoke else {}
    fitted, seconds = {}, {}
    for name in (PAPER, "dense", "ridge", "kernel", "residual"):
        options = short if name in (PAPER, "dense", "residual") else {}
        fitted[name], seconds[name] = fit_or_load(name, split, folder, seed=seed, **options)
    ensemble = fit_ensemble(split.train, split.validation, network=fitted["residual"], seed=seed)

    def reweighted(aligner: ec.Aligner) -> ec.Aligner:
        return reweight(aligner, split.validation, labelled=split.train.target)

    lines = {name: fitted[name] for name in (PAPER, "dense", "ridge", "kernel", "residual")}
    lines |= {f"{name}, reweighted": reweighted(fitted[name]) for name in ("dense", "kernel", "residual")}
    return lines | {"ensemble": ensemble, OURS: reweighted(ensemble)}, seconds


def normalized(
    pairs: VerificationPairs,
    train: ec.PairedEmbeddings,
    sides: tuple[ec.Embeddings, ec.Embeddings],
    *,
    seed: int,
    queries_only: bool = False,
) -> VerificationPairs:
    """Normalize the scores: each side by its scores against the training people as the other side shows them.

    The positives are the queries: with ``queries_only`` they alone are normalized, as a service can.
    """
    people = len(set(np.asarray(train.labels).tolist()))
    cohorts = [make_cohort(side, top=min(300, people), seed=seed) for side in sides]
    anchors = None if queries_only else cohorts[1].statistics(pairs.anchors)
    return normalized_pairs(pairs, anchors, cohorts[0].statistics(pairs.positives))


def fused(pairs: VerificationPairs, old: VerificationPairs, weight: float) -> VerificationPairs:
    """Add ``weight`` times the old model's own cosine: both models must be alive when faces are compared."""
    root = np.sqrt(weight)
    return VerificationPairs(
        np.hstack([pairs.anchors, root * old.anchors]),
        np.hstack([pairs.positives, root * old.positives]),
        pairs.anchor_subjects,
        pairs.positive_subjects,
        "dot",
        same_items=pairs.same_items,
    )


def measure_fold(split: ec.PairSplit, folder: Path, *, seed: int, smoke: bool) -> dict[str, Any]:
    """Fit on a fold's training people and count the errors of every line on its held-out people."""
    lines, seconds = fit_lines(split, folder, seed=seed, smoke=smoke)
    old, new, train = split.test.source, split.test.target, split.train
    native = scenario_pairs(old, new, new, all_images=True)["S1"]
    draws = draw_subjects(native, seed=seed, replicates=50 if smoke else 1_000)
    fixed = threshold_at_frr(native.genuine.scores, FRR, votes=native.genuine.votes)
    new_train = train.target
    errors: dict[str, Any] = {"S1": count_errors(native, fixed, draws)}
    fixed_normalized = {}
    for line, queries_only in NORMALIZATIONS.items():
        plain = normalized(native, train, (new_train, new_train), seed=seed, queries_only=queries_only)
        fixed_normalized[line] = threshold_at_frr(plain.genuine.scores, FRR, votes=plain.genuine.votes)
        errors[f"S1, {line}"] = count_errors(plain, fixed_normalized[line], draws)
    for name, aligner in lines.items():
        scenarios = scenario_pairs(old, new, convert(aligner, split.test), all_images=True)
        for scenario in ("S2", "S3"):
            errors[f"{scenario}: {name}"] = count_errors(scenarios[scenario], fixed, draws)
        if name in NORMALIZED:
            sides = convert(aligner, train), new_train
            for line, queries_only in NORMALIZATIONS.items():
                scored = normalized(scenarios["S3"], train, sides, seed=seed, queries_only=queries_only)
                errors[f"S3, {line}: {name}"] = count_errors(scored, fixed_normalized[line], draws)
        if name == OURS:
            for weight in FUSED_WEIGHTS:
                sums = fused(scenarios["S3"], scenarios["old"], weight)
                threshold = threshold_at_frr(sums.genuine.scores, FRR, votes=sums.genuine.votes)
                errors[f"S3, fused {weight:g}: {name}"] = count_errors(sums, threshold, draws)
            threshold = threshold_at_frr(scenarios["old"].genuine.scores, FRR, votes=scenarios["old"].genuine.votes)
            errors["old"] = count_errors(scenarios["old"], threshold, draws)
    return {
        "lines": errors,
        "impostor_votes": draws.impostor_votes.tolist(),
        "people": int(np.count_nonzero(native.rows_of_subjects()[0])),
        "images": len(new),
        "fit_seconds": seconds,
    }


def fold_errors(split: ec.PairSplit, folder: Path, *, seed: int, smoke: bool) -> dict[str, Any]:
    """Measure a fold, or read what an earlier run measured."""
    record = folder / "errors.json"
    if not record.exists():
        record.write_text(json.dumps(measure_fold(split, folder, seed=seed, smoke=smoke)))
    return json.loads(record.read_text())


def summarize(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """Pool the folds and compare with both baselines."""
    draws = [fold["impostor_votes"] for fold in folds]
    by_line = {name: [fold["lines"][name] for fold in folds] for name in folds[0]["lines"]}
    ratios = {
        f"{scenario}: {OURS} / {base}": pooled_ratio(
            by_line[f"{scenario}: {OURS}"], by_line[f"{scenario}: {base}"], draws
        )
        for scenario in ("S3", *(f"S3, {line}" for line in NORMALIZATIONS), "S2")
        for base in BASES
        if f"{scenario}: {base}" in by_line
    }
    ratios |= {
        f"S3, {line}: {OURS} / S3: {base}": pooled_ratio(by_line[f"S3, {line}: {OURS}"], by_line[f"S3: {base}"], draws)
        for line in NORMALIZATIONS
        for base in BASES
    }
    return {
        "folds": [{key: fold[key] for key in ("people", "images", "fit_seconds")} for fold in folds],
        "lines": {name: pool(counts, draws) for name, counts in by_line.items()},
        "ratios": ratios,
    }


def show(name: str, summary: dict[str, Any]) -> None:
    print(f"\n{name}: FAR at FRR 5 % in each scenario, and at scenario 1's fixed threshold")
    for line, row in summary["lines"].items():
        at_own_threshold = one_in(row["far_at_frr"]["value"], trials=row["impostor_pairs"])
        fixed = one_in(row["fixed_far"], trials=row["impostor_pairs"])
        print(f"  {line:52s} {at_own_threshold:>16s} | FRR {row['fixed_frr']:6.2%}  FAR {fixed}")
    for what, ratio in summary["ratios"].items():
        aim = AIMS["score normalization" if "normalization" in what else "plain"]
        if ratio["value"] is None:
            print(f"  {what}: no error to divide by")
            continue
        interval = f"{ratio['value']:.3f} (95 % {ratio['low']:.3f} to {ratio['high']:.3f})"
        print(f"  {what}: {interval}" + (f", aim at most {aim}" if what.startswith("S3") else ""))


def main(arguments: Sequence[str] | None = None) -> None:
    options = make_parser(__doc__).parse_args(arguments)
    summaries: dict[str, Any] = {}
    folds, upgrades = (2, MODEL_PAIRS[:1]) if options.smoke else (FOLDS, MODEL_PAIRS)
    for old, new in upgrades:
        pairs = stand_in_pairs(seed=options.seed) if options.data is None else load_pairs(options.data, old, new)
        name = "stand-in" if options.data is None else f"{old} → {new}"
        if options.smoke and len(pairs) > 1_500:
            pairs = pairs.select(np.arange(1_500))
        errors = []
        splits = person_folds(pairs, folds=folds, seed=options.seed)
        for fold, split in enumerate(splits[:1] if options.smoke else splits):
            fits = "smoke" if options.smoke else "fits"
            folder = options.output / f"beat_the_paper-{fits}" / f"{old}-{new}" / f"fold-{fold}"
            errors.append(fold_errors(split, folder, seed=options.seed + fold, smoke=options.smoke))
            rates = [errors[-1]["lines"][f"S3: {line}"]["far"] for line in (*BASES, OURS)]
            print(
                f"{name}, fold {fold}: FAR in S3 of {', '.join(BASES)} and ours: {[one_in(rate) for rate in rates]}",
                flush=True,
            )
        summaries[name] = summarize(errors)
        show(name, summaries[name])
    figures = {"frr": FRR, "recommended": OURS, "baselines": list(BASES), "aims": AIMS, "upgrades": summaries}
    write_result(options, "beat_the_paper", figures)


if __name__ == "__main__":
    main()
