"""Error rates of several aligners on several folds of people, pooled by person, with paired intervals.

Every fold holds other people. A threshold is chosen in each fold, rates are measured in each fold, and the folds count
as many votes as they have people, or pairs of people. The bootstrap resamples the people of each fold; all aligners of
a fold see the same draws, so that ratios between them are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import embcompat as ec
from embcompat.evaluation.verification import (
    SubjectDraws,
    VerificationPairs,
    choose_threshold,
    count_impostors,
    far_estimate,
    ratio_estimate,
    replicate_far,
)

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


def count_errors(pairs: VerificationPairs, fixed: float, draws: SubjectDraws) -> dict[str, Any]:
    """Measure one comparison at its own threshold of FRR 5 % and at a fixed one, by person.

    Args:
        pairs: Who is compared with whom.
        fixed: Scenario 1's threshold.
        draws: The draws of the bootstrap.

    Returns:
        Rates and counts, and ``replicates``: the FAR at FRR 5 % in each draw of the people.
    """
    threshold = choose_threshold(pairs, draws, FRR)
    counts = count_impostors(pairs, [threshold.value, fixed], tails_above=[float(threshold.replicates.min())])
    return {
        "threshold": threshold.value,
        "genuine_votes": pairs.genuine_votes,
        "genuine_pairs": pairs.genuine_count,
        "impostor_votes": pairs.impostor_votes,
        "impostor_pairs": counts.total,
        "far": float(counts.far[0]),
        "false_acceptances": int(counts.above[0]),
        "fixed_threshold": fixed,
        "fixed_frr": float(pairs.genuine.rejected(fixed)),
        "fixed_far": float(counts.far[1]),
        "largest_share": pairs.largest_share,
        "replicates": replicate_far(counts.tails[0], draws, threshold.replicates).tolist(),
    }


def pool(folds: Sequence[dict[str, Any]], impostor_votes: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Average the rates of one line over the folds, by their votes.

    Args:
        folds: What `count_errors` returned, fold by fold.
        impostor_votes: The impostor votes of each draw, fold by fold.
    """
    total = {name: sum(fold[name] for fold in folds) for name in ("genuine_votes", "impostor_votes", "impostor_pairs")}
    far = _mean(folds, "far", "impostor_votes")
    return {
        **total,
        "false_acceptances": sum(fold["false_acceptances"] for fold in folds),
        "far_at_frr": far_estimate(far, pooled_replicates(folds, impostor_votes), total["impostor_votes"]).to_dict(),
        "fixed_frr": _mean(folds, "fixed_frr", "genuine_votes"),
        "fixed_far": _mean(folds, "fixed_far", "impostor_votes"),
        "far_at_frr_by_fold": [fold["far"] for fold in folds],
        "largest_share": max(fold["largest_share"] for fold in folds),
    }


def pooled_ratio(
    line: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]], impostor_votes: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Return the FAR of one line as a multiple of another's, with the paired interval, and fold by fold.

    Where the other one made no error there is no ratio.
    """
    rates = [_mean(folds, "far", "impostor_votes") for folds in (line, base)]
    draws = [pooled_replicates(folds, impostor_votes) for folds in (line, base)]
    by_fold = [ours["far"] / other["far"] if other["far"] else None for ours, other in zip(line, base, strict=True)]
    ratio = ratio_estimate(rates[0], rates[1], *draws).to_dict() if rates[1] else {"value": None}
    return {**ratio, "by_fold": by_fold}


def pooled_replicates(
    folds: Sequence[dict[str, Any]], impostor_votes: Sequence[Sequence[float]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the pooled FAR of every draw: the folds' FARs, weighed by their impostor votes."""
    votes = np.asarray(impostor_votes)
    return np.asarray((np.array([fold["replicates"] for fold in folds]) * votes).sum(axis=0) / votes.sum(axis=0))


def _mean(folds: Sequence[dict[str, Any]], rate: str, votes: str) -> float:
    return float(np.average([fold[rate] for fold in folds], weights=[fold[votes] for fold in folds]))
