"""What a model change does to verification: one call, one report. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from embcompat.cohorts import AnyCohort, ScoreCohort
from embcompat.embeddings import Embeddings
from embcompat.evaluation.bootstrap import estimate_from
from embcompat.evaluation.similarity import row_scores
from embcompat.evaluation.verification.bootstrap import (
    REPLICATES,
    SubjectDraws,
    Threshold,
    choose_threshold,
    draw_subjects,
    far_estimate,
    ratio_estimate,
    replicate_far,
    replicate_frr,
)
from embcompat.evaluation.verification.counts import count_impostors
from embcompat.evaluation.verification.figures import DetCurve, det_thresholds
from embcompat.evaluation.verification.groups import GROUPED, groups_of_subjects, rates_by_group
from embcompat.evaluation.verification.normalization import normalized_scenarios
from embcompat.evaluation.verification.pairs import Float64, VerificationPairs, to_distance
from embcompat.evaluation.verification.scenarios import scenario_pairs
from embcompat.results import Estimate, Scenario, ScenarioResult, VerificationReport
from embcompat.similarities import Weight

Progress = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Shows progress: called with the number of pairs to compare, it is told how many were compared meanwhile."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """A scenario, measured.

    Attributes:
        result: Its figures.
        det: Its DET curve.
        replicates: Array (replicates,), its FAR at its own threshold in each draw of the subjects: those of two
            scenarios are paired.
    """

    result: ScenarioResult
    det: DetCurve
    replicates: Float64


def evaluate_verification(
    old: Embeddings,
    new: Embeddings,
    converted: Embeddings,
    *,
    frr: float = 0.05,
    seed: int = 0,
    all_images: bool = False,
    weight: Weight = "person",
    cohort: ScoreCohort[AnyCohort] | None = None,
    groups: Mapping[str, str] | None = None,
    replicates: int = REPLICATES,
    progress: Progress | None = None,
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
        weight: What has one vote in every rate. ``person``: the genuine pairs of a person share one, and so do the
            impostor pairs of two people, as if one anchor and one positive of each person were drawn at random.
            ``pairs``: each pair of images, so that people count by the square of their images.
        cohort: Also measure scores that are normalized at query time, new against converted and new against new.
        groups: The group of each person, by label: also measure false rates within groups, see `rates_by_group`.
        replicates: How often the subjects are resampled for the intervals.
        progress: Shows progress.

    Raises:
        InputError: If the items differ, there are no labels, fewer than two subjects have two rows, or no person that
            is compared has a group.
        SpaceMismatchError: If ``converted`` is not in the new space.
        UnknownNameError: If the weight is not known.
    """
    pairs = scenario_pairs(old, new, converted, seed=seed, all_images=all_images, weight=weight)
    draws = draw_subjects(pairs["S1"], seed=seed, replicates=replicates)
    fixed = choose_threshold(pairs["S1"], draws, frr)
    measured: dict[Scenario, Measurement] = {}
    compared = {name: side for name, side in pairs.items() if not (all_images and name == "S4")}
    scored = {} if cohort is None else normalized_scenarios(pairs, cohort)
    total = sum(len(side.anchors) * len(side.positives) for side in (*compared.values(), *scored.values()))
    normalized: dict[Scenario, ScenarioResult] = {}
    with nullcontext(None) if progress is None else progress(total) as advance:
        for name, side in compared.items():
            measured[name] = measure_scenario(side, draws, frr, fixed=None if name == "old" else fixed, advance=advance)
        if scored:
            fixed = choose_threshold(scored["S1"], draws, frr)
        for name, side in scored.items():
            normalized[name] = measure_scenario(side, draws, frr, fixed=fixed, advance=advance).result
    if all_images:
        measured["S4"] = measured["S3"]  # the same pairs, seen from the other side
    by_group, ungrouped = None, 0
    if groups is not None:
        labelled = next((side for side in (old, new, converted) if side.labels is not None), old)
        memberships = groups_of_subjects(groups, labelled, seed=seed, all_images=all_images)
        ungrouped = int(np.count_nonzero(memberships == ""))
        thresholds = {name: measured[name].result.threshold_at_frr.value for name in GROUPED}
        by_group = rates_by_group(pairs, memberships, thresholds, seed=seed, replicates=replicates)
    base = measured["old"]

    def against_today(side: Measurement) -> Estimate | None:
        rates = side.result.far_at_frr.value, base.result.far_at_frr.value
        return ratio_estimate(*rates, side.replicates, base.replicates) if rates[1] > 0 else None

    scores = row_scores(converted.vectors, new.vectors, new.space.similarity)
    return VerificationReport(
        scenarios={name: measured[name].result for name in pairs if name != "old"},
        old=base.result,
        normalized=normalized or None,
        groups=by_group,
        ungrouped=ungrouped,
        status_quo_ratio=against_today(measured["S3"]),
        reindex_ratio=against_today(measured["S1"]),
        det={name: measured[name].det.points() for name in pairs},
        same_item_distance=float(to_distance(scores.mean(dtype=np.float64), new.space.similarity)),
        target_frr=frr,
        subjects=int(np.count_nonzero(pairs["S1"].rows_of_subjects()[0])),
        all_images=all_images,
        weight=weight,
        largest_share=pairs["S1"].largest_share,
        similarity=new.space.similarity,
        seed=seed,
    )


def measure_scenario(
    pairs: VerificationPairs,
    draws: SubjectDraws,
    frr: float,
    *,
    fixed: Threshold | None = None,
    advance: Callable[[int], object] | None = None,
) -> Measurement:
    """Measure a scenario at its own threshold and at a fixed one, in one pass over its pairs.

    Args:
        pairs: Who is compared with whom.
        draws: The bootstrap's draws of the subjects.
        frr: FRR at which its own threshold is chosen.
        fixed: A threshold of another scenario; its own when None.
        advance: Told how many pairs were compared meanwhile.
    """
    genuine = pairs.genuine
    threshold = choose_threshold(pairs, draws, frr)
    fixed = threshold if fixed is None else fixed
    curve = det_thresholds(pairs)
    cuts = [float(choice.replicates.min()) for choice in (fixed, threshold)]
    counts = count_impostors(pairs, [fixed.value, threshold.value, *curve], tails_above=cuts, progress=advance)
    far = [
        replicate_far(tail, draws, choice.replicates)
        for tail, choice in zip(counts.tails, (fixed, threshold), strict=True)
    ]
    result = ScenarioResult(
        threshold=fixed.value,
        frr=estimate_from(float(genuine.rejected(fixed.value)), replicate_frr(genuine, draws, fixed.replicates)),
        far=far_estimate(float(counts.far[0]), far[0], pairs.impostor_votes),
        threshold_at_frr=threshold.estimate(),
        far_at_frr=far_estimate(float(counts.far[1]), far[1], pairs.impostor_votes),
        mean_genuine=float(to_distance(np.average(genuine.scores, weights=genuine.votes), pairs.similarity)),
        mean_impostor=counts.mean_distance,
        genuine_pairs=len(genuine.scores),
        impostor_pairs=counts.total,
        false_acceptances=int(counts.above[0]),
        false_acceptances_at_frr=int(counts.above[1]),
    )
    return Measurement(result, DetCurve(curve, counts.far[2:], genuine.rejected(curve)), far[1])
