"""How many pairs are enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import JsonValue

from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_mean
from embcompat.selection.fitting import fit_aligner, single_aligner
from embcompat.selection.scoring import neighbour_scores


@dataclass(frozen=True)
class LearningCurve:
    """What more pairs buy.

    Attributes:
        kind: Kind of the aligner.
        pairs: Numbers of training pairs, ascending.
        scores: Share of native neighbours found on the validation pairs, for each.
        enough: The least number whose score is within ``tolerance`` of the last, by the paired interval's lower end;
            the last one itself says that more pairs may still help.
    """

    kind: str
    pairs: tuple[int, ...]
    scores: tuple[Estimate, ...]
    enough: int

    @property
    def verdict(self) -> str:
        """Whether to collect more pairs, in one sentence."""
        if self.enough < self.pairs[-1]:
            return f"{self.enough:,} pairs are enough: {self.pairs[-1]:,} are not better by more than the tolerance."
        return f"More than {self.pairs[-1]:,} pairs may still help: the score was rising to the last."

    def to_dict(self) -> dict[str, JsonValue]:
        """Return a result of kind ``learning_curve`` for the report."""
        return {
            "kind": "learning_curve",
            "metric": "neighbour_overlap@10",
            "aligner": self.kind,
            "pairs": list(self.pairs),
            "values": [score.value for score in self.scores],
            "intervals": [[score.low, score.high] for score in self.scores],
            "enough": self.enough,
            "reason": self.verdict,
        }


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
    wanted = sorted(set(sizes)) if sizes is not None else sorted({max(len(train) >> step, 1) for step in range(7)})
    if sizes is None:
        wanted = [size for size in wanted if size >= 100] or wanted[-1:]
    if not wanted or wanted[0] < 2 or wanted[-1] > len(train):
        raise InputError(f"sizes must lie between 2 and the {len(train)} training pairs. Got {list(sizes or [])}.")
    order = np.random.default_rng(seed).permutation(len(train))
    values = []
    for size in wanted:
        aligner = single_aligner(fit_aligner(kind, train.select(order[:size]), validation, seed=seed, **options), kind)
        values.append(neighbour_scores(aligner.transform(validation.source.vectors), validation))
    within = [
        bootstrap_difference(found, values[-1], seed=seed).low >= -tolerance if found is not values[-1] else True
        for found in values
    ]
    scores = tuple(bootstrap_mean(found, seed=seed) for found in values)
    return LearningCurve(kind, tuple(wanted), scores, wanted[within.index(True)])
