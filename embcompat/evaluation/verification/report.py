"""What a model change does to verification: one call, one report. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embcompat.embeddings import Embeddings
from embcompat.evaluation.bootstrap import Estimate, estimate_from
from embcompat.evaluation.similarity import row_scores
from embcompat.evaluation.verification.bootstrap import (
    REPLICATES,
    SubjectWeights,
    draw_weights,
    far_estimate,
    ratio_estimate,
    replicate_far,
    replicate_frr,
    replicate_thresholds,
)
from embcompat.evaluation.verification.counts import count_impostors
from embcompat.evaluation.verification.figures import threshold_at_frr
from embcompat.evaluation.verification.pairs import (
    Float64,
    VerificationPairs,
    to_distance,
)
from embcompat.evaluation.verification.scenarios import Scenario, scenario_pairs


@dataclass(frozen=True)
class ScenarioResult:
    """Figures of one scenario; rates are fractions.

    Attributes:
        threshold: The score at which ``frr`` and ``far`` are taken: scenario 1's at the asked FRR (the status quo's
            own, since its scores are of another space).
        frr: False rejection rate at ``threshold``.
        far: False acceptance rate at ``threshold``.
        threshold_at_frr: The scenario's own threshold at the asked FRR.
        far_at_frr: False acceptance rate at ``threshold_at_frr``.
        mean_genuine: Mean distance of the genuine pairs.
        mean_impostor: Mean distance of the impostor pairs.
        genuine_pairs: Number of genuine pairs.
        impostor_pairs: Number of ordered impostor pairs.
        false_acceptances: Impostor pairs above ``threshold``.
        false_acceptances_at_frr: Impostor pairs above ``threshold_at_frr``.
    """

    threshold: float
    frr: Estimate
    far: Estimate
    threshold_at_frr: Estimate
    far_at_frr: Estimate
    mean_genuine: float
    mean_impostor: float
    genuine_pairs: int
    impostor_pairs: int
    false_acceptances: int
    false_acceptances_at_frr: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON, the 95 % intervals by name under ``intervals``."""
        result: dict[str, Any] = {}
        intervals = {}
        for name, value in vars(self).items():
            if isinstance(value, Estimate):
                numbers = value.to_dict()
                result[name] = numbers["value"]
                intervals[name] = [numbers["low"], numbers["high"]]
            else:
                result[name] = value
        return result | {"intervals": intervals}


@dataclass(frozen=True)
class VerificationReport:
    """What `evaluate_verification` measured.

    Attributes:
        scenarios: ``S1`` to ``S4`` by name.
        old: The status quo, old against old.
        status_quo_ratio: FAR of scenario 3 as a multiple of the status quo's, each at its own threshold, with a
            paired interval: above 1 the converted gallery is worse than staying. None where the status quo made no
            false acceptance.
        same_item_distance: Mean distance of the converted and the new vector of the same item.
        target_frr: The FRR at which thresholds were chosen.
        subjects: Number of subjects.
        all_images: Whether every pair of rows was compared, rather than one anchor with one positive a subject.
        similarity: How the vectors of the new space were compared.
        seed: Seed of the anchors and of the resampling.
    """

    scenarios: Mapping[Scenario, ScenarioResult]
    old: ScenarioResult
    status_quo_ratio: Estimate | None
    same_item_distance: float
    target_frr: float
    subjects: int
    all_images: bool
    similarity: str
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        result = dict(vars(self))
        result["scenarios"] = {name: scenario.to_dict() for name, scenario in self.scenarios.items()}
        result["old"] = self.old.to_dict()
        result["status_quo_ratio"] = None if self.status_quo_ratio is None else self.status_quo_ratio.to_dict()
        return result


def evaluate_verification(
    old: Embeddings,
    new: Embeddings,
    converted: Embeddings,
    *,
    frr: float = 0.05,
    seed: int = 0,
    all_images: bool = False,
    replicates: int = REPLICATES,
) -> VerificationReport:
    """Measure a converted gallery by verification, N:N, in the four scenarios and against the status quo.

    Args:
        old: Held-out items under the old model. Labels are the subjects.
        new: The same items under the new model, same ids in the same order.
        converted: ``old``, converted to the new space.
        frr: FRR at which thresholds are chosen: scenario 1's, which all scenarios use, and each scenario's own.
        seed: Seed of the anchors and positives, and of the subject bootstrap.
        all_images: Compare every row with every other instead of one anchor and one positive of each subject. A row
            is never compared with the same item.
        replicates: How often the subjects are resampled for the intervals.

    Raises:
        InputError: If the items differ, there are no labels, or fewer than two subjects have two rows.
        SpaceMismatchError: If ``converted`` is not in the new space.
    """
    pairs = scenario_pairs(old, new, converted, seed=seed, all_images=all_images)
    weights = draw_weights(pairs["S1"], seed=seed, replicates=replicates)
    choices = {
        name: (threshold_at_frr(side.genuine.scores, frr), replicate_thresholds(side.genuine, weights, frr))
        for name, side in pairs.items()
    }
    results, replicated = {}, {}
    for name, side in pairs.items():
        fixed = choices["old" if name == "old" else "S1"]
        results[name], replicated[name] = _measure(side, weights, fixed, choices[name])
    rates = [results[name].far_at_frr.value for name in ("S3", "old")]
    ratio = ratio_estimate(rates[0], rates[1], replicated["S3"], replicated["old"]) if rates[1] > 0 else None
    scores = row_scores(converted.vectors, new.vectors, new.space.similarity)
    return VerificationReport(
        scenarios={name: result for name, result in results.items() if name != "old"},
        old=results["old"],
        status_quo_ratio=ratio,
        same_item_distance=float(to_distance(scores.mean(dtype=np.float64), new.space.similarity)),
        target_frr=frr,
        subjects=int(np.count_nonzero(pairs["S1"].rows_of_subjects()[0])),
        all_images=all_images,
        similarity=new.space.similarity,
        seed=seed,
    )


def _measure(
    pairs: VerificationPairs,
    weights: SubjectWeights,
    fixed: tuple[float, Float64],
    own: tuple[float, Float64],
) -> tuple[ScenarioResult, Float64]:
    """Measure a scenario at a fixed and at its own threshold; also return its replicated FARs at the latter."""
    genuine = pairs.genuine
    cuts = [float(thresholds.min()) for _, thresholds in (fixed, own)]
    counts = count_impostors(pairs, [fixed[0], own[0]], tails_above=cuts)
    far, far_own = (replicate_far(counts.tails[side], weights, (fixed, own)[side][1]) for side in (0, 1))
    rejected = int(np.searchsorted(genuine.scores, fixed[0], side="right"))
    accepted, accepted_own = (int(count) for count in counts.above)
    result = ScenarioResult(
        threshold=fixed[0],
        frr=estimate_from(rejected / len(genuine.scores), replicate_frr(genuine, weights, fixed[1])),
        far=far_estimate(accepted / counts.total, far, counts.total),
        threshold_at_frr=estimate_from(own[0], own[1]),
        far_at_frr=far_estimate(accepted_own / counts.total, far_own, counts.total),
        mean_genuine=float(to_distance(genuine.scores.mean(), pairs.similarity)),
        mean_impostor=counts.mean_distance,
        genuine_pairs=len(genuine.scores),
        impostor_pairs=counts.total,
        false_acceptances=accepted,
        false_acceptances_at_frr=accepted_own,
    )
    return result, far_own
