"""Groups of people, for which false rates are measured one by one."""

from __future__ import annotations

from pathlib import Path

from embcompat.errors import FileFormatError


def read_groups(path: Path) -> dict[str, str]:
    """Read the group of each person: a person, a tab and a group on each line, or a table with ``id`` and ``label``.

    Raises:
        FileFormatError: If the file is missing or damaged, holds something else, or gives a person two groups.
    """
    from embcompat.files.reading.tables import read_labels

    groups = read_labels(path)
    if isinstance(groups, dict):
        return groups
    raise FileFormatError(
        f"{path} must hold a person, a tab and a group on each line, or a table with the columns id (the person, as in "
        f"the labels) and label (the group). Got {groups[0]!r}."
    )
