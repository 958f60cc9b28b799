"""The parts that a result file is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, model_validator

Interval = tuple[float | None, float | None]
Point = tuple[float, float]


class Part(BaseModel):
    """Base of everything in a result file: keys that are not known are allowed and not shown."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Measured(Part):
    """A figure with its 95 % interval.

    Attributes:
        value: The figure.
        low: Lower end, or None where the data do not bound it or no interval was taken.
        high: Upper end, or None.
    """

    value: float
    low: float | None = None
    high: float | None = None


class Projection(Part):
    """Vectors of the same items on two principal components; `embcompat.report.samples.project` makes it.

    Attributes:
        new: Native vectors under the new model.
        converted: The same items, converted.
        old: The same items under the old model; absent where the dimensions differ.
        explained: Share of the new vectors' variance on each of the two components.
    """

    new: list[Point]
    converted: list[Point]
    old: list[Point] | None = None
    explained: tuple[float, float]

    @model_validator(mode="after")
    def _same_items(self) -> Projection:
        if len(self.new) != len(self.converted):
            raise ValueError(f"new and converted must be the same items, got {len(self.new)} and {len(self.converted)}")
        return self


class Histogram(Part):
    """How genuine and impostor scores are spread; `embcompat.report.samples.count_scores` makes it.

    Attributes:
        name: What is compared with what ("converted with new").
        edges: Ends of the bins, one more than there are bins.
        genuine: Share of the genuine scores in each bin.
        impostor: Share of the impostor scores in each bin.
        threshold: The old threshold, or None.
        transferred: The threshold transferred to these scores, or None.
    """

    name: str
    edges: list[float]
    genuine: list[float]
    impostor: list[float]
    threshold: float | None = None
    transferred: float | None = None

    @model_validator(mode="after")
    def _bins_fit(self) -> Histogram:
        bins = len(self.edges) - 1
        if bins < 1 or len(self.genuine) != bins or len(self.impostor) != bins:
            raise ValueError(f"{len(self.edges)} edges, {len(self.genuine)} and {len(self.impostor)} bins do not fit")
        return self


class Hit(Part):
    """One item that an example search found.

    Attributes:
        text: The item.
        relevant: Whether it answers the query.
    """

    text: str
    relevant: bool = False


class Example(Part):
    """One search before and after the upgrade.

    Attributes:
        query: What was searched for.
        before: Best items of the old query in the old gallery.
        after: Best items of the new query in the converted gallery.
    """

    query: str
    before: list[Hit]
    after: list[Hit]


class GalleryPart(Part):
    """The lines in a gallery, or in a part of it.

    Attributes:
        gallery_size: Items in the part.
        means: For each line, the mean of its metric.
        differences: For each line, its metric less that of the status quo.
        retentions: For each line, its share of a full reindex.
    """

    gallery_size: PositiveInt
    means: dict[str, float] = Field(default_factory=dict)
    differences: dict[str, Measured] = Field(default_factory=dict)
    retentions: dict[str, Measured] = Field(default_factory=dict)


class Candidate(Part):
    """One aligner that was tried; the first that is as good as the best is the one that was chosen.

    Attributes:
        name: What it is called.
        parameters: Number of its parameters.
        fit_seconds: How long its fit took.
        score: Its figure on held-out pairs.
        against_best: How it compares with the best figure, paired.
        as_good: Whether that comparison shows no difference.
    """

    name: str
    parameters: int | None = None
    fit_seconds: float | None = None
    score: Measured
    against_best: Measured | None = None
    as_good: bool


class ModeOption(Part):
    """A way to go on that re-embeds a part of the gallery, as it was measured.

    Attributes:
        mode: ``lazy_backfill`` or ``backfill``.
        needs: The models that it needs alive at query time.
        fraction: Share of the gallery that is native under ``backfill``.
        items: Items that were embedded beside the fitted ones.
        share_of_reindex: Those items as a share of what a full reindex embeds.
        cold: Under ``lazy_backfill`` difference and retention if each query were the first one.
        difference: Its metric less that of the status quo.
        retention: Its share of a full reindex.
    """

    mode: str
    needs: list[str] = Field(default_factory=list)
    fraction: float | None = None
    items: int | None = None
    share_of_reindex: float | None = None
    cold: dict[str, Measured] | None = None
    difference: Measured
    retention: Measured


