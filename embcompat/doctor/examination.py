"""The examination: one pass over the gallery, then the findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embcompat.doctor.foreign import Foreign, find_foreign
from embcompat.doctor.gallery import Gallery, open_gallery
from embcompat.doctor.reference import SpaceReference
from embcompat.doctor.report import DoctorReport, Finding
from embcompat.doctor.rows import RowChecks
from embcompat.embeddings import Embeddings
from embcompat.spaces import SpaceVersion

EXAMPLES = 10


def examine(
    gallery: str | Path | Embeddings | Gallery,
    references: Sequence[SpaceReference] = (),
    *,
    space: SpaceVersion | None = None,
) -> DoctorReport:
    """Report the problems of a gallery, however damaged; nothing in it is trusted or changed.

    The examination finds missing, zero, unnormalized and non-finite vectors, wrong dimensions, missing and repeated
    ids, and repeated vectors. With references, it also finds rows of another space and a space that changed under its
    name. Memory is
    about 30 bytes a row and 4 more for each reference.

    Args:
        gallery: Embeddings, a file or folder of vectors of any format, or what `open_gallery` returned.
        references: References of the spaces. The gallery is compared with the reference of the space that it states,
            else with the one that most of its rows fit best.
        space: The space that the gallery should be in, if it does not state one.

    Raises:
        FileFormatError: If the gallery cannot be read at all.
    """
    opened = open_gallery(gallery, space=space)
    comparable = [reference for reference in references if reference.space.dim == opened.dim]
    checks = RowChecks()
    parts: dict[str, list[NDArray[np.float32]]] = {reference.space.id: [] for reference in comparable}
    for block in opened.blocks():
        checks.add(block)
        for reference in comparable:
            parts[reference.space.id].append(reference.deviances(block.vectors))
    deviances = {name: np.concatenate(arrays) if arrays else np.empty(0, np.float32) for name, arrays in parts.items()}
    usable = checks.usable(opened.dim)

    findings = [*_stated_otherwise(opened, space), *checks.findings(opened.stated, opened.dim)]
    home, notes = _home_reference(opened, references, comparable, deviances, usable)
    foreign = Foreign((), (), ())
    if home is not None:
        findings += _space_changed(opened, home)
        others = [reference for reference in comparable if reference.space.id != home.space.id]
        foreign = find_foreign(home, others, deviances, usable)
    findings += foreign.findings
    findings.sort(key=lambda finding: finding.severity)
    return DoctorReport(
        rows=checks.count(),
        space=opened.stated.id if opened.stated else home.space.id if home else None,
        findings=tuple(replace(each, examples=tuple(opened.ids_of(each.rows[:EXAMPLES]))) for each in findings),
        separations=foreign.separations,
        notes=(*notes, *foreign.notes),
    )


def _stated_otherwise(opened: Gallery, space: SpaceVersion | None) -> list[Finding]:
    if space is None or opened.stated is None or not (lines := opened.stated.differences(space)):
        return []
    message = f"The gallery names space {opened.stated.id}, not {space.id}: {'; '.join(lines)}."
    return [Finding("space_changed", "error", message, np.empty(0, np.int64))]


def _space_changed(opened: Gallery, home: SpaceReference) -> list[Finding]:
    if opened.stated is None or not (lines := opened.stated.differences(home.space)):
        return []
    message = (
        f"The gallery's {home.space.id} differs from the registered one; gallery != registered: {'; '.join(lines)}."
    )
    return [Finding("space_changed", "error", message, np.empty(0, np.int64))]


def _home_reference(
    opened: Gallery,
    references: Sequence[SpaceReference],
    comparable: Sequence[SpaceReference],
    deviances: dict[str, NDArray[np.float32]],
    usable: NDArray[np.bool_],
) -> tuple[SpaceReference | None, list[str]]:
    """Choose the reference of the gallery's space, and note what is missing."""
    blind = "so rows of another space cannot be told"
    if not references:
        return None, [f"no reference was given, {blind}."]
    if opened.stated is not None:
        home = next((each for each in comparable if each.space.id == opened.stated.id), None)
        return home, [] if home else [
            f"there is no reference of {opened.stated.id} with {opened.dim} dimensions, {blind}."
        ]
    if not comparable or not usable.any():
        return None, [f"no reference has the gallery's {opened.dim} dimensions, {blind}."]
    best = np.stack([deviances[each.space.id][usable] for each in comparable]).argmin(axis=0)
    home = comparable[int(np.bincount(best, minlength=len(comparable)).argmax())]
    return home, [f"the gallery names no space; most of its rows fit {home.space.id} best, so it is judged by that."]
