"""Scores of fitted aligners on held-out pairs, each with its paired comparison to the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_mean
from embcompat.evaluation.neighbours import neighbour_overlap
from embcompat.evaluation.scenarios import scenario_pairs
from embcompat.evaluation.verification import threshold_at_frr
from embcompat.evaluation.verification_bootstrap import (
    draw_weights,
    far_estimate,
    ratio_estimate,
    replicate_far,
    replicate_thresholds,
)
from embcompat.evaluation.verification_counts import count_impostors

Objective = Literal["balanced", "lowest_far"]
"""What is best in verification, after the two objectives of FC-Aligner's Table 1 [ours, as figures for them].

``balanced``: the least false accept rate at the scenario's own threshold for the asked false reject rate.
``lowest_far``: the least at the threshold that new vectors among themselves use.
"""

Comparison = tuple[list[Estimate], list[Estimate], float]
"""Scores; paired comparisons to the best; the value of a comparison that says that there is no difference."""


def overlap(aligner: Aligner, pairs: PairedEmbeddings) -> NDArray[np.float64]:
    """Return the share of native neighbours that each converted item finds (n,)."""
    converted = aligner.transform(pairs.source.vectors)
    return neighbour_overlap(pairs.target.vectors, converted, pairs.target.space.similarity)


def retrieval_scores(aligners: Sequence[Aligner], pairs: PairedEmbeddings, seed: int) -> Comparison:
    """Score by `overlap`; compare by paired differences."""
    values = [overlap(aligner, pairs) for aligner in aligners]
    best = values[int(np.argmax([found.mean() for found in values]))]
    scores = [bootstrap_mean(found, seed=seed) for found in values]
    return scores, [bootstrap_difference(found, best, seed=seed) for found in values], 0.0


def verification_scores(
    aligners: Sequence[Aligner], pairs: PairedEmbeddings, objective: Objective, frr: float, seed: int
) -> Comparison:
    """Score by the false accept rate of scenario 3; compare by ratios, resampling the same subjects for all."""
    old, new = pairs.source, pairs.target
    new = Embeddings.trusted(new.vectors, new.ids, new.space, pairs.labels)
    rates, replicates, totals = [], [], []
    for aligner in aligners:
        converted = Embeddings(aligner.transform(old.vectors), new.ids, new.space, new.labels)
        sides = scenario_pairs(old, new, converted, seed=seed)
        weights = draw_weights(sides["S1"], seed=seed)
        genuine = (sides["S3"] if objective == "balanced" else sides["S1"]).genuine
        thresholds = replicate_thresholds(genuine, weights, frr)
        threshold = threshold_at_frr(genuine.scores, frr)
        counts = count_impostors(sides["S3"], [threshold], tail_above=float(thresholds.min()))
        rates.append(int(counts.above[0]) / counts.total)
        replicates.append(replicate_far(counts.tail, weights, thresholds[:, np.newaxis])[:, 0])
        totals.append(counts.total)
    best = int(np.argmin(rates))
    scores = [far_estimate(*each) for each in zip(rates, replicates, totals, strict=True)]
    if rates[best] == 0:
        return scores, [Estimate(1.0, 1.0, 1.0) if rate == 0 else Estimate(np.inf, 1.0, np.inf) for rate in rates], 1.0
    ratios = [
        ratio_estimate(rate, rates[best], found, replicates[best])
        for rate, found in zip(rates, replicates, strict=True)
    ]
    return scores, ratios, 1.0
