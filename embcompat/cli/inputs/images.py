"""Images in folders: which files are read, and which folder is the label."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final

from embcompat.errors import InputError

IMAGE_SUFFIXES: Final = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif"}
    | {".tiff", ".webp"}
)

_CACHES: Final = frozenset({"@eadir", "__macosx", "thumbnails", "__pycache__"})


def list_images(folder: Path, limit: int | None) -> tuple[list[Path], Counter[str]]:
    """List the images in a folder and below, and count what is left out, by kind.

    Links are followed, each folder once; a second link to a folder is counted. Hidden folders and the caches of
    other programs are left out.

    Returns:
        Paths relative to the folder, in order; and how many files of each kind were left out.
    """
    files: list[Path] = []
    skipped: Counter[str] = Counter()
    visited: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:
            skipped["links to a folder that is read already"] += 1
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        hidden = [name for name in folders if name.startswith(".") or name.lower() in _CACHES]
        skipped.update({f"hidden or cache folder {name}": 1 for name in hidden})
        folders[:] = sorted(name for name in folders if name not in hidden)
        for name in names:
            path = Path(parent) / name
            if name.startswith("."):
                skipped["hidden files"] += 1
            elif path.suffix.lower() not in IMAGE_SUFFIXES:
                skipped[f"{path.suffix.lower() or 'files without an ending'}"] += 1
            elif path.is_file():
                files.append(path.relative_to(folder))
            else:
                skipped["broken links"] += 1
    return sorted(files)[:limit], skipped


def label_images(folder: Path, files: list[Path], level: int | None) -> list[str] | None:
    """Return the label of each image: the name of the folder in which it lies; None where all lie in no sub-folder.

    Args:
        folder: The folder that was read.
        files: Paths relative to it.
        level: Which folder on the way is the label, 1 for the first below ``folder``; the last one when None.

    Raises:
        InputError: If images lie at several depths and no level was chosen, or not as deep as the level.
    """
    depths = {len(file.parts) - 1 for file in files}
    if level is not None:
        if shallow := next((file for file in files if len(file.parts) - 1 < level), None):
            raise InputError(f"--label-level {level} needs images at least {level} folders deep. Got {shallow}.")
        return [file.parts[level - 1] for file in files]
    if len(depths) > 1:
        examples = [next(file for file in files if len(file.parts) - 1 == depth) for depth in sorted(depths)[:2]]
        raise InputError(
            f"{folder} must hold all its images at one depth, because the folder of an image is its label. Got "
            f"{examples[0]} and {examples[1]}. Choose the folder that is the label: --label-level 1 is the first."
        )
    return None if depths <= {0} else [file.parts[-2] for file in files]
