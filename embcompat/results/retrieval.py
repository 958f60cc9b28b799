"""The measurements of a search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer, model_validator

from embcompat.results.changes import QueryChanges
from embcompat.results.values import Estimate, Value, flatten_figure, fold_figure

Line = Literal["status_quo", "naive_swap", "converted", "fused", "full_reindex"]
LINES: tuple[Line, ...] = ("status_quo", "naive_swap", "converted", "fused", "full_reindex")

MIN_QUERIES = 20
"""Held-out queries below which no verdict is given [ours]: a bootstrap of fewer is too narrow to trust."""

ENOUGH_QUERIES = 100
"""Held-out queries that are enough, however many were lost to fitted items [ours]."""

Figures = Mapping[str, Mapping[Line, Estimate]]
"""Metric → line → figure."""

_RECALL = re.compile(r"recall@([1-9][0-9]*)")


class GalleryPart(Value):
    """The lines in a gallery, or in a part of it that holds every relevant item.

    Attributes:
        gallery_size: Items in the part.
        means: Mean of the metric on each line.
        differences: Mean of the metric less the status quo, for each other line.
        retentions: Line / full reindex, as the ratio of means, for every line but that one; empty
            where a full reindex finds nothing.
    """

    gallery_size: int = Field(gt=0)
    means: Mapping[Line, float] = Field(default_factory=dict)
    differences: Mapping[Line, Estimate] = Field(default_factory=dict)
    retentions: Mapping[Line, Estimate] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {**fields, **fields["means"], **_flat("retention", fields["retentions"].get("converted"))}


class RetrievalReport(Value):
    """The five lines of a model change, on held-out queries, with paired bootstrap intervals.

    The lines: ``status_quo`` (old queries, old gallery), ``naive_swap`` (new queries, old gallery), ``converted``
    (new queries, converted gallery), ``fused`` (both scores added) and ``full_reindex`` (new queries, new gallery).
    A line that was not measured is absent, and ``reasons`` says why.

    Attributes:
        metric: The metric of every figure that does not name another.
        old_space: Id of the old space.
        new_space: Id of the new space.
        queries: Held-out queries: those whose relevant items were not fitted. 0 where a file does not say.
        gallery_size: Items in the gallery. 0 where a file does not say.
        native_fraction: Share of the gallery that was fitted: it has new vectors already, is served with them (but
            for the conversion of a reweighted aligner, which is served alone), and belongs to the budget.
        metrics: Mean of each metric on each line.
        gaps: (Line − status quo) / (full reindex − status quo); for ``converted`` and ``fused``.
        retention_by_size: The figures in nested galleries, the smallest first, the whole one last: small galleries
            flatter.
        unfitted: The figures in the gallery without the fitted items, where every row is converted; None if nothing
            was fitted. Native rows score on another scale than converted ones, which flatters or hurts the
            converted line, because the relevant items of held-out queries are all converted.
        fused_weight: Weight of the new score to serve ``fused`` with; None without that line.
        residual: Whether too few queries were free of fitted items, so that queries are judged by their unfitted
            relevant items alone.
        in_sample: The figures on queries with a fitted relevant item; None if there is no such query.
        in_sample_queries: How many those are.
        unjudged_queries: Queries without a relevant item in the gallery; in no figure.
        changes: Queries that are better and worse in the converted gallery than today; None where not compared.
        reasons: Why a line or figure is absent, by its name.
        per_query: The metric of each held-out query on each line: what everything else derives from. Not in JSON.
        query_ids: Ids of those queries. Not in JSON.
    """

    metric: str
    old_space: str | None = None
    new_space: str | None = None
    queries: int = 0
    gallery_size: int = 0
    native_fraction: float = 0.0
    metrics: Figures = Field(default_factory=dict)
    gaps: Mapping[Line, Estimate] = Field(default_factory=dict)
    retention_by_size: tuple[GalleryPart, ...] = ()
    unfitted: GalleryPart | None = None
    fused_weight: float | None = None
    residual: bool = False
    in_sample: Figures | None = None
    in_sample_queries: int = 0
    unjudged_queries: int = 0
    changes: QueryChanges | None = None
    reasons: Mapping[str, str] = Field(default_factory=dict)

    per_query: Mapping[Line, NDArray[np.float64]] = Field(default_factory=dict, exclude=True)
    query_ids: tuple[str, ...] = Field(default=(), exclude=True)

    def __repr__(self) -> str:
        figures = self.metrics.get(self.metric, {})
        lines = "".join(f", {line}={figure.value:.3f}" for line, figure in figures.items())
        return f"RetrievalReport({self.metric!r}, queries={self.queries}, gallery_size={self.gallery_size}{lines})"

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, data: Any) -> Any:
        """Read the lines where JSON holds them flat alone."""
        if not isinstance(data, Mapping):
            return data
        fields = {name: value for name, value in data.items() if value is not None}
        lines = {name: fold_figure(fields[name], fields.get(f"{name}_interval")) for name in LINES if name in fields}
        if lines and isinstance(metrics := fields.get("metrics", {}), Mapping):
            fields["metrics"] = {fields.get("metric"): lines, **metrics}
        if "gap" in fields:
            gap = fold_figure(fields["gap"], fields.get("gap_interval"))
            fields["gaps"] = {"converted": gap, **fields.get("gaps", {})}
        return fields

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        lines = fields["metrics"].get(self.metric, {})
        for line in LINES:
            fields |= _flat(line, lines.get(line))
        whole = fields["retention_by_size"][-1] if self.retention_by_size else {"differences": {}, "retentions": {}}
        fields |= _flat("retention", whole["retentions"].get("converted"))
        fields |= _flat("gap", fields["gaps"].get("converted"))
        return fields | {name: whole[name] for name in ("differences", "retentions")}

    def to_dict(self) -> dict[str, JsonValue]:
        """Return everything but the per-query values, as JSON; None for what is absent, with its reason."""
        return {**super().to_dict(), "notes": list(self.notes)}

    @property
    def lines(self) -> Mapping[Line, Estimate]:
        """The lines that were measured, on the report's metric."""
        return self.metrics.get(self.metric, {})

    @property
    def differences(self) -> Mapping[Line, Estimate]:
        """Mean of the metric less the status quo, for each other line."""
        return self.retention_by_size[-1].differences if self.retention_by_size else {}

    @property
    def retentions(self) -> Mapping[Line, Estimate]:
        """Line / full reindex, as the ratio of means; for ``status_quo``, ``converted`` and ``fused``."""
        return self.retention_by_size[-1].retentions if self.retention_by_size else {}

    @property
    def parts(self) -> tuple[GalleryPart, ...]:
        """The galleries that must agree before anything is decided: the whole one, and the unfitted part."""
        whole = self.retention_by_size[-1:]
        return whole if self.unfitted is None else (*whole, self.unfitted)

    @property
    def retention(self) -> Estimate | None:
        """The share of a full reindex that the converted gallery retains; None where a full reindex finds nothing."""
        return self.retentions.get("converted")

    @property
    def gap(self) -> Estimate | None:
        """How much of the way from the status quo to a full reindex the converted gallery goes."""
        return self.gaps.get("converted")

    @property
    def native_items(self) -> int:
        """Fitted items in the gallery."""
        return round(self.native_fraction * self.gallery_size)

    def recall(self) -> dict[Line, dict[int, float]]:
        """Return recall at each k for each line, as far as it was measured."""
        matches = ((_RECALL.fullmatch(name), lines) for name, lines in self.metrics.items())
        depths = {int(match[1]): lines for match, lines in matches if match}
        return {
            line: {depth: depths[depth][line].value for depth in sorted(depths) if line in depths[depth]}
            for line in LINES
            if any(line in lines for lines in depths.values())
        }

    @property
    def loss(self) -> str | None:
        """The warning that the aligner loses to the status quo; None if it does not."""
        for part in self.parts:
            difference = part.differences.get("converted")
            if difference is None or difference.value >= 0:
                continue
            where = "" if part is self.parts[0] else "without the fitted items, "
            return (
                f"The aligner loses to the status quo: {where}{self.metric} {part.means['converted']:.3f} against "
                f"{part.means['status_quo']:.3f} (difference {difference.value:+.3f}, 95 % interval "
                f"{difference.low:+.3f} to {difference.high:+.3f})"
            )
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes that must precede the figures: a loss first, then the reasons why the figures are weak."""
        notes = [f"{self.loss}."] if self.loss else []
        if self.residual:
            notes.append(
                f"{self.in_sample_queries} judged queries have a fitted item among their answers, and too few have "
                f"none. So all {self.queries} queries are judged by their unfitted answers alone; the fitted ones are "
                "left out of their rankings, in every line. To avoid this, fit on items that answer no query: "
                "`embcompat fit --keep-out QRELS`."
            )
        if self.unfitted is not None and not self._parts_agree():
            whole, alone = (part.differences["converted"] for part in self.parts)
            notes.append(
                "Native and converted rows score on different scales: with the fitted items in the gallery the "
                f"converted line is {whole:+.3f} against the status quo, without them {alone:+.3f}. Trust the lower."
            )
        if self.queries < MIN_QUERIES:
            notes.append(f"Only {self.queries} held-out queries: too few to decide on, {MIN_QUERIES} are needed.")
        if self.unjudged_queries:
            notes.append(f"{self.unjudged_queries} queries have no relevant item in the gallery and are in no figure.")
        if len(self.retention_by_size) == 1:
            notes.append("Every item of the gallery answers some query, so no smaller gallery could be compared.")
        return tuple(notes)

    def _parts_agree(self) -> bool:
        if not all("converted" in part.differences for part in self.parts):
            return True
        whole, alone = (part.differences["converted"] for part in self.parts)
        return whole.low <= alone.value <= whole.high


class HybridLine(Value):
    """One line beside a lexical run.

    Attributes:
        equal: The metric with equal weights.
        equal_difference: ``equal`` less that of today's hybrid; None for today's.
        chosen: The metric where each fifth of the queries takes the weight that is best on the other four.
        chosen_difference: ``chosen`` less that of today's hybrid; None for today's.
        weight: Weight of the vectors' score that is best on all queries.
    """

    equal: Estimate
    equal_difference: Estimate | None = None
    chosen: Estimate
    chosen_difference: Estimate | None = None
    weight: float | None = None


class HybridReport(Value):
    """The metric of each line in a hybrid with a lexical run.

    Attributes:
        metric: What was measured.
        lexical: The metric of the lexical run alone.
        lines: The hybrid of each line.
        missing_queries: Held-out queries of which the run holds nothing: their hybrid is the line alone.
    """

    metric: str | None = None
    lexical: Estimate
    lines: Mapping[Line, HybridLine]
    missing_queries: int = 0


def _flat(name: str, figure: Mapping[str, Any] | None) -> dict[str, Any]:
    number, interval = flatten_figure(figure)
    return {name: number, f"{name}_interval": interval}
