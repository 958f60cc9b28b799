"""A metric along something: pairs fitted, or items embedded with the new model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, PositiveInt, model_validator

from embcompat.results.values import Estimate, Value


class LearningCurve(Value):
    """What more pairs buy.

    Attributes:
        aligner: Kind of the aligner.
        metric: What was measured.
        pairs: Numbers of training pairs, ascending.
        values: The metric on the validation pairs, for each.
        enough: The least number whose metric is within ``tolerance`` of the last, by the paired interval's lower end;
            the last one itself says that more pairs may still help.
        status_quo: The metric before the upgrade, or None.
        full_reindex: The metric after a full reindex, or None.
    """

    kind: Literal["learning_curve"] = "learning_curve"
    aligner: str | None = None
    metric: str
    pairs: tuple[PositiveInt, ...] = Field(min_length=1)
    values: tuple[Estimate, ...]
    enough: int
    status_quo: float | None = None
    full_reindex: float | None = None

    flat: ClassVar[Mapping[str, str]] = {"values": "intervals"}

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.pairs) != len(self.values):
            raise ValueError(f"lengths must agree, got {len(self.pairs)} counts and {len(self.values)} values")
        return self

    @property
    def verdict(self) -> str:
        """Whether to collect more pairs, in one sentence."""
        if self.enough < self.pairs[-1]:
            return f"{self.enough:,} pairs are enough: {self.pairs[-1]:,} are not better by more than the tolerance."
        return f"More than {self.pairs[-1]:,} pairs may still help: the score was rising to the last."

    def to_dict(self) -> dict[str, JsonValue]:
        """Return a result of kind ``learning_curve`` as JSON."""
        return {**super().to_dict(), "reason": self.verdict}


class OrderCurve(Value):
    """What one order of re-embedding buys.

    Attributes:
        fractions: Share of all items that the new model has embedded, the fitted pairs included.
        metric: The metric at each fraction.
        retention: The metric / full reindex at each fraction, paired; empty where it was not measured.
        auc: Plain mean of the metric over the fractions.
        auc_against_random: ``auc`` less that of the random order, paired; None for the random order itself.
    """

    fractions: tuple[float, ...] = Field(min_length=1)
    metric: tuple[Estimate, ...]
    retention: tuple[Estimate, ...] = ()
    auc: Estimate
    auc_against_random: Estimate | None = None

    flat: ClassVar[Mapping[str, str]] = {
        "metric": "intervals",
        "retention": "retention_intervals",
        "auc": "auc_interval",
    }

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.fractions) != len(self.metric) or (self.retention and len(self.retention) != len(self.metric)):
            raise ValueError(
                f"lengths must agree, got {len(self.fractions)} fractions, {len(self.metric)} metrics and "
                f"{len(self.retention)} retentions"
            )
        return self


class BackfillCurve(Value):
    """What re-embedding a part of the gallery buys.

    Attributes:
        metric: What was measured.
        orders: The curve of each order.
        status_quo: The metric before the upgrade, or None.
        full_reindex: The metric after a full reindex.
        weights: For the order ``recommended`` of other galleries: weights chosen on all validation data; empty where
            no order was shown to beat a random one.
        calibrated: Share of the judged data for which calibrating converted scores had been shown to help.
        judged: Number of queries or subjects.
        gallery_size: Number of items.
        weighted_queries: Whether weighted queries searched the gallery (`embcompat.serving.WeightedSearch`).
    """

    kind: Literal["backfill_curve"] = "backfill_curve"
    metric: str
    orders: Mapping[str, OrderCurve] = Field(min_length=1)
    status_quo: float | None = None
    full_reindex: Estimate
    weights: Mapping[str, float]
    calibrated: float
    judged: int
    gallery_size: int
    weighted_queries: bool = False

    flat: ClassVar[Mapping[str, str]] = {"full_reindex": "full_reindex_interval"}

    @property
    def fractions(self) -> tuple[float, ...]:
        """Share of all items that the new model has embedded, at each point of the orders."""
        return next(iter(self.orders.values())).fractions

    @property
    def verdict(self) -> str | None:
        """Which order to take, in one sentence; None where no recommended order was asked for."""
        if "recommended" not in self.orders:
            return None
        if self.weights:
            mixed = " + ".join(name.replace("_", " ") for name in self.weights)
            return f"The recommended order, {mixed}, beats a random one on validation data."
        return "No order was shown to beat a random one on validation data: any order will do."

    def to_dict(self) -> dict[str, JsonValue]:
        """Return a result of kind ``backfill_curve`` as JSON."""
        return {**super().to_dict(), "reason": self.verdict}
