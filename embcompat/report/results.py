"""The result files that a report shows: one JSON object each, whose ``kind`` says what was measured.

Every command that measures something writes such an object with ``--json``. What a file leaves out, or holds as null,
the page leaves out. Rates and retrieval metrics are fractions. The 95 % interval of a figure ``x`` is ``x_interval``,
``[low, high]``, with null for an end that the data do not bound.

==================  ==================================================================================================
kind                what it holds
==================  ==================================================================================================
``retrieval``       `RetrievalResult`: what `embcompat.evaluation.RetrievalReport.to_dict` returns
``demo``            the same, with example searches and timings
``verification``    `VerificationResult`: what `embcompat.evaluation.VerificationReport.to_dict` returns, and DET curves
``learning_curve``  `LearningCurve`: a metric against the number of pairs
``backfill_curve``  `BackfillCurve`: a metric against the fraction that is embedded with the new model
==================  ==================================================================================================

Any of them may carry the parts of `embcompat.report.parts.Result`: decision, reason, notes, pictures of the vectors
and scores (`embcompat.report.samples` makes them), and provenance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from embcompat.errors import FileFormatError, InputError, UnknownNameError
from embcompat.evaluation.retrieval.report import LINES
from embcompat.report.parts import (
    Example,
    GalleryPart,
    Hybrid,
    Interval,
    Measured,
    ModeOption,
    Part,
    Point,
    Result,
    Scenario,
    fold_intervals,
)

_RECALL = re.compile(r"recall@([1-9][0-9]*)")


class RetrievalResult(Result):
    """What a search is worth: before, with an aligner, and after a full reindex.

    Attributes:
        metric: Which figure the lines are, for instance ``ndcg@10``.
        status_quo: Old queries, old gallery.
        naive_swap: New queries, old gallery; absent where the dimensions differ.
        converted: New queries, converted gallery.
        fused: Both scores added.
        full_reindex: New queries, new gallery.
        retention: converted / full_reindex.
        gap: (converted − status_quo) / (full_reindex − status_quo).
        metrics: Other metrics, each with its lines; those called ``recall@k`` become the recall curves.
        differences: For each line, its metric less that of the status quo.
        retention_by_size: The lines in nested parts of the gallery.
        unfitted: The lines in the gallery without the fitted items, where every row is converted.
        options: Ways to go on that re-embed a part of the gallery.
        hybrid: The lines beside a lexical run.
        reasons: Why a line or figure is absent, by its name.
        relevance: What says which items are relevant: ``qrels``, ``labels`` or ``new_model_neighbours``.
        queries: Number of queries.
        gallery_size: Number of items searched.
        native_fraction: Share of the gallery that served as pairs and is native.
        examples: Searches before and after.
        reembed_seconds: To embed the whole gallery with the new model.
        pairs_seconds: To embed the pairs with the new model.
        fit_seconds: To fit the aligner.
        convert_seconds: To convert the gallery.
        speedup: reembed_seconds / (pairs_seconds + fit_seconds + convert_seconds).
    """

    kind: Literal["retrieval", "demo"]
    metric: str
    status_quo: Measured | None = None
    naive_swap: Measured | None = None
    converted: Measured | None = None
    fused: Measured | None = None
    full_reindex: Measured | None = None
    retention: Measured | None = None
    gap: Measured | None = None
    metrics: dict[str, dict[str, Measured]] = Field(default_factory=dict)
    differences: dict[str, Measured] = Field(default_factory=dict)
    retention_by_size: list[GalleryPart] = Field(default_factory=list)
    unfitted: GalleryPart | None = None
    options: list[ModeOption] = Field(default_factory=list)
    hybrid: Hybrid | None = None
    reasons: dict[str, str] = Field(default_factory=dict)
    relevance: str | None = None
    queries: int | None = None
    gallery_size: int | None = None
    native_fraction: float | None = None
    examples: list[Example] = Field(default_factory=list)
    reembed_seconds: float | None = None
    pairs_seconds: float | None = None
    fit_seconds: float | None = None
    convert_seconds: float | None = None
    speedup: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, data: Any) -> Any:
        return fold_intervals(data, (*LINES, "retention", "gap"))

    def lines(self) -> dict[str, Measured]:
        """Return the lines that were measured, in their order."""
        found: dict[str, Measured | None] = {name: getattr(self, name) for name in LINES}
        return {name: line for name, line in found.items() if line is not None}

    def recall(self) -> dict[str, dict[int, float]]:
        """Return recall at each k for each line, as far as it was measured."""
        found = ((_RECALL.fullmatch(name), lines) for name, lines in self.metrics.items())
        depths = {int(match[1]): lines for match, lines in found if match}
        return {
            line: {depth: depths[depth][line].value for depth in sorted(depths) if line in depths[depth]}
            for line in LINES
            if any(line in lines for lines in depths.values())
        }


class VerificationResult(Result):
    """What verification is worth.

    Attributes:
        scenarios: ``S1`` new–new, ``S2`` converted–converted, ``S3`` converted anchor and new positive, ``S4`` the
            reverse.
        old: The status quo, old–old, at its own threshold.
        target_frr: The false reject rate that S1's threshold was set at.
        subjects: Number of subjects.
        same_item_distance: Mean distance of the converted and the new vector of one item.
        status_quo_ratio: False accept rate of S3 as a multiple of the status quo's.
        det: For a scenario by name, points (far, frr), as `DetCurve.points` returns them.
    """

    kind: Literal["verification"]
    scenarios: dict[str, Scenario]
    old: Scenario | None = None
    target_frr: float | None = None
    subjects: int | None = None
    same_item_distance: float | None = None
    status_quo_ratio: Measured | None = None
    det: dict[str, list[Point]] = Field(default_factory=dict)

    @field_validator("scenarios", mode="before")
    @classmethod
    def _fold_scenarios(cls, scenarios: Any) -> Any:
        if not isinstance(scenarios, Mapping):
            return scenarios
        return {name: fold_intervals(each, ("frr", "far", "far_at_frr")) for name, each in scenarios.items()}

    @field_validator("old", mode="before")
    @classmethod
    def _fold_old(cls, old: Any) -> Any:
        return fold_intervals(old, ("frr", "far", "far_at_frr"))

    def named(self) -> dict[str, Scenario]:
        """Return the scenarios in their order, the status quo first."""
        before = {} if self.old is None else {"old": self.old}
        return before | dict(sorted(self.scenarios.items()))


class LearningCurve(Result):
    """How many pairs are enough.

    Attributes:
        metric: What was measured.
        pairs: Numbers of pairs.
        values: The metric for each.
        intervals: Its interval for each; empty where none was taken.
        enough: The least number of pairs that is as good as the most.
        status_quo: The metric before the upgrade.
        full_reindex: The metric after a full reindex.
    """

    kind: Literal["learning_curve"]
    metric: str
    pairs: list[PositiveInt] = Field(min_length=1)
    values: list[float]
    intervals: list[Interval] = Field(default_factory=list)
    enough: int | None = None
    status_quo: float | None = None
    full_reindex: float | None = None

    @model_validator(mode="after")
    def _same_length(self) -> LearningCurve:
        _same_lengths(self.pairs, self.values, self.intervals)
        return self


class BackfillOrder(Part):
    """One order of re-embedding.

    Attributes:
        fractions: Share of the gallery that is embedded with the new model, pairs included.
        metric: The metric at each.
        intervals: Its interval at each; empty where none was taken.
        auc: Mean of the metric over equally spaced fractions.
    """

    fractions: list[float] = Field(min_length=1)
    metric: list[float]
    intervals: list[Interval] = Field(default_factory=list)
    auc: float | None = None

    @model_validator(mode="after")
    def _same_length(self) -> BackfillOrder:
        _same_lengths(self.fractions, self.metric, self.intervals)
        return self


class BackfillCurve(Result):
    """What re-embedding a part buys.

    Attributes:
        metric: What was measured.
        orders: The curve of each order, by its name.
        status_quo: The metric before the upgrade.
        full_reindex: The metric after a full reindex.
    """

    kind: Literal["backfill_curve"]
    metric: str
    orders: dict[str, BackfillOrder] = Field(min_length=1)
    status_quo: float | None = None
    full_reindex: float | None = None


KINDS: dict[str, type[Result]] = {
    "retrieval": RetrievalResult,
    "demo": RetrievalResult,
    "verification": VerificationResult,
    "learning_curve": LearningCurve,
    "backfill_curve": BackfillCurve,
}
"""Which class reads which kind."""


def parse_result(data: Mapping[str, Any], *, where: str = "the result") -> Result:
    """Check a result.

    Args:
        data: The JSON object.
        where: What to call it in the error, for instance a file name.

    Raises:
        UnknownNameError: If its kind is not known.
        InputError: If it has no kind, or a part is not what it must be.

    Example:
        >>> parse_result({"kind": "retrieval", "metric": "ndcg@10", "status_quo": 0.25}).lines()
        {'status_quo': Measured(value=0.25, low=None, high=None)}
    """
    kind = data.get("kind")
    if not isinstance(kind, str):
        raise InputError(f"{where} must name its kind, one of {', '.join(sorted(KINDS))}. Got {kind!r}.")
    if kind not in KINDS:
        raise UnknownNameError("kind of result", kind, KINDS)
    try:
        return KINDS[kind].model_validate({key: value for key, value in data.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the object"
        raise InputError(f"{where} is not a {kind} result. {field}: {first['msg']}.") from error


def read_result(path: Path) -> Result:
    """Read a result file.

    Raises:
        FileFormatError: If the file is missing or not a JSON object.
        InputError: If it is not a result; names the file and the part.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise FileFormatError(f"{path} does not exist.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(data, dict):
        raise FileFormatError(f"{path} must hold one JSON object. Got a {type(data).__name__}.")
    return parse_result(data, where=str(path))


def _same_lengths(x: list[Any], y: list[float], intervals: list[Interval]) -> None:
    if len(x) != len(y) or (intervals and len(intervals) != len(x)):
        raise ValueError(f"lengths must agree, got {len(x)}, {len(y)} and {len(intervals)} intervals")
