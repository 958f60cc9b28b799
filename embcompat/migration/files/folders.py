"""Folders of Parquet files that are converted file by file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from pydantic import JsonValue

from embcompat.artifact import Artifact
from embcompat.errors import InputError
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.objects import Location
from embcompat.files.patterns import folder_of
from embcompat.files.reading.folders import files_of_vectors, path_below
from embcompat.files.reading.parquet import open_parquet
from embcompat.files.writing.pieces import PROVENANCE_KEY


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
            f"{path} must hold only .parquet files to be converted as a folder. {len(others)} others would be left "
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


def converted_rows(
    path: Location, artifact: Artifact, source: Mapping[str, JsonValue], extent: tuple[int, int] | None = None
) -> int | None:
    """Count the rows of a converted file; None where it is not there, or its metadata names another origin.

    Args:
        path: The converted file.
        artifact: The artifact that must have made it.
        source: `file_identity` of the file that it must have been made from.
        extent: The first row and the number of rows, where it was made from a part of that file.
    """
    if not path.is_file():
        return None
    file = open_parquet(path)
    provenance = json.loads((file.schema_arrow.metadata or {}).get(PROVENANCE_KEY, b"{}"))
    expected = (artifact.id, source, *(extent or (None, None)))
    is_same = tuple(provenance.get(name) for name in ("artifact", "source", "first_row", "rows")) == expected
    return int(file.metadata.num_rows) if is_same else None


def make_folders(files: Iterable[Location]) -> None:
    """Make the folders of files; an object store needs none.

    Raises:
        InputError: If a file is in the place of a folder.
    """
    for folder in {file.parent for file in files}:
        if isinstance(folder, Path):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise InputError(f"{folder} must be a folder. A file is in its place.") from error
