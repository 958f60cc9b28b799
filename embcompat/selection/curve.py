"""How many pairs are enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from embcompat.results import LearningCurve
from embcompat.selection.fitting import fit_aligner, single_aligner
from embcompat.selection.scoring import neighbour_scores


def learning_curve(
    kind: str,
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    sizes: Sequence[int] | None = None,
    tolerance: float = 0.01,
    seed: int = 0,
    **options: Any,
) -> LearningCurve:
    """Fit on nested parts of the training pairs and score each on the same held-out pairs.

    Args:
        kind: A kind that gives a single aligner.
        train: Pairs to take parts of.
        validation: Held-out pairs.
        sizes: Numbers of pairs; halvings of all of them, down to 100, when None.
        tolerance: Difference in score that does not matter [ours].
        seed: Seed of the order and the fits.
        options: Options of the fit.

    Raises:
        InputError: If a size is out of range, or the kind fits a pair of aligners.
    """
    counts = sorted(set(sizes)) if sizes is not None else sorted({max(len(train) >> step, 1) for step in range(7)})
    if sizes is None:
        counts = [count for count in counts if count >= 100] or counts[-1:]
    if not counts or counts[0] < 2 or counts[-1] > len(train):
        raise InputError(f"sizes must lie between 2 and the {len(train)} training pairs. Got {list(sizes or [])}.")
    order = np.random.default_rng(seed).permutation(len(train))
    scores = []
    for count in counts:
        aligner = single_aligner(fit_aligner(kind, train.select(order[:count]), validation, seed=seed, **options), kind)
        scores.append(neighbour_scores(aligner.transform(validation.source.vectors), validation))
    within = [bootstrap_difference(part, scores[-1], seed=seed).low >= -tolerance for part in scores[:-1]]
    return LearningCurve(
        aligner=kind,
        metric="neighbour_overlap@10",
        pairs=tuple(counts),
        values=tuple(bootstrap_mean(part, seed=seed) for part in scores),
        enough=counts[[*within, True].index(True)],
    )
