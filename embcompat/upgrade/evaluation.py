"""Everything that was measured of one upgrade, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from embcompat.results import (
    SCHEMA_VERSION,
    BudgetPoint,
    Check,
    Decision,
    HybridReport,
    Judge,
    RetrievalReport,
    TextReport,
    VerificationReport,
    Workload,
)
from embcompat.upgrade.cost.budget import weigh_modes
from embcompat.upgrade.modes import MeasuredModes

Task = Literal["retrieval", "verification"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was measured of one upgrade, and the decision taken from it.

    Attributes:
        task: What was judged: ``retrieval`` or ``verification``.
        artifact: Id of the artifact; None for an aligner that was not saved.
        spaces: Ids of the old space, and of the new one in which everything was compared.
        decision: What to do, and why.
        warnings: What a reader must know before the figures.
        checks: The evidence behind the verdict.
        report: The figures: the lines of a search, or the scenarios of a verification.
        relevance: Where the judgements come from (retrieval): ``qrels``, ``labels`` or ``new_model_neighbours``.
        modes: The modes that re-embed a part of the gallery (retrieval).
        hybrid: The lines beside a lexical run (retrieval).
        workload: What the new model embeds (retrieval).
        texts: What the texts add to the vectors, and what they cost, where the aligner reads them (retrieval).
    """

    task: Task
    artifact: str | None
    spaces: tuple[str, str]
    decision: Decision
    warnings: tuple[str, ...]
    checks: tuple[Check, ...]
    report: RetrievalReport | VerificationReport
    relevance: Judge | None = None
    modes: MeasuredModes | None = None
    hybrid: HybridReport | None = None
    workload: Workload | None = None
    texts: TextReport | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.task!r}, {' -> '.join(self.spaces)!r}, decision={self.decision.mode!r})"

    @property
    def query_ids(self) -> tuple[str, ...]:
        """Ids of the held-out queries; none for a verification."""
        return self.report.query_ids if isinstance(self.report, RetrievalReport) else ()

    @property
    def budget(self) -> tuple[BudgetPoint, ...]:
        """Quality against cost for every mode that was measured; empty without judged queries."""
        if not isinstance(self.report, RetrievalReport) or self.workload is None or self.decision.mode == "unjudged":
            return ()
        return weigh_modes(self.report, () if self.modes is None else self.modes.options, self.workload)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return everything as JSON; the kind is the task."""
        result: dict[str, JsonValue] = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.task,
            "artifact": self.artifact,
            "old_space": self.spaces[0],
            "new_space": self.spaces[1],
        }
        if self.relevance is not None:
            result["relevance"] = self.relevance
        result |= self.report.to_dict()
        if self.modes is not None:
            result |= self.modes.to_dict()
        if self.hybrid is not None:
            result["hybrid"] = self.hybrid.to_dict()
        if self.workload is not None:
            result["workload"] = self.workload.to_dict()
            result["budget"] = [point.to_dict() for point in self.budget]
        if self.texts is not None:
            result["texts"] = self.texts.to_dict()
        result["checks"] = [check.to_dict() for check in self.checks]
        return {**result, "notes": list(self.warnings), **self.decision.to_dict()}
