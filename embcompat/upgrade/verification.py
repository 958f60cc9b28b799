"""An upgrade judged by verification: the scenarios, and the decision with what to do about the threshold."""

from __future__ import annotations

from embcompat.evaluation.verification import ENOUGH_ERRORS, one_in
from embcompat.results import Decision, Estimate, ScenarioResult, VerificationReport

MOST_OF_ONE = 0.1
"""Share of the genuine pairs of one person above which a warning is given [ours]."""

MIN_SUBJECTS = 20
"""Subjects below which no verdict is given [ours]."""


def decide_verification(report: VerificationReport) -> Decision:
    """Decide what to do about a new model, from the figures of a verification.

    False acceptances are what matters: their rates are compared at thresholds that reject the same share of genuine
    pairs. Converting is the decision if a converted against a new vector accepts fewer strangers than today. That can
    hold although two new vectors do not, because an aligner may weigh directions and lengths as the new model does not:
    the reason says so. Otherwise everything is re-embedded if two new vectors accept fewer, and if they don't, the
    decision is to stay.
    """
    if report.subjects < MIN_SUBJECTS:
        reason = f"Only {report.subjects} held-out subjects could be compared, and a verdict needs {MIN_SUBJECTS}."
        return Decision("unjudged", reason, ())
    if report.status_quo_ratio is None or report.reindex_ratio is None:
        reason = (
            "Today's model made no false acceptance on these subjects, so they cannot tell whether the new one is "
            "better."
        )
        return Decision("unjudged", reason, (), None, (_ask_for_more(report),))
    reindex, converted = report.reindex_ratio, report.status_quo_ratio
    third, first = report.scenarios["S3"], report.scenarios["S1"]
    rate = f"at {100 * report.target_frr:g} % false rejections"
    figures = (
        f"Converted against new [S3]: {_rate(third)} false accepts; old against old: {_rate(report.old)}; new against "
        f"new [S1]: {_rate(first)}.",
        f"False accepts against today: converted {_ratio(converted)}, new {_ratio(reindex)}.",
    )
    if converted.high < 1:
        reason = f"A converted gallery is better than today: {_times(converted)} as many false accepts {rate}"
        notes: tuple[str, ...] = ()
        if reindex.high >= 1:
            reason += f"; two new vectors are {_compare(reindex)} today, with {_times(reindex)} as many"
            notes = _native_notes(report, reindex)
        thresholds = _thresholds(third, first, "a converted and a new vector")
        return Decision("convert", f"{reason}.", ("new",), None, (*figures, *notes, *thresholds))
    if reindex.high >= 1:
        reason = f"The new model is {_compare(reindex)} the old one: {_times(reindex)} as many false accepts {rate}."
        notes = (f"A converted gallery is {_compare(converted)} today.", "Keep the threshold: nothing changes.")
        return Decision("stay", reason, ("old",), None, (*figures, *notes))
    reason = (
        f"Only re-embedding everything is shown to be worth it: {_times(reindex)} as many false accepts {rate}, and a "
        f"converted gallery is {_compare(converted)} today."
    )
    return Decision("reindex", reason, ("new",), None, (*figures, *_thresholds(first, first, "two new vectors")))


def verification_warnings(report: VerificationReport) -> tuple[str, ...]:
    """Return what a reader must know before the figures of a verification."""
    warnings = []
    if report.weight == "pairs" and report.largest_share > MOST_OF_ONE:
        warnings.append(
            f"One person makes {100 * report.largest_share:.0f} % of the genuine pairs, and each pair counts: the "
            "figures are largely about this person. `--weight person` gives each person one vote."
        )
    return (*warnings, *_group_warnings(report))


def _group_warnings(report: VerificationReport) -> list[str]:
    """Return what to know about groups of people: that there are none, or that they are too small to compare."""
    if report.groups is None:
        return [
            "False rates can differ between groups of people, and these averages do not show it. `--groups` measures "
            "each group, if you know who is in which."
        ]
    warnings = []
    few = [
        name
        for name, scenarios in report.groups.items()
        if any(rates.false_acceptances < ENOUGH_ERRORS for rates in scenarios.values())
    ]
    if few:
        names = ", ".join(few)
        warnings.append(
            f"Too few false accepts to compare groups: fewer than {ENOUGH_ERRORS} within {names}. "
            + _ask_for_more(report)
        )
    if report.ungrouped:
        warnings.append(f"{report.ungrouped:,} of {report.subjects:,} people are in no group.")
    return warnings


def _ask_for_more(report: VerificationReport) -> str:
    """Return how to see more false accepts."""
    return "Compare more people." if report.all_images else "Compare more people, or all their images: --all-images."


def _native_notes(report: VerificationReport, reindex: Estimate) -> tuple[str, ...]:
    """Return what to know where converted vectors are better than today, and new ones are not shown to be."""
    enrolled = "people who are enrolled with the new model alone"
    gain = f"The gain is the aligner's, not the new model's: {enrolled} do not have it."
    if reindex.value < 1:
        gain = f"The gain is shown for converted vectors only: {enrolled} may not have it."
    notes = [f"{gain} As long as the old model runs, enrol with that one, and convert."]
    if report.similarity != "cosine":
        by = "Euclidean distance" if report.similarity == "euclidean" else "their product"
        notes.append(
            f"The new vectors are compared by {by}: unless they have unit norm, their lengths count. If lengths mean "
            "little, vectors scaled to unit norm are better: evaluate them too."
        )
    return tuple(notes)


def _thresholds(chosen: ScenarioResult, native: ScenarioResult, sides: str) -> tuple[str, ...]:
    threshold = chosen.threshold_at_frr
    sentences = [
        f"The old threshold does not carry over. For {sides} set it to {threshold.value:.4f} (95 % interval "
        f"{threshold.low:.4f} to {threshold.high:.4f}); `embcompat thresholds` finds the one "
        "that keeps today's false accepts."
    ]
    if chosen is not native:
        sentences.append(
            f"With the new model's own threshold, {native.threshold:.4f}, a converted vector is falsely rejected in "
            f"{100 * chosen.frr.value:.1f} % of the cases."
        )
    return tuple(sentences)


def _compare(ratio: Estimate) -> str:
    """Say how false accepts that are not shown to be fewer compare with today's."""
    if ratio.low > 1:
        return "worse than"
    return "not better than" if ratio.value >= 1 else "not shown to be better than"


def _rate(scenario: ScenarioResult) -> str:
    return one_in(scenario.far_at_frr.value, trials=scenario.impostor_pairs)


def _times(ratio: Estimate) -> str:
    return f"{ratio.value:.2f} times"


def _ratio(ratio: Estimate) -> str:
    return f"{ratio.value:.2f} times (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
