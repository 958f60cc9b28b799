"""The report of an examination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["error", "warning"]


@dataclass(frozen=True, eq=False)
class Finding:
    """One kind of problem, and the rows that have it.

    Attributes:
        kind: What is wrong: ``missing_vector``, ``dimension``, ``not_finite``, ``zero``, ``not_unit_norm``,
            ``missing_id``, ``duplicate_id``, ``duplicate_vector``, ``other_space``, ``unlike_reference``,
            ``space_changed``.
        severity: ``error`` where the gallery needs a repair; ``warning`` where it deserves a look.
        message: The finding in one sentence.
        rows: Numbers of the rows, ascending.
        examples: Ids of the first ten of them.
    """

    kind: str
    severity: Severity
    message: str
    rows: NDArray[np.int64]
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON, rows counted."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "message": self.message,
            "rows": len(self.rows),
            "examples": list(self.examples),
        }


@dataclass(frozen=True)
class Separation:
    """How well rows of another space can be told from rows of the gallery's, as measured on both sketches.

    Attributes:
        other: The other space, as ``name@version``; None for an unknown space.
        recall: Part of the other space's rows that would be found; None when there is no sketch to tell by.
        false_alarms: Part of the gallery's own rows that would be called foreign; None when there is no sketch.
        threshold: Where the line is drawn, in units of deviance (distance, for a space that nothing is known of).
        can_tell: Whether recall is at least 95 % with at most 1 % false alarms.
    """

    other: str | None
    recall: float | None
    false_alarms: float | None
    threshold: float
    can_tell: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return {
            "other": self.other,
            "recall": self.recall,
            "false_alarms": self.false_alarms,
            "can_tell": self.can_tell,
        }


@dataclass(frozen=True, eq=False)
class DoctorReport:
    """The problems of a gallery, and what could not be examined.

    Attributes:
        rows: Number of rows.
        space: The space that it was compared with, as ``name@version``, or None.
        findings: The problems, errors first.
        separations: How well each registered space, and an unknown one, can be told from the gallery's.
        notes: What could not be examined, and why.
    """

    rows: int
    space: str | None
    findings: tuple[Finding, ...]
    separations: tuple[Separation, ...]
    notes: tuple[str, ...]

    @property
    def sick(self) -> bool:
        """Whether there is a finding that is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def finding(self, kind: str) -> Finding | None:
        """Return the first finding of a kind, or None."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "rows": self.rows,
            "space": self.space,
            "sick": self.sick,
            "findings": [finding.to_dict() for finding in self.findings],
            "separations": [separation.to_dict() for separation in self.separations],
            "notes": list(self.notes),
        }
