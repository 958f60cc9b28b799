"""What a model change does to verification: pairs, exact counts, figures with intervals, thresholds. numpy only."""

from embcompat.cohorts import (
    AnyCohort,
    Cohort,
    CohortMoments,
    CohortStatistics,
    ScoreCohort,
    normalizable_scores,
)
from embcompat.evaluation.verification.bootstrap import (
    SubjectDraws,
    Threshold,
    choose_threshold,
    draw_subjects,
    far_estimate,
    far_ratio,
    ratio_estimate,
    replicate_far,
    replicate_frr,
)
from embcompat.evaluation.verification.calibration import ENOUGH_ERRORS, ThresholdTransfer, transfer_threshold
from embcompat.evaluation.verification.counts import (
    ImpostorCounts,
    ImpostorTail,
    count_impostors,
    largest_impostors,
)
from embcompat.evaluation.verification.figures import (
    DetCurve,
    ErrorRates,
    det_curve,
    det_curve_of_pairs,
    far_at_frr,
    frr_at_far,
    one_in,
    rates_at,
    threshold_at_far,
    threshold_at_frr,
)
from embcompat.evaluation.verification.groups import GROUPED, groups_of_subjects, rates_by_group, read_groups
from embcompat.evaluation.verification.identification import (
    IdentificationScores,
    OpenSetRates,
    identification_scores,
    open_set_rates,
    rank_accuracy,
)
from embcompat.evaluation.verification.normalization import (
    make_cohort,
    make_score_cohort,
    make_score_moments,
    normalize_scores,
    normalized_pairs,
    normalized_scenarios,
)
from embcompat.evaluation.verification.pairs import WEIGHTS, VerificationPairs
from embcompat.evaluation.verification.report import (
    Measurement,
    evaluate_verification,
    measure_scenario,
)
from embcompat.evaluation.verification.scenarios import SCENARIOS, anchor_rows, scenario_pairs, subject_names
from embcompat.evaluation.verification.subjects import SubjectFigures, subject_figures
from embcompat.results import GroupRates, Scenario, ScenarioResult, VerificationReport
from embcompat.similarities import Weight

__all__ = [
    "ENOUGH_ERRORS",
    "GROUPED",
    "SCENARIOS",
    "WEIGHTS",
    "AnyCohort",
    "Cohort",
    "CohortMoments",
    "CohortStatistics",
    "DetCurve",
    "ErrorRates",
    "GroupRates",
    "IdentificationScores",
    "ImpostorCounts",
    "ImpostorTail",
    "Measurement",
    "OpenSetRates",
    "Scenario",
    "ScenarioResult",
    "ScoreCohort",
    "SubjectDraws",
    "SubjectFigures",
    "Threshold",
    "ThresholdTransfer",
    "VerificationPairs",
    "VerificationReport",
    "Weight",
    "anchor_rows",
    "choose_threshold",
    "count_impostors",
    "det_curve",
    "det_curve_of_pairs",
    "draw_subjects",
    "evaluate_verification",
    "far_at_frr",
    "far_estimate",
    "far_ratio",
    "frr_at_far",
    "groups_of_subjects",
    "identification_scores",
    "largest_impostors",
    "make_cohort",
    "make_score_cohort",
    "make_score_moments",
    "measure_scenario",
    "normalizable_scores",
    "normalize_scores",
    "normalized_pairs",
    "normalized_scenarios",
    "one_in",
    "open_set_rates",
    "rank_accuracy",
    "rates_at",
    "rates_by_group",
    "ratio_estimate",
    "read_groups",
    "replicate_far",
    "replicate_frr",
    "scenario_pairs",
    "subject_figures",
    "subject_names",
    "threshold_at_far",
    "threshold_at_frr",
    "transfer_threshold",
]
