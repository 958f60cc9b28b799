"""The demo's seven points, a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from embcompat.backfill import DEFAULT_DEPTH
from embcompat.cli.demo.gallery import Migration
from embcompat.errors import InputError
from embcompat.evaluation import RetrievalReport
from embcompat.report import wording
from embcompat.upgrade import Evaluation, Option

LARGE = 1_000_000
"""Items of a large gallery for which the cost is given, too: it is fixed, and the demo's own gallery is tiny."""


@dataclass(frozen=True)
class Cost:
    """What the new model embeds, in words.

    Attributes:
        pairs: Words of the documents that serve as pairs.
        pieces: Words of their pieces.
        table: Words of the table of single words.
        gallery: Words of the whole gallery.
        items: Items of the gallery.
    """

    pairs: int
    pieces: int
    table: int
    gallery: int
    items: int

    @property
    def fixed(self) -> int:
        """Words that text-aware conversion embeds, however large the gallery is."""
        return self.pairs + self.pieces + self.table

    def share(self, items: int) -> float:
        """Return that as a share of embedding so many items of this length."""
        return self.fixed / (self.gallery * items / self.items)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the counts as JSON."""
        return {
            "pairs": self.pairs,
            "pieces": self.pieces,
            "table": self.table,
            "gallery": self.gallery,
            "share_of_reindex": self.share(self.items),
            "share_at_a_million": self.share(LARGE),
        }


def tell(
    evaluation: Evaluation, plain: Evaluation, second: Evaluation, successor: str, migration: Migration, cost: Cost
) -> list[tuple[str, str]]:
    """Return the seven points of the demo, each a heading and a sentence.

    Args:
        evaluation: The upgrade with text-aware conversion.
        plain: The same upgrade, converted by the vectors alone.
        second: The second upgrade.
        successor: The two models of the second upgrade.
        migration: What happened to the LanceDB table.
        cost: What the conversion embeds.
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
            f"An aligner of vectors alone: {metric} {number(alone)}, {_compare(alone, today)} today's {number(today)}.",
        ),
        (
            "Conversion that reads the words",
            f"{metric} {number(converted)}; a full reindex has {number(goal)}. The new model embedded {cost.fixed:,} "
            f"words: {percent(cost.share(cost.items))} of this small gallery, {percent(cost.share(LARGE))} of one with "
            f"{LARGE:,} such texts.",
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


def _compare(value: float, today: float) -> str:
    return "above" if value > today else "below"


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
