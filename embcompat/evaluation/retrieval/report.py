"""What a retrieval evaluation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.evaluation.bootstrap import Estimate

Line = Literal["status_quo", "naive_swap", "converted", "fused", "full_reindex"]
LINES: tuple[Line, ...] = ("status_quo", "naive_swap", "converted", "fused", "full_reindex")

MIN_QUERIES = 20
"""Held-out queries below which no verdict is given [ours]: a bootstrap of fewer is too narrow to trust."""

ENOUGH_QUERIES = 100
"""Held-out queries that are enough, however many were lost to fitted items [ours]."""

Figures = Mapping[str, Mapping[Line, Estimate]]
"""Metric → line → figure."""


@dataclass(frozen=True)
class GalleryPart:
    """The lines in a gallery, or in a part of it that holds every relevant item.

    Attributes:
        gallery_size: Items in the part.
        means: Mean of the metric on each line.
        differences: Mean of the metric less the status quo, for each other line.
        retentions: Line / full reindex, as the ratio of means, for every line but that one; empty
            where a full reindex finds nothing.
    """

    gallery_size: int
    means: Mapping[Line, float]
    differences: Mapping[Line, Estimate]
    retentions: Mapping[Line, Estimate]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the figures as JSON."""
        return {
            "gallery_size": self.gallery_size,
            "means": {str(line): mean for line, mean in self.means.items()},
            **{str(line): mean for line, mean in self.means.items()},
            **_with_interval("retention", self.retentions.get("converted")),
            "differences": _estimates(self.differences),
            "retentions": _estimates(self.retentions),
        }


