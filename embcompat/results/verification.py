"""The measurements of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import JsonValue, SerializerFunctionWrapHandler, model_serializer, model_validator

from embcompat.results.values import Estimate, Value, flatten_figure, fold_figure
from embcompat.similarities import Weight

Scenario = Literal["old", "S1", "S2", "S3", "S4"]

Point = tuple[float, float]

_FIGURES = ("frr", "far", "threshold_at_frr", "far_at_frr")


class ScenarioResult(Value):
    """Figures of one scenario; rates are fractions of the votes, means are weighed by them.

    JSON holds the figures as numbers, and their 95 % intervals by name under ``intervals``.

    Attributes:
        threshold: The score at which ``frr`` and ``far`` are taken: scenario 1's at the asked FRR (the status quo's
            own, since its scores are of another space).
        frr: False rejection rate at ``threshold``.
        far: False acceptance rate at ``threshold``.
        threshold_at_frr: The scenario's own threshold at the asked FRR.
        far_at_frr: False acceptance rate at ``threshold_at_frr``.
        mean_genuine: Mean distance of the genuine pairs.
        mean_impostor: Mean distance of the impostor pairs.
        genuine_pairs: Number of genuine pairs.
        impostor_pairs: Number of ordered impostor pairs.
        false_acceptances: Impostor pairs above ``threshold``.
        false_acceptances_at_frr: Impostor pairs above ``threshold_at_frr``.
    """

    threshold: float
    frr: Estimate
    far: Estimate
    threshold_at_frr: Estimate
    far_at_frr: Estimate
    mean_genuine: float
    mean_impostor: float
    genuine_pairs: int
    impostor_pairs: int
    false_acceptances: int
    false_acceptances_at_frr: int

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        intervals = data.get("intervals") or {}
        figures = {name: fold_figure(data[name], intervals.get(name)) for name in _FIGURES if name in data}
        return {**data, **figures}

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        pairs = {name: flatten_figure(fields[name]) for name in _FIGURES}
        fields |= {name: number for name, (number, _) in pairs.items()}
        return fields | {"intervals": {name: interval for name, (_, interval) in pairs.items()}}


class GroupRates(Value):
    """False rates within a group of people, at one threshold for everybody.

    JSON holds the rates as numbers beside their intervals.

    Attributes:
        people: How many people of the group were compared.
        frr: False rejection rate of the group's genuine pairs; None where the group is too small.
        far: False acceptance rate of the impostor pairs whose two people are both of the group; None likewise.
        genuine_pairs: Number of genuine pairs.
        impostor_pairs: Number of ordered impostor pairs within the group.
        false_acceptances: How many of them match.
    """

    flat: ClassVar[Mapping[str, str]] = {"frr": "frr_interval", "far": "far_interval"}

    people: int
    frr: Estimate | None = None
    far: Estimate | None = None
    genuine_pairs: int = 0
    impostor_pairs: int = 0
    false_acceptances: int = 0


class VerificationReport(Value):
    """The measurements of `embcompat.evaluation.evaluate_verification`.

    Attributes:
        scenarios: ``S1`` (new–new), ``S2`` (converted–converted), ``S3`` (converted anchor, new positive) and ``S4``
            (the reverse), by name.
        old: The status quo, old against old, at its own threshold.
        status_quo_ratio: FAR of scenario 3 as a multiple of the status quo's, each at its own threshold, with a
            paired interval: above 1 the converted gallery is worse than staying. None where the status quo made no
            false acceptance.
        normalized: ``S1`` and ``S3`` with the scores of the positives, the new queries, normalized; None without a
            cohort. Both at thresholds of normalized scores.
        groups: Rates of each group of people in ``old``, ``S1`` and ``S3``, each at the scenario's own threshold, which
            is the same for all groups; None without groups.
        ungrouped: How many of the compared people are in no group.
        reindex_ratio: FAR of scenario 1 as a multiple of the status quo's, likewise: above 1 the new model is worse
            than the old one.
        det: Points (far, frr) of the DET curve of each scenario, and of ``old``.
        same_item_distance: Mean distance of the converted and the new vector of the same item.
        target_frr: The FRR at which thresholds were chosen.
        subjects: Number of subjects.
        all_images: Whether every pair of rows was compared, rather than one anchor with one positive a subject.
        weight: What had one vote: ``person`` or ``pairs``.
        largest_share: The largest share of the genuine pairs that one person has: what this person decides where
            pairs are counted.
        similarity: How the vectors of the new space were compared.
        seed: Seed of the anchors and of the resampling.
    """

    scenarios: Mapping[Scenario, ScenarioResult]
    old: ScenarioResult
    status_quo_ratio: Estimate | None = None
    normalized: Mapping[Scenario, ScenarioResult] | None = None
    groups: Mapping[str, Mapping[Scenario, GroupRates]] | None = None
    ungrouped: int = 0
    reindex_ratio: Estimate | None = None
    det: Mapping[Scenario, tuple[Point, ...]]
    same_item_distance: float
    target_frr: float
    subjects: int
    all_images: bool
    weight: Weight
    largest_share: float
    similarity: str
    seed: int

    def __repr__(self) -> str:
        scenarios = ", ".join(self.scenarios)
        return f"VerificationReport({scenarios!r}, subjects={self.subjects}, target_frr={self.target_frr})"

    def in_order(self) -> dict[Scenario, ScenarioResult]:
        """Return the scenarios in their order, the status quo first."""
        first: dict[Scenario, ScenarioResult] = {"old": self.old}
        return first | dict(sorted(self.scenarios.items()))

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON; ``normalized`` only where there was a cohort, ``groups`` where there were any."""
        fields = super().to_dict()
        if self.normalized is None:
            del fields["normalized"]
        if self.groups is None:
            del fields["groups"], fields["ungrouped"]
        return fields

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = {"S1", "S3"} - set(self.scenarios)
        if missing:
            raise ValueError(f"scenarios must hold S1 and S3, {' and '.join(sorted(missing))} missing")
        return self
