"""The modes that could be chosen, what was measured of each, and the decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue, SerializerFunctionWrapHandler, model_serializer

from embcompat.results.values import Estimate, Value

Mode = Literal["stay", "swap", "convert", "fused", "lazy_backfill", "backfill", "reindex"]
Model = Literal["old", "new"]
DecisionName = Literal["unjudged"] | Mode

Judge = Literal["qrels", "labels", "new_model_neighbours"]
"""The sources of relevance."""

MODES: tuple[Mode, ...] = ("stay", "swap", "convert", "fused", "lazy_backfill", "backfill", "reindex")
"""From the least to the most effort: the order of preference where costs are not measured [ours]."""

MIXED_MODES: tuple[Mode, ...] = ("lazy_backfill", "backfill")
"""Modes in which native rows stand among converted ones."""

CONVERTING_MODES: tuple[Mode, ...] = ("convert", "fused", *MIXED_MODES)
"""Modes that begin with a converted gallery."""


class ColdStart(Value):
    """What ``lazy_backfill`` is worth if each query were the first one: only the fitted items are native.

    Attributes:
        difference: Its metric less that of the status quo.
        retention: Its metric as a share of a full reindex's.
    """

    difference: Estimate
    retention: Estimate


class Option(Value):
    """A mode that could be chosen, with what was measured of it on held-out queries.

    Attributes:
        mode: What would be done.
        needs: The models that must be alive at query time.
        difference: Its metric less that of the status quo.
        retention: Its metric as a share of a full reindex's.
        fraction: Share of the gallery that is native under ``backfill``, fitted items included; None otherwise.
        depth: Items that a query brings up under ``lazy_backfill``; None otherwise.
        items: Items that it embeds beside the fitted ones; None where that was not counted. Those of
            ``lazy_backfill`` are what the held-out queries brought up: other queries will bring up others.
        share_of_reindex: Those items as a share of what a full reindex would embed; None where not counted.
        cold: Under ``lazy_backfill`` the figures of a cold start; None otherwise.
    """

    mode: Mode
    needs: tuple[Model, ...] = ()
    difference: Estimate
    retention: Estimate
    fraction: float | None = None
    depth: int | None = None
    items: int | None = None
    share_of_reindex: float | None = None
    cold: ColdStart | None = None

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**handler(self), "items_embedded": self.items}

    def beats_status_quo(self) -> bool:
        """Return whether the interval of the difference lies above zero."""
        return self.difference.low > 0

    def keeps(self, floor: float) -> bool:
        """Return whether the interval of the retention lies at or above a floor."""
        return self.retention.low >= floor


class Check(Value):
    """One condition that a reader of the verdict should know to hold or to fail.

    Attributes:
        name: What must hold, as a sentence.
        passed: Whether it holds.
        detail: The figure that says so.
    """

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        mode: One of `MODES`, or ``unjudged`` where nothing tells which model is better.
        reason: Why, in one sentence; what matters most comes first.
        needs: The models that must be alive at query time.
        fraction: Share of the gallery that is to be native, where the mode is ``backfill``; None otherwise.
        because: The figures behind the reason, a sentence each, the most important first.
        depth: Items that a query brings up, where the mode is ``lazy_backfill``; None otherwise.
    """

    mode: DecisionName
    reason: str
    needs: tuple[Model, ...]
    fraction: float | None = None
    because: tuple[str, ...] = ()
    depth: int | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the decision as JSON: ``decision``, ``reason``, ``because``, ``needs``, ``fraction``, ``depth``."""
        return {
            "decision": self.mode,
            "reason": self.reason,
            "because": list(self.because),
            "needs": list(self.needs),
            "fraction": self.fraction,
            "depth": self.depth,
        }
