"""The evidence behind the verdict: which conditions an upgrade meets, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from embcompat.results import (
    ENOUGH_QUERIES,
    MIN_QUERIES,
    Check,
    Decision,
    Estimate,
    Option,
    RetrievalReport,
    VerificationReport,
)
from embcompat.upgrade.decision.options import measured_options
from embcompat.upgrade.decision.reasons import percent, share, signed, subject
from embcompat.upgrade.verification import MIN_SUBJECTS


def check_search(
    report: RetrievalReport, decision: Decision, *, options: Sequence[Option] = (), quality_floor: float
) -> tuple[Check, ...]:
    """Check what a verdict on a search rests on.

    Args:
        report: Figures on held-out queries, with judgements.
        decision: The decision.
        options: Modes that were measured elsewhere, as in `decide`.
        quality_floor: Share of a full reindex that the mode must keep.
    """
    measured = [*measured_options(report), *options]
    full = next(option for option in measured if option.mode == "reindex")
    checks = [
        Check(
            name=f"At least {MIN_QUERIES} held-out queries",
            passed=report.queries >= MIN_QUERIES,
            detail=f"{report.queries:,} queries; {ENOUGH_QUERIES} show small differences",
        ),
        Check(
            name="No query is judged by fitted items",
            passed=not report.residual,
            detail=f"{report.in_sample_queries:,} judged queries have a fitted answer",
        ),
        Check(
            name="The new model is better than today's",
            passed=full.beats_status_quo(),
            detail=f"{report.metric} {signed(full.difference)}",
        ),
    ]
    for option in _conversions(measured, decision):
        name = subject(option)
        checks += [
            Check(
                name=f"{name} is better than today",
                passed=option.beats_status_quo(),
                detail=f"{report.metric} {signed(option.difference)}",
            ),
            Check(
                name=f"{name} keeps {percent(quality_floor)} of a full reindex",
                passed=option.keeps(quality_floor),
                detail=share(option.retention),
            ),
        ]
    return tuple(checks)


def check_fidelity(report: RetrievalReport) -> tuple[Check, ...]:
    """Check figures without judgements."""
    return (
        Check(
            name="Judgements tell which model is better",
            passed=False,
            detail=f"{report.queries:,} queries, judged by the new model's own ranking",
        ),
    )


def check_verification(report: VerificationReport) -> tuple[Check, ...]:
    """Check what a verdict on a verification rests on."""
    checks = [
        Check(
            name=f"At least {MIN_SUBJECTS} held-out subjects",
            passed=report.subjects >= MIN_SUBJECTS,
            detail=f"{report.subjects:,} subjects",
        )
    ]
    names = {
        "The new model accepts fewer strangers than today's": report.reindex_ratio,
        "A converted gallery accepts fewer strangers than today's": report.status_quo_ratio,
    }
    checks += [
        Check(name=name, passed=ratio.high < 1, detail=_times(ratio))
        for name, ratio in names.items()
        if ratio is not None
    ]
    return tuple(checks)


def _conversions(measured: Sequence[Option], decision: Decision) -> list[Option]:
    """Return plain conversion, and the chosen mode unless it is a reindex."""
    choice = (decision.mode, decision.needs, decision.fraction, decision.depth)
    return [
        option
        for option in measured
        if option.mode == "convert"
        or (option.mode != "reindex" and (option.mode, option.needs, option.fraction, option.depth) == choice)
    ]


def _times(ratio: Estimate) -> str:
    return f"{ratio.value:.2f} times as many false accepts (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
