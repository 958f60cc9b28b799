"""Finding rows of another space by their likelihood under the references of the spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.doctor.reference import SpaceReference
from embcompat.doctor.report import Finding, Separation
from embcompat.embeddings import normalize_rows

TARGET_RECALL, TARGET_FALSE_ALARMS = 0.95, 0.01
"""Recall and false alarms that the doctor needs to tell two spaces apart reliably [ours]."""

ALLOWED_SHARE = 0.002
"""Rows beyond the expected false alarms that may look like another space before the gallery counts as sick: odd
items do occur [ours]."""

ALLOWED_OUTLIERS = 0.005
"""Part of the rows that may be unlike the reference before the gallery counts as sick [ours]."""

OUTLIER_DEVIATIONS = 3.5
"""Robust standard deviations of the log distance beyond which a row is unlike the reference [ours]."""

_FARTHEST = float(np.finfo(np.float32).max) / 2
_MIN_SKETCH = 50
_SIMULATED_ROWS = 1_000
_MARGIN = 0.8
"""Real spaces differ less from each other than from one without structure: this share of its distance counts [ours]."""


@dataclass(frozen=True)
class Foreign:
    """The findings about rows of other spaces."""

    findings: tuple[Finding, ...]
    separations: tuple[Separation, ...]
    notes: tuple[str, ...]


def find_foreign(
    home: SpaceReference,
    others: Sequence[SpaceReference],
    deviances: Mapping[str, NDArray[np.float32]],
    usable: NDArray[np.bool_],
) -> Foreign:
    """Find rows that fit another space better than their own, and rows that fit none.

    A row is foreign when its deviance under the gallery's space exceeds that under another by more than a threshold:
    0, where both explain it equally well, or more if over one percent of the gallery's own sketch lies above 0. This is
    quadratic discriminant analysis, with error rates measured on rows that no covariance was fitted on. A row that fits
    no registered space is judged by its distance alone, against the bulk of the gallery, because content other than
    that of the reference raises all distances. [ours]

    Args:
        home: Reference of the gallery's space.
        others: References of the other spaces of the same dimension.
        deviances: Deviance of every row (n,) under each reference, by space id.
        usable: A mask of the rows that have a vector to judge (n,).
    """
    separations = [separation(home, other) for other in others]
    excess = np.full((len(others) + 1, len(usable)), -np.inf, dtype=np.float32)
    for number, (other, gap) in enumerate(zip(others, separations, strict=True)):
        with np.errstate(invalid="ignore"):  # rows so far off that both deviances are infinite
            above = deviances[home.space.id] - deviances[other.space.id] - np.float32(gap.threshold)
        excess[number] = np.where(usable & (above > 0), above, -np.inf)
    claimed = np.where(np.isfinite(excess.max(axis=0)), excess.argmax(axis=0), -1)
    findings = [
        finding
        for number, (other, gap) in enumerate(zip(others, separations, strict=True))
        for finding in _foreign_rows(home, other, gap, np.flatnonzero(claimed == number), int(usable.sum()))
    ]
    distances = deviances[home.space.id] - np.float32(home.log_determinant)
    unknown, outliers = _outliers(home, distances, usable, claimed >= 0)
    separations.append(unknown)
    notes = tuple(_note(home, gap) for gap in separations if not gap.can_tell)
    return Foreign((*findings, *outliers), tuple(separations), notes)


def separation(home: SpaceReference, other: SpaceReference) -> Separation:
    """Measure on both sketches how well rows of another space can be told from rows of the gallery's."""
    home_differences, other_differences = (
        home.deviances(rows).astype(np.float64) - other.deviances(rows) for rows in (home.sketch, other.sketch)
    )
    if len(home_differences) < _MIN_SKETCH or len(other_differences) < _MIN_SKETCH:
        return Separation(other.space.id, None, None, 0.0, can_tell=False)
    threshold = max(0.0, float(np.quantile(home_differences, 1 - TARGET_FALSE_ALARMS, method="higher")))
    recall = float((other_differences > threshold).mean())
    false_alarms = float((home_differences > threshold).mean())
    if false_alarms == 0:  # too rare for the sketch to show: the tail of a Gaussian, at most one in the sketch
        beyond = (threshold - home_differences.mean()) / max(float(home_differences.std()), 1e-12)
        false_alarms = min(0.5 * math.erfc(beyond / math.sqrt(2)), 1 / len(home_differences))
    can_tell = recall >= TARGET_RECALL and false_alarms <= TARGET_FALSE_ALARMS
    return Separation(other.space.id, recall, false_alarms, threshold, can_tell)


