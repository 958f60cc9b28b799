"""No threshold survives a model change: transfer it on held-out pairs, with an interval. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import estimate_from
from embcompat.evaluation.verification.bootstrap import (
    REPLICATES,
    SubjectDraws,
    draw_subjects,
    far_estimate,
    replicate_far,
    replicate_frr,
    require_same_subjects,
)
from embcompat.evaluation.verification.counts import TAIL_LIMIT, ImpostorTail, count_impostors, largest_impostors
from embcompat.evaluation.verification.pairs import Float64, VerificationPairs
from embcompat.results import Estimate

ENOUGH_ERRORS = 30
"""Impostor errors below which a threshold is said to rest on too few: the rule of 30, Doddington et al. (2000)."""


@dataclass(frozen=True)
class ThresholdTransfer:
    """An old threshold and the one that takes its place.

    Attributes:
        old_threshold: The score above which a pair matched so far.
        threshold: The score above which a pair matches from now on; −inf for an end that the data do not bound.
        far: FAR of the old threshold before the change, which the new one keeps.
        old_frr: FRR of the old threshold before the change.
        frr: FRR of the new threshold after the change: what keeping the FAR costs.
        impostor_errors: False acceptances that the FAR was counted from.
        impostor_pairs: Impostor pairs among which they were counted.
    """

    old_threshold: float
    threshold: Estimate
    far: Estimate
    old_frr: float
    frr: Estimate
    impostor_errors: int
    impostor_pairs: int

    @property
    def warning(self) -> str | None:
        """Why the threshold should not be relied on, or None."""
        if self.impostor_errors >= ENOUGH_ERRORS:
            return None
        return (
            f"The old threshold makes {self.impostor_errors} false acceptances in {self.impostor_pairs:,} held-out "
            f"impostor pairs; below {ENOUGH_ERRORS} they are too few to say where its FAR lies. "
            "Measure on more subjects, or with all their images, before relying on the transferred threshold."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the transfer as JSON."""
        result = {name: _to_json(value) for name, value in vars(self).items()}
        return result | {"warning": self.warning}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the transfer again from `to_dict`.

        Raises:
            InputError: If a value is missing or of another type.
        """
        try:
            return cls(
                old_threshold=float(values["old_threshold"]),
                threshold=_estimate_from_json(values["threshold"]),
                far=_estimate_from_json(values["far"]),
                old_frr=float(values["old_frr"]),
                frr=_estimate_from_json(values["frr"]),
                impostor_errors=int(values["impostor_errors"]),
                impostor_pairs=int(values["impostor_pairs"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is not a threshold transfer: {error!r}. Pass what to_dict returned.") from error


def transfer_threshold(
    old_pairs: VerificationPairs,
    new_pairs: VerificationPairs,
    threshold: float,
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> ThresholdTransfer:
    """Find the threshold that keeps an old threshold's FAR after a change of model.

    It is the smallest threshold whose FAR after the change does not exceed the FAR before it. Nothing is
    extrapolated: below 30 impostor errors the result carries a warning, and with none the threshold is the highest
    observed impostor score.

    Args:
        old_pairs: Held-out pairs as they were compared so far (old against old).
        new_pairs: The same subjects as they will be compared (converted against new).
        threshold: The threshold in use, as a score: a distance threshold is passed negated.
        seed: Seed of the subject bootstrap.
        replicates: How often the subjects are resampled.

    Raises:
        InputError: If the subjects differ, the threshold is not finite or accepts everybody, or more than 4 million
            impostor pairs exceed it.
    """
    _check_threshold(old_pairs, threshold)
    require_same_subjects(old_pairs, new_pairs, "old_pairs and new_pairs must hold")
    draws = draw_subjects(old_pairs, seed=seed, replicates=replicates)
    counts = count_impostors(old_pairs, [threshold], tails_above=[threshold], seed=seed)
    errors, far = int(counts.above[0]), float(counts.far[0])
    if errors == counts.total:
        raise InputError(f"threshold must reject some impostor pair. Got {threshold!r}, which accepts all of them.")
    votes = (far + 1e-12) * new_pairs.impostor_votes
    transferred = float(largest_impostors(new_pairs, votes).scores[-1])
    tail = largest_impostors(
        new_pairs, min(4 * votes + 0.002 * new_pairs.impostor_votes, 0.9 * new_pairs.impostor_votes)
    )
    old_rates = replicate_far(counts.tails[0], draws, np.full(len(draws), threshold))
    thresholds = _replicate_transfer(tail.thinned(TAIL_LIMIT, seed=seed), draws, old_rates)
    return ThresholdTransfer(
        old_threshold=float(threshold),
        threshold=estimate_from(transferred, thresholds),
        far=far_estimate(far, old_rates, old_pairs.impostor_votes),
        old_frr=float(old_pairs.genuine.rejected(threshold)),
        frr=estimate_from(
            float(new_pairs.genuine.rejected(transferred)), replicate_frr(new_pairs.genuine, draws, thresholds)
        ),
        impostor_errors=errors,
        impostor_pairs=counts.total,
    )


def _check_threshold(pairs: VerificationPairs, threshold: float) -> None:
    if not np.isfinite(threshold):
        raise InputError(f"threshold must be a finite score. Got {threshold!r}.")
    if pairs.similarity == "cosine" and not -1 <= threshold <= 1:
        raise InputError(
            f"threshold must be a cosine, from -1 to 1. Got {threshold:g}. "
            "Pass the score that a match exceeds: 1 minus the distance, if the threshold is a cosine distance."
        )
    if pairs.similarity == "euclidean" and threshold > 0:
        raise InputError(
            f"threshold must be minus a Euclidean distance, at most 0. Got {threshold:g}. Pass {-threshold:g}."
        )


def _replicate_transfer(tail: ImpostorTail, draws: SubjectDraws, far: Float64) -> Float64:
    """Find in every replicate the smallest threshold whose FAR does not exceed the replicate's own."""
    allowed = (far + 1e-12) * draws.impostor_votes
    thresholds = np.full(len(draws), -np.inf)
    for row, limit in enumerate(allowed):
        drawn = draws.drawn[row].astype(np.float64)
        accepted = np.cumsum(tail.votes * drawn[tail.anchor_subjects] * drawn[tail.positive_subjects])
        first = int(np.searchsorted(accepted, limit, side="right"))
        if first < len(accepted):
            thresholds[row] = tail.scores[first]
    return thresholds


def _to_json(value: Any) -> Any:
    return value.to_dict() if isinstance(value, Estimate) else value


def _estimate_from_json(values: Mapping[str, Any]) -> Estimate:
    low, high = values["low"], values["high"]
    return Estimate(
        float(values["value"]), -np.inf if low is None else float(low), np.inf if high is None else float(high)
    )
