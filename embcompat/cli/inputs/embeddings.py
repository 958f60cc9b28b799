"""Read the embeddings that a command was given: a file of any format, or the address of a gallery in use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompat.cli.console import messages
from embcompat.errors import InputError
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.embeddings import Embeddings
    from embcompat.files.reading.streams import VectorFile
    from embcompat.spaces import SpaceVersion

Origin = str | Path
"""A file, a folder, or the address of a store."""


@dataclass(frozen=True)
class Reading:
    """How files are read where they do not say it themselves.

    Attributes:
        id_column: Column of the ids.
        vector_column: Column of the vectors.
        label_column: Column of the labels.
        text_column: Column of the texts.
        ids: File with the ids of galleries that have none.
        labels: File with the labels of galleries that have none.
        delimiter: What separates the fields of CSV files.
    """

    id_column: str | None = None
    vector_column: str | None = None
    label_column: str | None = None
    text_column: str | None = None
    ids: Path | None = None
    labels: Path | None = None
    delimiter: str | None = None


def open_file(origin: Origin, reading: Reading, *, space: SpaceVersion | None = None) -> VectorFile:
    """Open a file of vectors and print which columns were taken, where names alone did not tell."""
    from embcompat.files.columns import Columns
    from embcompat.files.reading.opening import open_vectors

    columns = Columns(reading.id_column, reading.vector_column, reading.label_column, reading.text_column)
    file = open_vectors(
        origin, space=space, columns=columns, ids=reading.ids, labels=reading.labels, delimiter=reading.delimiter
    )
    if not file.roles.usual:
        messages().print(f"{origin}: {file.roles.describe()}.", soft_wrap=True)
    return file


def load_embeddings(
    origin: Origin,
    *,
    space: str | None = None,
    similarity: Similarity = "cosine",
    reading: Reading = Reading(),
    likely: SpaceVersion | None = None,
) -> Embeddings:
    """Load embeddings from a file of any format, or from a gallery in use.

    Args:
        origin: The file, folder or address.
        space: The space as ``name@version``, where the file does not name it. It is called normalized when every
            vector has unit norm.
        similarity: How that space compares vectors.
        reading: How the file is read.
        likely: The space to assume, and to print, where neither the file nor ``space`` names one.

    Raises:
        InputError: If nothing names the space, or the file names another than the one given.
        FileFormatError: If the file does not hold embeddings.
    """
    from embcompat.embeddings.tables import read_embeddings

    if is_address(origin):
        return _load_gallery(str(origin), space, similarity, likely)
    file = open_file(origin, reading)
    if file.space is None and space is None and likely is not None:
        messages().print(f"{origin} names no space: taken to be {likely.id}, as the artifact says.", soft_wrap=True)
        embeddings = read_embeddings(file, likely)
    else:
        embeddings = read_embeddings(file, space, similarity=similarity)
    _report_labels(embeddings, origin)
    return embeddings


def is_address(origin: Origin) -> bool:
    """Say whether an argument is the address of a store, not a path."""
    return "://" in str(origin)


def _load_gallery(url: str, space: str | None, similarity: Similarity, likely: SpaceVersion | None) -> Embeddings:
    from embcompat.stores import sample_gallery

    stated = likely if space is None or (likely is not None and space == likely.id) else space
    return sample_gallery(url, space=stated, similarity=similarity)


def _report_labels(embeddings: Embeddings, origin: Origin) -> None:
    """Print labels that differ only in blanks or in case: one subject under two names leaks from train to test."""
    if embeddings.labels is None:
        return
    spelled: dict[str, str] = {}
    pairs = []
    for label in dict.fromkeys(embeddings.labels.tolist()):
        other = spelled.setdefault(" ".join(label.split()).casefold(), label)
        if other != label:
            pairs.append(f"{other!r} and {label!r}")
    if pairs:
        messages().print(
            f"{origin}: {len(pairs)} labels differ from another only in blanks or case, for instance {pairs[0]}. They "
            "count as different subjects.",
            soft_wrap=True,
        )


def load_sides(
    old: Origin,
    new: Origin,
    *,
    old_space: str | None,
    new_space: str | None,
    similarity: Similarity,
    reading: Reading = Reading(),
    likely: tuple[SpaceVersion | None, SpaceVersion | None] = (None, None),
) -> tuple[Embeddings, Embeddings]:
    """Load the same gallery, or the same queries, under both models; a file of labels goes by the rows of the old."""
    return (
        load_embeddings(old, space=old_space, similarity=similarity, reading=reading, likely=likely[0]),
        load_embeddings(
            new, space=new_space, similarity=similarity, reading=replace(reading, labels=None), likely=likely[1]
        ),
    )


def load_queries(
    old: Origin | None,
    new: Origin | None,
    *,
    old_space: str | None,
    new_space: str | None,
    similarity: Similarity,
    reading: Reading = Reading(),
    likely: tuple[SpaceVersion | None, SpaceVersion | None] = (None, None),
) -> tuple[Embeddings, Embeddings] | None:
    """Load the queries under both models, if there are any.

    Raises:
        InputError: If only one side is given.
    """
    if (old is None) != (new is None):
        raise InputError("--old-queries and --new-queries must be given together: the same queries, both models.")
    if old is None or new is None:
        return None
    return load_sides(
        old, new, old_space=old_space, new_space=new_space, similarity=similarity, reading=reading, likely=likely
    )


def artifact_spaces(path: Path) -> tuple[SpaceVersion, SpaceVersion]:
    """Return the spaces of the old and the new model of an artifact, or of both of a pair."""
    from embcompat.artifact import MANIFEST, read_artifact

    if (path / "forward" / MANIFEST).is_file():
        return read_artifact(path / "forward").source, read_artifact(path / "backward").source
    artifact = read_artifact(path)
    return artifact.source, artifact.target
