"""Read the same gallery, or the same queries, under both models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompat.cli.inputs.embeddings import (
    BY_NAME,
    Origin,
    Reading,
    is_address,
    is_csv,
    load_gallery,
    open_file,
    read_file,
)
from embcompat.errors import FileFormatError, InputError
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.embeddings import Embeddings
    from embcompat.files import VectorFile
    from embcompat.spaces import SpaceVersion


def load_sides(
    old: Origin,
    new: Origin,
    *,
    old_space: str | None,
    new_space: str | None,
    similarity: Similarity,
    reading: Reading = BY_NAME,
    likely: tuple[SpaceVersion | None, SpaceVersion | None] = (None, None),
) -> tuple[Embeddings, Embeddings]:
    """Load the same gallery, or the same queries, under both models.

    A file of labels belongs to the old side. The options of files apply to each side that they fit: a chosen column
    must be in one of the files, and ids from a file are used where a side has none.

    Raises:
        InputError: As `load_embeddings`; or if an option fits neither side.
    """
    readings = [_for_side(old, new, reading), _for_side(new, old, replace(reading, labels=None))]
    files = [
        None if is_address(origin) else open_file(origin, side, required=False)
        for origin, side in zip((old, new), readings, strict=True)
    ]
    _require_used(reading, [file for file in files if file is not None])
    embeddings = [
        load_gallery(str(origin), space, similarity, side, assumed)
        if file is None
        else read_file(file, space, similarity, assumed)
        for origin, file, side, space, assumed in zip(
            (old, new), files, readings, (old_space, new_space), likely, strict=True
        )
    ]
    return embeddings[0], embeddings[1]


def _for_side(origin: Origin, other: Origin, reading: Reading) -> Reading:
    """Return how one side is read: without the options of files if this is a store and the other is not, and so on."""
    if is_address(origin) and not is_address(other):
        return Reading(label_column=reading.label_column, text_column=reading.text_column)
    if is_csv(other) and not is_csv(origin):
        return replace(reading, delimiter=None)
    return reading


def _require_used(reading: Reading, files: Sequence[VectorFile]) -> None:
    """Refuse a chosen column that is in none of the files.

    Raises:
        FileFormatError: If there is one.
    """
    options = {"--id-column": reading.id_column, "--vector-column": reading.vector_column}
    if len(files) == 2:  # a store may have the others
        options |= {"--label-column": reading.label_column, "--text-column": reading.text_column}
    roles = [file.roles for file in files]
    used = {name for each in roles for name in (each.id, each.label, each.text, *each.vectors)}
    for option, name in options.items():
        if files and name is not None and name not in used and not name.endswith("*"):
            names = "; ".join(f"{file.path}: {', '.join(file.schema.names)}" for file in files)
            raise FileFormatError(f"a file must have the column {name!r} ({option}). Got {names}.")


def load_queries(
    old: Origin | None,
    new: Origin | None,
    *,
    old_space: str | None,
    new_space: str | None,
    similarity: Similarity,
    reading: Reading = BY_NAME,
    likely: tuple[SpaceVersion | None, SpaceVersion | None] = (None, None),
) -> tuple[Embeddings, Embeddings] | None:
    """Load the queries under both models, if there are any.

    Raises:
        InputError: If only one side is passed.
    """
    if (old is None) != (new is None):
        raise InputError("--old-queries and --new-queries must be given together: the same queries, both models.")
    if old is None or new is None:
        return None
    return load_sides(
        old, new, old_space=old_space, new_space=new_space, similarity=similarity, reading=reading, likely=likely
    )


def forward_of(path: Path) -> Path:
    """Return the artifact that converts old vectors: the directory itself, or ``forward`` of a pair."""
    return path / "forward" if (path / "forward").is_dir() else path


def artifact_spaces(path: Path) -> tuple[SpaceVersion, SpaceVersion]:
    """Return the spaces of the old and the new model of an artifact, or of both of a pair."""
    from embcompat.artifact import MANIFEST, read_artifact

    if (path / "forward" / MANIFEST).is_file():
        return read_artifact(path / "forward").source, read_artifact(path / "backward").source
    artifact = read_artifact(path)
    return artifact.source, artifact.target
