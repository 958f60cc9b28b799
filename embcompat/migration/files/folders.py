"""Folders of Parquet files that are converted file by file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

from embcompat.errors import InputError
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.objects import Location
from embcompat.files.patterns import folder_of
from embcompat.files.reading.folders import files_of_vectors, path_below


def list_parquet(path: Location) -> list[PurePath]:
    """List the Parquet files of a folder and below, or of a pattern, relative to the folder.

    Raises:
        InputError: If there are none, or a file of vectors has another format and would be left out.
    """
    files = files_of_vectors(path)
    if not files:
        raise InputError(f"{path} holds no .parquet files.")
    others = [file for file in files if ENDINGS[ending_of(file)] != "parquet"]
    folder = folder_of(path)
    if others:
        raise InputError(
            f"{path} must hold .parquet files alone to be converted as a folder. {len(others)} others would be left "
            f"out, for instance {path_below(others[0], folder)}. Convert them one by one, or move them away."
        )
    return [path_below(file, folder) for file in files]


def require_apart(source: Location, target: Location) -> None:
    """Refuse a target that is the folder of the source, or lies within it: its files would be read as sources.

    Raises:
        InputError: If it is.
    """
    folder = folder_of(source)
    here = isinstance(folder, Path)
    if here != isinstance(target, Path):
        return
    inner, outer = (str(path.resolve() if isinstance(path, Path) else path) for path in (target, folder))
    if f"{inner}/".startswith(f"{outer.rstrip('/')}/"):
        raise InputError(
            f"target must be a folder outside the source, which is never modified. Got {source} → {target}."
        )


def make_folders(files: Iterable[Location]) -> None:
    """Make the folders of files; an object store needs none."""
    for folder in {file.parent for file in files}:
        if isinstance(folder, Path):
            folder.mkdir(parents=True, exist_ok=True)
