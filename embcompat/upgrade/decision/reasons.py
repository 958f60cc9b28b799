"""The decision in words: one sentence with one number, and short sentences behind it."""

from __future__ import annotations

from collections.abc import Sequence

from embcompat.durations import format_duration
from embcompat.results import Estimate, Option, RetrievalReport, Workload
from embcompat.upgrade.cost.cheapest import Costs


def swap(option: Option) -> str:
    """Explain why no aligner is needed."""
    return (
        "No aligner is needed: the new model searches the stored vectors as they are, and keeps "
        f"{percent(option.retention.value)} of a full reindex."
    )


def not_better(report: RetrievalReport, full: Option) -> str:
    """Explain why to stay: the new model is worse, not better, or not shown to be better."""
    return (
        f"The new model is {_compare(full.difference)} the old one on these queries: {report.metric} "
        f"{_signed(full.difference.value)}."
    )


def cheaper(option: Option, full: Option, *, can_stay: bool) -> str:
    """Explain why a mode below a full reindex is enough."""
    today = "is better than today and " if can_stay else ""
    worse = f"; the new model is {_compare(full.difference)} the old one" if full.difference.value <= 0 else ""
    return f"{subject(option)} {today}keeps {percent(option.retention.value)} of a full reindex{worse}."


def reindex(report: RetrievalReport, full: Option, cheap: Sequence[Option], measured: Sequence[Option]) -> str:
    """Explain why nothing below a full reindex will do."""
    figure = f"{report.metric} {_signed(full.difference.value)} against today"
    if not full.beats_status_quo():
        return f"Without the old model nothing but a full reindex is shown to be enough: {figure}."
    if len(cheap) > 1:
        nearest = max((option for option in cheap if option is not full), key=lambda option: option.retention.low)
        return f"A full reindex is better than today and costs no more than {describe(nearest)}: {figure}."
    converted = next((option for option in measured if option.mode == "convert"), None)
    if converted is not None and converted.difference.value < 0:
        loses = "The aligner loses to" if converted.difference.high < 0 else "Converting alone is no better than"
        return f"{loses} today's search, so re-embed everything: a full reindex brings {figure}."
    return f"Only a full reindex is shown to be worth it: {figure}."


def points(
    report: RetrievalReport, option: Option, full: Option, costs: Costs, *, floor: float | None = None
) -> tuple[str, ...]:
    """Return what was measured of the chosen option."""
    sentences = [f"Against today: {report.metric} {signed(option.difference)}."]
    if option is not full:
        limit = "" if floor is None else f"; the floor is {percent(floor)}"
        sentences.append(f"Of a full reindex it keeps {share(option.retention)}{limit}.")
        if not full.beats_status_quo():
            sentences.append(
                f"The new model itself is {_compare(full.difference)} today's: a full reindex is at "
                f"{signed(full.difference)}."
            )
        if full.difference.value <= 0 and option.mode == "convert" and option.beats_status_quo():
            sentences.append("The gain is the aligner's: items that the new model embeds do not have it.")
    if option.mode == "lazy_backfill":
        sentences.extend(_lazy_points(option))
    cost = costs.describe(option)
    if cost:
        sentences.append(f"Cost: {cost}.")
    if option.mode not in ("swap", "convert", "reindex"):
        sentences.extend(_loss(report))
    return tuple(sentences)


def stay_points(report: RetrievalReport, measured: Sequence[Option]) -> tuple[str, ...]:
    """Return the evidence for staying."""
    full = next(option for option in measured if option.mode == "reindex")
    sentences = [
        f"A full reindex against today: {report.metric} {signed(full.difference)}, on {report.queries} held-out "
        "queries."
    ]
    if full.difference.low <= 0 <= full.difference.high:
        sentences.append("The interval contains zero: more judged queries would show smaller differences.")
    unchanged = next((option for option in measured if option.mode == "swap"), None)
    if unchanged is not None and unchanged.keeps(0.95):
        sentences.append(
            "If the model must change all the same, no aligner is needed: the new model searches the stored vectors "
            f"with {percent(unchanged.retention.value)} of a full reindex."
        )
    better = [option for option in measured if option.beats_status_quo()]
    if better:
        best = max(better, key=lambda option: option.difference.low)
        needs = ", but needs both models at query time" if len(best.needs) == 2 else ""
        sentences.append(f"{subject(best)} is better than today, {signed(best.difference)}{needs}.")
    return (*sentences, *_loss(report))


