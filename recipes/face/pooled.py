"""Error counts of several aligners on several folds of people, pooled, with paired intervals.

Every fold holds other people. A threshold is chosen in each fold, errors are counted in each fold, and the counts are
added up. The bootstrap resamples the people of each fold; all aligners of a fold see the same draws, so that ratios
between them are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import embcompat as ec
from embcompat.evaluation.verification.bootstrap import (
    SubjectWeights,
    far_estimate,
    ratio_estimate,
    replicate_far,
    replicate_thresholds,
)
from embcompat.evaluation.verification.counts import count_impostors
from embcompat.evaluation.verification.figures import threshold_at_frr
from embcompat.evaluation.verification.pairs import VerificationPairs

FRR = 0.05


def person_folds(pairs: ec.PairedEmbeddings, *, folds: int, seed: int) -> list[ec.PairSplit]:
    """Cut the people into folds of about equally many images; each is the test part once.

    Of the other people's images 17.5 % serve as validation, by person.
    """
    people = np.unique(np.asarray(pairs.labels).astype(str), return_inverse=True)[1]
    images = np.bincount(people)
    order = np.random.default_rng(seed).permutation(len(images))
    middles = np.cumsum(images[order]) - images[order] / 2
    fold_of = np.empty(len(images), dtype=np.intp)
    fold_of[order] = np.minimum(middles * folds / len(pairs), folds - 1).astype(np.intp)
    splits = []
    for fold in range(folds):
        inside = fold_of[people] == fold
        rest = ec.split_pairs(pairs.select(~inside), validation=0.175, test=0, seed=seed + fold)
        splits.append(ec.PairSplit(rest.train, rest.validation, pairs.select(inside)))
    return splits


def count_errors(pairs: VerificationPairs, fixed: float, weights: SubjectWeights) -> dict[str, Any]:
    """Count the errors of one comparison at its own threshold of FRR 5 % and at a fixed one.

    Args:
        pairs: Who is compared with whom.
        fixed: Scenario 1's threshold.
        weights: The draws of the bootstrap.

    Returns:
        Counts, and ``replicates``: the FAR at FRR 5 % in each draw of the people.
    """
    genuine = pairs.genuine.scores
    threshold = threshold_at_frr(genuine, FRR)
    thresholds = replicate_thresholds(pairs.genuine, weights, FRR)
    counts = count_impostors(pairs, [threshold, fixed], tails_above=[float(thresholds.min())])
    return {
        "threshold": threshold,
        "genuine_pairs": len(genuine),
        "impostor_pairs": counts.total,
        "false_acceptances": int(counts.above[0]),
        "fixed_threshold": fixed,
        "fixed_false_rejections": int(np.searchsorted(genuine, fixed, side="right")),
        "fixed_false_acceptances": int(counts.above[1]),
        "replicates": replicate_far(counts.tails[0], weights, thresholds).tolist(),
    }


def pool(folds: Sequence[dict[str, Any]], impostor_weights: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Add up the counts of one line over the folds.

    Args:
        folds: What `count_errors` returned, fold by fold.
        impostor_weights: The impostor pairs of each draw, fold by fold.
    """
    total = {name: sum(fold[name] for fold in folds) for name in ("genuine_pairs", "impostor_pairs")}
    errors = {
        name: sum(fold[name] for fold in folds)
        for name in ("false_acceptances", "fixed_false_rejections", "fixed_false_acceptances")
    }
    far = errors["false_acceptances"] / total["impostor_pairs"]
    return {
        **total,
        **errors,
        "far_at_frr": far_estimate(far, pooled_replicates(folds, impostor_weights), total["impostor_pairs"]).to_dict(),
        "fixed_frr": errors["fixed_false_rejections"] / total["genuine_pairs"],
        "fixed_far": errors["fixed_false_acceptances"] / total["impostor_pairs"],
        "far_at_frr_by_fold": [fold["false_acceptances"] / fold["impostor_pairs"] for fold in folds],
    }


def pooled_ratio(
    line: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]], impostor_weights: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Return the FAR of one line as a multiple of another's, with the paired interval, and fold by fold.

    Where the other one made no error there is no ratio.
    """
    rates = [sum(fold["false_acceptances"] for fold in folds) for folds in (line, base)]
    draws = [pooled_replicates(folds, impostor_weights) for folds in (line, base)]
    by_fold = [
        mine["false_acceptances"] / theirs["false_acceptances"] if theirs["false_acceptances"] else None
        for mine, theirs in zip(line, base, strict=True)
    ]
    found = ratio_estimate(rates[0], rates[1], *draws).to_dict() if rates[1] else {"value": None}
    return {**found, "by_fold": by_fold}


def pooled_replicates(
    folds: Sequence[dict[str, Any]], impostor_weights: Sequence[Sequence[float]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the pooled FAR of every draw: the folds' FARs, weighed by their impostor pairs."""
    weights = np.asarray(impostor_weights)
    return np.asarray((np.array([fold["replicates"] for fold in folds]) * weights).sum(axis=0) / weights.sum(axis=0))