class HybridLine(Part):
    """One line beside a lexical run.

    Attributes:
        equal: The metric with equal weights.
        equal_difference: It less that of today's hybrid; absent for today's.
        chosen: The metric with cross-fitted weights.
        chosen_difference: It less that of today's hybrid; absent for today's.
    """

    equal: Measured
    equal_difference: Measured | None = None
    chosen: Measured
    chosen_difference: Measured | None = None


class Hybrid(Part):
    """The lines beside a lexical run.

    Attributes:
        lexical: The metric of the run alone.
        lines: The hybrid of each line, by its name.
    """

    lexical: Measured
    lines: dict[str, HybridLine]


class Scenario(Part):
    """One verification scenario; rates are fractions.

    Attributes:
        threshold: Score above which a comparison matches.
        frr: False reject rate at that threshold.
        far: False accept rate at that threshold.
        far_at_frr: False accept rate at the scenario's own threshold for the asked false reject rate.
        mean_genuine: Mean distance of genuine comparisons.
        mean_impostor: Mean distance of impostor comparisons.
        impostor_pairs: Number of impostor comparisons.
    """

    threshold: float | None = None
    frr: Measured | None = None
    far: Measured | None = None
    far_at_frr: Measured | None = None
    mean_genuine: float | None = None
    mean_impostor: float | None = None
    impostor_pairs: int | None = None


class Result(Part):
    """What every kind of result may carry.

    Attributes:
        kind: What was measured.
        title: Heading of this part of the page.
        old_space: Id of the old space.
        new_space: Id of the new space.
        decision: What to do: a mode of `embcompat.upgrade.MODES`, or ``unjudged``.
        reason: Why, in one sentence.
        because: What stands behind the reason, a sentence each.
        needs: The models that the decision needs alive at query time: ``old``, ``new``.
        notes: What a reader must know before the figures.
        candidates: The aligners that were tried, the cheapest first.
        projection: Vectors as points in a plane.
        histograms: Score histograms.
        aligner: Kind of the aligner.
        artifact: Id of its artifact.
        seed: Seed of everything drawn at random.
        provenance: Where else the figures come from: versions, commands, the machine. A mapping or list inside is
            shown as several lines.
    """

    kind: str
    title: str | None = None
    old_space: str | None = None
    new_space: str | None = None
    decision: str | None = None
    reason: str | None = None
    because: list[str] = Field(default_factory=list)
    needs: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    candidates: list[Candidate] = Field(default_factory=list)
    projection: Projection | None = None
    histograms: list[Histogram] = Field(default_factory=list)
    aligner: str | None = None
    artifact: str | None = None
    seed: int | None = None
    provenance: dict[str, JsonValue] = Field(default_factory=dict)


def fold_intervals(data: Any, names: Iterable[str]) -> Any:
    """Put each flat figure ``x`` together with its interval, found under ``x_interval`` or ``intervals`` → ``x``.

    Example:
        >>> fold_intervals({"far": 0.5, "far_interval": [0.25, None]}, ["far"])["far"]
        {'value': 0.5, 'low': 0.25, 'high': None}
    """
    if not isinstance(data, Mapping):
        return data
    listed = data.get("intervals")
    apart = listed if isinstance(listed, Mapping) else {}
    folded = dict(data)
    for name in names:
        value, interval = data.get(name), data.get(f"{name}_interval", apart.get(name))
        if isinstance(value, (int, float)):
            pair = interval if isinstance(interval, (list, tuple)) and len(interval) == 2 else (None, None)
            folded[name] = {"value": value, "low": pair[0], "high": pair[1]}
    return folded