@dataclass(frozen=True, eq=False)
class RetrievalReport:
    """The five lines of a model change, on held-out queries, with paired bootstrap intervals.

    The lines: ``status_quo`` (old queries, old gallery), ``naive_swap`` (new queries, old gallery), ``converted``
    (new queries, converted gallery), ``fused`` (both scores added) and ``full_reindex`` (new queries, new gallery).
    A line that was not measured is absent, and ``reasons`` says why.

    Attributes:
        metric: The metric of every figure that does not name another.
        old_space: Id of the old space.
        new_space: Id of the new space.
        queries: Held-out queries: those whose relevant items were not fitted.
        gallery_size: Items in the gallery.
        native_items: Fitted items in the gallery: they have new vectors already, are served with them, and belong
            to the budget.
        figures: Mean of each metric on each line.
        gaps: (Line − status quo) / (full reindex − status quo); for ``converted`` and ``fused``.
        sizes: The figures in nested galleries, the smallest first, the whole one last: small galleries flatter.
        unfitted: The figures in the gallery without the fitted items, where every row is converted; None if nothing
            was fitted. Native rows score on another scale than converted ones, which flatters or hurts the
            converted line, because the relevant items of held-out queries are all converted.
        fused_weight: Weight of the new score to serve ``fused`` with; None without that line.
        residual: Whether too few queries were free of fitted items, so that queries are judged by their unfitted
            relevant items alone.
        in_sample: The figures on queries with a fitted relevant item; None if there is no such query.
        in_sample_queries: How many those are.
        unjudged_queries: Queries without a relevant item in the gallery; in no figure.
        reasons: Why a line or figure is absent, by its name.
        per_query: The metric of each held-out query on each line: what everything else derives from.
        query_ids: Ids of those queries.
    """

    metric: str
    old_space: str
    new_space: str
    queries: int
    gallery_size: int
    native_items: int
    figures: Figures
    gaps: Mapping[Line, Estimate]
    sizes: tuple[GalleryPart, ...]
    unfitted: GalleryPart | None
    fused_weight: float | None
    residual: bool
    in_sample: Figures | None
    in_sample_queries: int
    unjudged_queries: int
    reasons: Mapping[str, str]
    per_query: Mapping[Line, NDArray[np.float64]]
    query_ids: tuple[str, ...]

    @property
    def lines(self) -> Mapping[Line, Estimate]:
        """The lines that were measured, on the report's metric."""
        return self.figures[self.metric]

    @property
    def differences(self) -> Mapping[Line, Estimate]:
        """Mean of the metric less the status quo, for each other line."""
        return self.sizes[-1].differences

    @property
    def retentions(self) -> Mapping[Line, Estimate]:
        """Line / full reindex, as the ratio of means; for ``status_quo``, ``converted`` and ``fused``."""
        return self.sizes[-1].retentions

    @property
    def parts(self) -> tuple[GalleryPart, ...]:
        """The galleries that must agree before anything is decided: the whole one, and the unfitted part."""
        return self.sizes[-1:] if self.unfitted is None else (self.sizes[-1], self.unfitted)

    @property
    def retention(self) -> Estimate | None:
        """What the converted gallery keeps of a full reindex; None where a full reindex finds nothing."""
        return self.retentions.get("converted")

    @property
    def gap(self) -> Estimate | None:
        """How much of the way from the status quo to a full reindex the converted gallery goes."""
        return self.gaps.get("converted")

    @property
    def native_fraction(self) -> float:
        """Share of the gallery that has been re-embedded already, because it was fitted."""
        return self.native_items / self.gallery_size

    @property
    def loss(self) -> str | None:
        """The sentence that says that the aligner loses to the status quo; None if it does not."""
        losing = [part for part in self.parts if (found := part.differences.get("converted")) and found.value < 0]
        if not losing:
            return None
        part, difference = losing[0], losing[0].differences["converted"]
        where = "" if part is self.sizes[-1] else "without the fitted items, "
        return (
            f"The aligner loses to the status quo: {where}{self.metric} {part.means['converted']:.3f} against "
            f"{part.means['status_quo']:.3f} (difference {difference.value:+.3f}, 95 % interval {difference.low:+.3f} "
            f"to {difference.high:+.3f})"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before the figures: a loss first, then whatever weakens them."""
        notes = [f"{self.loss}."] if self.loss else []
        if self.residual:
            notes.append(
                f"{self.in_sample_queries} judged queries have a fitted item among their answers, and too few have "
                f"none. So all {self.queries} queries are judged by their unfitted answers alone; the fitted ones are "
                "left out of their rankings, in every line. To avoid this, fit on items that answer no query: "
                "`embcompat fit --keep-out QRELS`."
            )
        if self.unfitted is not None and not self._parts_agree():
            served, alone = (part.differences["converted"] for part in self.parts)
            notes.append(
                "Native and converted rows score on different scales: with the fitted items in the gallery the "
                f"converted line is {served:+.3f} against the status quo, without them {alone:+.3f}. Trust the lower."
            )
        if self.queries < MIN_QUERIES:
            notes.append(f"Only {self.queries} held-out queries: too few to decide on, {MIN_QUERIES} are needed.")
        if self.unjudged_queries:
            notes.append(f"{self.unjudged_queries} queries have no relevant item in the gallery and are in no figure.")
        if len(self.sizes) == 1:
            notes.append("Every item of the gallery answers some query, so no smaller gallery could be compared.")
        return tuple(notes)

    def _parts_agree(self) -> bool:
        if not all("converted" in part.differences for part in self.parts):
            return True
        served, alone = (part.differences["converted"] for part in self.parts)
        return served.low <= alone.value <= served.high

    def to_dict(self) -> dict[str, JsonValue]:
        """Return everything but the per-query values, as JSON; None for what is absent, with its reason."""
        lines: dict[str, JsonValue] = {}
        for line in LINES:
            found = self.lines.get(line)
            lines |= {line: found.value if found else None, f"{line}_interval": _interval(found)}
        return {
            "metric": self.metric,
            **lines,
            **_with_interval("retention", self.retention),
            **_with_interval("gap", self.gap),
            "queries": self.queries,
            "in_sample_queries": self.in_sample_queries,
            "unjudged_queries": self.unjudged_queries,
            "gallery_size": self.gallery_size,
            "native_fraction": self.native_fraction,
            "old_space": self.old_space,
            "new_space": self.new_space,
            "differences": _estimates(self.differences),
            "retentions": _estimates(self.retentions),
            "gaps": _estimates(self.gaps),
            "retention_by_size": [size.to_dict() for size in self.sizes],
            "unfitted": None if self.unfitted is None else self.unfitted.to_dict(),
            "fused_weight": self.fused_weight,
            "residual": self.residual,
            "metrics": _metrics(self.figures),
            "in_sample": None if self.in_sample is None else _metrics(self.in_sample),
            "reasons": dict(self.reasons),
            "notes": list(self.notes),
        }


def _interval(estimate: Estimate | None) -> JsonValue:
    if estimate is None:
        return None
    found = estimate.to_dict()
    return [found["low"], found["high"]]


def _with_interval(name: str, estimate: Estimate | None) -> dict[str, JsonValue]:
    return {name: estimate.value if estimate else None, f"{name}_interval": _interval(estimate)}


def _estimates(found: Mapping[Line, Estimate]) -> dict[str, JsonValue]:
    return {line: dict(estimate.to_dict()) for line, estimate in found.items()}


def _metrics(figures: Figures) -> dict[str, JsonValue]:
    return {metric: _estimates(found) for metric, found in figures.items()}