def _foreign_rows(
    home: SpaceReference, other: SpaceReference, gap: Separation, rows: NDArray[np.int64], count: int
) -> Iterator[Finding]:
    expected = count * (TARGET_FALSE_ALARMS if gap.false_alarms is None else gap.false_alarms)
    if len(rows) <= expected:
        return
    sick = len(rows) > 2 * expected + ALLOWED_SHARE * count
    message = f"{len(rows):,} of {count:,} rows fit space {other.space.id} better than {home.space.id}"
    message += f"; about {expected:,.0f} would by chance." if expected >= 0.5 else "."
    if len(rows) > count / 2:
        message += f" That is most of them. Is this a gallery of {other.space.id}?"
    elif not sick:
        message += " A few odd items can explain that."
    yield Finding("other_space", "error" if sick else "warning", message, rows)


def _outliers(
    home: SpaceReference, distances: NDArray[np.float32], usable: NDArray[np.bool_], claimed: NDArray[np.bool_]
) -> tuple[Separation, list[Finding]]:
    """Find rows that are far from the gallery's space and not near any registered one."""
    # Rows so far off that their distance overflows are as far as can be.
    judged = np.nan_to_num(distances[usable].astype(np.float64), nan=_FARTHEST, posinf=_FARTHEST)
    if len(judged) == 0:
        return Separation(None, None, None, 0.0, can_tell=False), []
    noise = _MARGIN * home.distances(_structureless(home)).astype(np.float64)
    held_out = home.distances(home.sketch).astype(np.float64) if len(home.sketch) >= _MIN_SKETCH else None
    logs = np.log(np.maximum(judged, 1e-12))
    typical = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - typical)))
    threshold = math.exp(min(typical + OUTLIER_DEVIATIONS * spread, math.log(_FARTHEST)))
    familiar = 2.0 * home.space.dim  # a Gaussian's own rows are at dim on average
    alarms = None
    if held_out is not None:
        threshold = max(threshold, float(np.quantile(held_out, 0.999)))
        familiar = float(np.quantile(held_out, 0.99))
        alarms = float((held_out > threshold).mean())
    recall = float((noise > threshold).mean())
    is_familiar = math.exp(typical) <= familiar
    can_tell = held_out is not None and is_familiar and recall >= TARGET_RECALL
    gap = Separation(None, recall, alarms, threshold, can_tell)
    if not is_familiar and math.exp(typical) >= np.quantile(noise, 0.05):
        message = (
            f"The gallery as a whole is about as unlike {home.space.id} as vectors without any structure: another "
        )
        message += "space, or a reference that does not fit."
        return gap, [Finding("unlike_reference", "error", message, np.flatnonzero(usable))]
    rows = np.flatnonzero(usable & ~(distances <= threshold) & ~claimed)
    if len(rows) == 0:
        return gap, []
    sick = len(rows) > ALLOWED_OUTLIERS * len(judged)
    message = f"{len(rows):,} of {len(judged):,} rows are unlike the reference of {home.space.id} "
    message += "and fit no other reference: another space, or other content."
    return gap, [Finding("unlike_reference", "error" if sick else "warning", message, rows)]


def _note(home: SpaceReference, gap: Separation) -> str:
    """Explain why rows of a space cannot be told from those of the gallery's."""
    other = "a space without a reference" if gap.other is None else gap.other
    text = f"whether rows of {other} are among those of {home.space.id} cannot be told reliably"
    if gap.recall is None or gap.false_alarms is None:
        return f"{text}: the sketch of a reference is too small."
    if gap.other is None:
        return f"{text}: the reference is too vague for this content. Fit it on more vectors of this kind."
    return f"{text}: {gap.recall:.0%} would be found, with {gap.false_alarms:.1%} false alarms."


def _structureless(home: SpaceReference) -> NDArray[np.float32]:
    """Draw random rows that share only their norms with the space's vectors."""
    rng = np.random.default_rng(0)
    level = math.sqrt(float(np.trace(home.covariance)) / home.space.dim)
    rows = level * rng.standard_normal((_SIMULATED_ROWS, home.space.dim))
    rows = normalize_rows(rows) if home.space.normalized else rows + home.mean
    return np.asarray(rows, dtype=np.float32)
