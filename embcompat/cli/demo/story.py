"""The demo's seven points, a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from embcompat.backfill import DEFAULT_DEPTH
from embcompat.cli.demo.gallery import Migration
from embcompat.errors import InputError
from embcompat.evaluation import RetrievalReport
from embcompat.report import wording
from embcompat.results import Workload
from embcompat.upgrade import Evaluation, Option

LARGE = 1_000_000
"""Items of a large gallery for which the cost is given, too: it is fixed, and the demo's own gallery is tiny."""


def share_at(cost: Workload, items: int) -> float:
    """Return what text-aware conversion embeds as a share of embedding so many items of this length."""
    return cost.share * cost.items / items


def describe_cost(cost: Workload) -> dict[str, JsonValue]:
    """Return the words that text-aware conversion embeds as JSON."""
    counts = {name: round(getattr(cost, name)) for name in ("pairs", "pieces", "table", "gallery")}
    return {**counts, "share_of_reindex": cost.share, "share_at_a_million": share_at(cost, LARGE)}


def tell(
    evaluation: Evaluation, plain: Evaluation, second: Evaluation, successor: str, migration: Migration, cost: Workload
) -> list[tuple[str, str]]:
    """Return the seven points of the demo, each a heading and a sentence.

    Args:
        evaluation: The upgrade with text-aware conversion.
        plain: The same upgrade, converted by the vectors alone.
        second: The second upgrade.
        successor: The two models of the second upgrade.
        migration: What happened to the LanceDB table.
        cost: The words that the conversion embeds.
    """
    report = _search(evaluation)
    lines, metric = report.lines, report.metric
    today, goal = lines["status_quo"].value, lines["full_reindex"].value
    swap, converted = lines["naive_swap"].value, lines["converted"].value
    alone = _search(plain).lines["converted"].value
    number, percent = wording.as_number, wording.as_percent
    return [
        (
            "Silent mixing",
            f"The new model's queries search the old vectors: nothing fails, and {metric} falls from {number(today)} "
            f"to {number(swap)}.",
        ),
        (
            "Plain conversion",
            f"An aligner of vectors alone: {metric} {number(alone)}, {'above' if alone > today else 'below'} today's "
            f"{number(today)}.",
        ),
        (
            "Conversion that reads the words",
            f"{metric} {number(converted)}; a full reindex has {number(goal)}. The new model embedded "
            f"{cost.fixed:,.0f} words: {percent(cost.share)} of this small gallery, {percent(share_at(cost, LARGE))} "
            f"of one with {LARGE:,} such texts.",
        ),
        ("Lazy backfill on top", _lazy(evaluation, metric)),
        ("A second, small upgrade", f"{successor}: {second.decision.reason}"),
        ("A live table", _migrated(migration)),
        ("The verdict", evaluation.decision.reason),
    ]


def _search(evaluation: Evaluation) -> RetrievalReport:
    if not isinstance(evaluation.report, RetrievalReport):
        raise InputError(f"the demo tells of a search. Got the task {evaluation.task!r}.")
    return evaluation.report


def _lazy(evaluation: Evaluation, metric: str) -> str:
    """Describe what embedding a query's candidates adds, for the very first query."""
    options: Sequence[Option] = () if evaluation.modes is None else evaluation.modes.options
    lazy = next(option for option in options if option.mode == "lazy_backfill" and option.needs == ("new",))
    if lazy.cold is None:
        raise InputError("the demo needs the figures of a cold start. The evaluation measured none.")
    return (
        f"The {DEFAULT_DEPTH} documents that a query brings up are embedded on the spot, ranked natively and kept: the "
        f"very first query gets {wording.as_percent(lazy.cold.retention.value)} of a full reindex ({metric} "
        f"{wording.as_difference(lazy.cold.difference.value)} against today). The gallery re-embeds itself where "
        "people look."
    )


def _migrated(migration: Migration) -> str:
    return (
        f"{migration.rows:,} rows of a LanceDB table were converted beside the vectors in service, "
        f"{migration.missing} missing; cut over in one step, and rolled back: the first hit was "
        f"{migration.hits_before[0]}, then {migration.hits_after[0]}, then {migration.hits_back[0]} again."
    )