def against_the_rest(
    report: RetrievalReport, others: Sequence[Option], floor: float, limit: float, costs: Costs, *, can_stay: bool
) -> tuple[str, ...]:
    """Return why the best of the cheaper modes was not chosen."""
    sentences = list(_loss(report))
    large = [option for option in others if (option.share_of_reindex or 0) > limit]
    sentences.extend(
        f"{subject(option)} is not cheaper: it embedded {percent(option.share_of_reindex or 0)} of what a full reindex "
        "embeds."
        for option in large
        if option.keeps(floor) and (option.beats_status_quo() or not can_stay)
    )
    rest = [option for option in others if option not in large]
    if not rest:
        return tuple(sentences)
    nearest = max(rest, key=lambda option: option.retention.low)
    if not nearest.keeps(floor):
        sentences.append(
            f"The best cheaper mode, {describe(nearest)}, is not shown to keep {percent(floor)} of a full reindex: it "
            f"keeps {share(nearest.retention)}."
        )
    elif can_stay and not nearest.beats_status_quo():
        sentences.append(
            f"The best cheaper mode, {describe(nearest)}, is not shown to be better than today: "
            f"{signed(nearest.difference)}."
        )
    elif cost := costs.describe(nearest):
        sentences.append(f"{subject(nearest)} would cost: {cost}.")
    return tuple(sentences)


def aligner_cost(workload: Workload, *, limit: float) -> tuple[str, ...]:
    """Return what the aligner itself costs, and whether the gallery is so small that a reindex is simpler."""
    if not workload.fixed:
        return ()
    seconds = workload.seconds(workload.share)
    time = "" if seconds is None else f", about {format_duration(seconds)}"
    sentences = [
        f"To fit the aligner, the new model embeds {workload.fixed:,.0f} {workload.unit}{time}: "
        f"{percent(workload.share)} of a full reindex of this gallery, and no more for a larger one."
    ]
    if workload.share > limit:
        sentences.append("This gallery is small: a full reindex costs hardly more, and is simpler.")
    return tuple(sentences)


def describe(option: Option) -> str:
    """Name a mode inside a sentence."""
    names = {"stay": "staying", "swap": "searching the stored vectors with the new model", "reindex": "a full reindex"}
    if option.mode in names:
        return names[option.mode]
    base = "fused scoring" if len(option.needs) == 2 else "converting"
    if option.mode == "lazy_backfill":
        what = (
            "what queries bring up" if option.depth is None else f"the {option.depth} items that each query brings up"
        )
        return f"{base} and re-embedding {what}"
    if option.mode == "backfill":
        part = "a part" if option.fraction is None else f"{100 * option.fraction:.3g} %"
        return f"{base} and re-embedding {part} of the gallery"
    return base


def subject(option: Option) -> str:
    """Name a mode at the beginning of a sentence."""
    text = describe(option)
    return text[0].upper() + text[1:]


def signed(difference: Estimate) -> str:
    """Write a difference with its interval.

    Example:
        >>> signed(Estimate(0.045, 0.01, 0.08))
        '+0.045 (95 % interval +0.010 to +0.080)'
    """
    value, low, high = (_signed(part) for part in (difference.value, difference.low, difference.high))
    return f"{value} (95 % interval {low} to {high})"


def share(retention: Estimate) -> str:
    """Write a share with its interval.

    Example:
        >>> share(Estimate(0.92, 0.9, 0.94))
        '92.0 % (95 % interval 90.0 % to 94.0 %)'
    """
    return f"{percent(retention.value)} (95 % interval {percent(retention.low)} to {percent(retention.high)})"


def percent(value: float) -> str:
    """Write a fraction as per cent.

    Example:
        >>> percent(0.9204), percent(0.8)
        ('92.0 %', '80.0 %')
    """
    return f"{100 * value:.1f} %"


def _compare(difference: Estimate) -> str:
    """Say how something that is not shown to be better compares."""
    if difference.high < 0:
        return "worse than"
    return "not better than" if difference.value <= 0 else "not shown to be better than"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _lazy_points(option: Option) -> list[str]:
    sentences = []
    if option.items is not None and option.share_of_reindex is not None:
        sentences.append(
            f"The replayed queries embedded {option.items:,} items, {percent(option.share_of_reindex)} of what a full "
            "reindex embeds; more traffic embeds more."
        )
    if option.cold is not None:
        sentences.append(
            f"In a cold gallery, where a query finds nothing re-embedded by earlier ones, it keeps "
            f"{percent(option.cold.retention.value)} of a full reindex."
        )
    return sentences


def _loss(report: RetrievalReport) -> list[str]:
    """Return the sentence about a conversion that is no better than today; none if it is better."""
    losing = [part for part in report.parts if part.differences["converted"].value < 0]
    if not losing:
        return []
    part = losing[0]
    where = "" if part is report.parts[0] else ", without the fitted items in the gallery"
    difference = part.differences["converted"]
    verdict = "is worse" if difference.high < 0 else "is not better"
    return [f"Converting alone {verdict} than today{where}: {report.metric} {signed(difference)}."]
