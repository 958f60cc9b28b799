"""Result files: one JSON object each, whose ``kind`` names what was measured.

Every command that measures something writes such an object with ``--json`` and ``--out``. Rates and retrieval metrics
are fractions. The 95 % interval of a flat figure ``x`` is ``x_interval``, ``[low, high]``, with null for an end that
the data do not bound. Null is what was not measured.

==================  ===========================================================================
kind                what was measured
==================  ===========================================================================
``retrieval``       `RetrievalReport`, and the modes and hybrid of an `embcompat.Evaluation`
``demo``            the same, with example searches and timings
``verification``    `VerificationReport`
``learning_curve``  `LearningCurve`
``backfill_curve``  `BackfillCurve`
==================  ===========================================================================

Any of them may carry what `ResultFile` names besides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue, ValidationError, model_validator

from embcompat.errors import FileFormatError, InputError, UnknownNameError
from embcompat.results.budget import BudgetPoint, Workload
from embcompat.results.candidates import Scored
from embcompat.results.curves import BackfillCurve, LearningCurve
from embcompat.results.decision import Check, Decision, Judge, Option
from embcompat.results.pictures import Example, Histogram, Projection
from embcompat.results.retrieval import HybridReport, RetrievalReport
from embcompat.results.texts import TextReport
from embcompat.results.values import Value, first_fault
from embcompat.results.verification import VerificationReport

Measured = RetrievalReport | VerificationReport | LearningCurve | BackfillCurve

KINDS: dict[str, type[Measured]] = {
    "retrieval": RetrievalReport,
    "demo": RetrievalReport,
    "verification": VerificationReport,
    "learning_curve": LearningCurve,
    "backfill_curve": BackfillCurve,
}
"""What each kind of result measured."""


class Times(Value):
    """How long the steps of an upgrade took, in seconds.

    Attributes:
        reembed_seconds: To embed the whole gallery with the new model.
        pairs_seconds: To embed the pairs with the new model.
        fit_seconds: To fit the aligner.
        convert_seconds: To convert the gallery.
        speedup: reembed_seconds / (pairs_seconds + fit_seconds + convert_seconds).
    """

    reembed_seconds: float | None = None
    pairs_seconds: float | None = None
    fit_seconds: float | None = None
    convert_seconds: float | None = None
    speedup: float | None = None


class ResultFile(Value):
    """The contents of a result file: the measurement, and what a page shows with it.

    Attributes:
        kind: What was measured.
        measured: The figures.
        title: Heading of this part of the page.
        old_space: Id of the old space.
        new_space: Id of the new space.
        decision: What to do.
        notes: What a reader must know before the figures.
        checks: Conditions that hold or fail.
        relevance: What says which items are relevant (retrieval).
        options: Modes that re-embed a part of the gallery (retrieval).
        workload: What the new model embeds (retrieval).
        budget: Quality against cost, for every mode (retrieval).
        hybrid: The lines beside a lexical run (retrieval).
        texts: What the texts add to the vectors, and what they cost (retrieval).
        times: How long the steps took (retrieval).
        examples: Searches before and after (retrieval).
        candidates: The aligners that were tried, in prior order.
        projection: Vectors as points in a plane.
        histograms: Score histograms.
        aligner: Kind of the aligner.
        artifact: Id of its artifact.
        seed: Seed of everything drawn at random.
        provenance: Where else the figures come from: versions, commands, the machine. A mapping or list inside is
            shown as several lines.
    """

    kind: str
    measured: RetrievalReport | VerificationReport | LearningCurve | BackfillCurve
    title: str | None = None
    old_space: str | None = None
    new_space: str | None = None
    decision: Decision | None = None
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    relevance: Judge | None = None
    options: tuple[Option, ...] = ()
    workload: Workload | None = None
    budget: tuple[BudgetPoint, ...] = ()
    hybrid: HybridReport | None = None
    texts: TextReport | None = None
    times: Times = Field(default_factory=Times)
    examples: tuple[Example, ...] = ()
    candidates: tuple[Scored, ...] = ()
    projection: Projection | None = None
    histograms: tuple[Histogram, ...] = ()
    aligner: str | None = None
    artifact: str | None = None
    seed: int | None = None
    provenance: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, data: Any) -> Any:
        """Read the decision and the times, which JSON holds flat."""
        if not isinstance(data, Mapping):
            return data
        fields = {name: value for name, value in data.items() if value is not None}
        if isinstance(mode := fields.get("decision"), str):
            known = {name: fields[name] for name in ("needs", "fraction", "depth", "because") if name in fields}
            fields["decision"] = {"mode": mode, "reason": fields.get("reason", ""), "needs": (), **known}
        return {**fields, "times": fields}

    @property
    def reason(self) -> str | None:
        """Why the decision was taken, or what a curve tells, in one sentence."""
        if self.decision is not None:
            return self.decision.reason
        return self.measured.verdict if isinstance(self.measured, LearningCurve | BackfillCurve) else None


def parse_result(data: Mapping[str, Any], *, where: str = "the result") -> ResultFile:
    """Check a result.

    Args:
        data: The JSON object.
        where: Its name in the error, for instance a file name.

    Raises:
        UnknownNameError: If its kind is not known.
        InputError: If it has no kind, or a part is not what it must be.

    Example:
        >>> parse_result({"kind": "retrieval", "metric": "ndcg@10", "status_quo": 0.25}).measured.lines
        {'status_quo': Estimate(value=0.25, low=-inf, high=inf)}
    """
    kind = data.get("kind")
    if not isinstance(kind, str):
        raise InputError(f"{where} must name its kind, one of {', '.join(sorted(KINDS))}. Got {kind!r}.")
    if kind not in KINDS:
        raise UnknownNameError("kind of result", kind, KINDS)
    try:
        measured = KINDS[kind].model_validate(data)
        return ResultFile.model_validate({**data, "measured": measured})
    except ValidationError as error:
        raise InputError(f"{where} is not a {kind} result. {first_fault(error)}") from error


def read_result(path: Path) -> ResultFile:
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
