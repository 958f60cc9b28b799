"""Read the embeddings that a command was given: a file of any format, or the address of a gallery in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embcompat.cli.console import messages
from embcompat.errors import InputError
from embcompat.files.formats import ending_of
from embcompat.files.objects import is_object_url
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.embeddings import Embeddings
    from embcompat.files import Columns, VectorFile
    from embcompat.spaces import SpaceVersion
    from embcompat.stores import GalleryStore

Origin = str | Path
"""A file, a folder, or the address of a store."""


@dataclass(frozen=True)
class Reading:
    """How files are read where they do not describe themselves.

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

    def columns(self, *, required: bool = True) -> Columns:
        """Return the chosen columns."""
        from embcompat.files import Columns

        return Columns(self.id_column, self.vector_column, self.label_column, self.text_column, required)


BY_NAME: Final = Reading()
"""Columns are found by their names."""


def open_file(
    origin: Origin, reading: Reading, *, space: SpaceVersion | None = None, required: bool = True
) -> VectorFile:
    """Open a file of vectors; print which columns were taken if their names are not the usual ones.

    Args:
        origin: The file or folder.
        reading: How it is read.
        space: The space of its vectors, where it does not name it.
        required: Whether it must have the chosen columns; otherwise the usual names are tried where it does not.
    """
    from embcompat.files import open_vectors

    file = open_vectors(
        origin,
        space=space,
        columns=reading.columns(required=required),
        ids=reading.ids,
        labels=reading.labels,
        delimiter=reading.delimiter,
    )
    if not file.roles.usual:
        messages().print(f"{origin}: {file.roles.describe()}.", soft_wrap=True)
    return file


def assume_space(file: VectorFile, space: SpaceVersion) -> VectorFile:
    """Take a file that names no space to be in the one that an artifact reads, and print that."""
    from embcompat.files import VectorFile

    if file.space is not None:
        return file
    messages().print(f"{file.path} names no space: taken to be {space.id}, as the artifact says.", soft_wrap=True)
    return VectorFile(file.source, file.roles, space)


def load_embeddings(
    origin: Origin,
    *,
    space: str | None = None,
    similarity: Similarity = "cosine",
    reading: Reading = BY_NAME,
    likely: SpaceVersion | None = None,
) -> Embeddings:
    """Load embeddings from a file of any format, or from a gallery in use.

    Args:
        origin: The file, folder or address.
        space: The space as ``name@version``, where the file does not name it. It counts as normalized if every vector
            has unit norm.
        similarity: How that space compares vectors.
        reading: How the file is read.
        likely: The space to assume, and to print, where neither the file nor ``space`` names one.

    Raises:
        InputError: If nothing names the space, or the file names another space than ``space``.
        FileFormatError: If the file does not hold embeddings.
    """
    if is_address(origin):
        return load_gallery(str(origin), space, similarity, reading, likely)
    return read_file(open_file(origin, reading), space, similarity, likely)


def read_file(file: VectorFile, space: str | None, similarity: Similarity, likely: SpaceVersion | None) -> Embeddings:
    """Read an open file; see `load_embeddings`."""
    from embcompat.embeddings.tables import read_embeddings

    if space is None and likely is not None:
        embeddings = read_embeddings(assume_space(file, likely))
    else:
        embeddings = read_embeddings(file, space, similarity=similarity)
    _report_labels(embeddings, str(file.path))
    return embeddings


def is_address(origin: Origin) -> bool:
    """Return whether an argument is the address of a store, not a path or an object in an object store."""
    return "://" in str(origin) and not is_object_url(origin)


def is_csv(origin: Origin) -> bool:
    """Return whether an argument is a CSV or TSV file."""
    return not is_address(origin) and ending_of(Path(str(origin).partition("#")[0])) in (".csv", ".tsv")


def load_gallery(
    url: str, space: str | None, similarity: Similarity, reading: Reading, likely: SpaceVersion | None
) -> Embeddings:
    """Read a gallery in use; see `load_embeddings`."""
    from embcompat.stores import sample_gallery

    with open_gallery(url, reading) as store:
        stated: SpaceVersion | str | None = space
        if likely is not None and space in (None, likely.id):
            stated = likely if space is not None else assumed_space(store, likely)
        embeddings = sample_gallery(
            store,
            text_column=reading.text_column,
            label_column=reading.label_column,
            space=stated,
            similarity=similarity,
        )
    return embeddings if reading.labels is None else _with_labels(embeddings, reading.labels, url)


def _with_labels(embeddings: Embeddings, path: Path, url: str) -> Embeddings:
    """Give the rows of a store the labels of a file, found by id.

    Raises:
        InputError: If the file names no ids: a store has no order of rows.
        FileFormatError: If a row has no label.
    """
    from embcompat.embeddings import Embeddings
    from embcompat.files.reading.tables import labels_of, read_labels

    labels = read_labels(path)
    ids = embeddings.ids.tolist()
    if not isinstance(labels, dict):
        raise InputError(f"{path} must hold an id, a tab and a label in each line: the rows of {url} have no order.")
    marks = labels_of(ids, labels, where=str(path), rows_of=url)
    return Embeddings(embeddings.vectors, ids, embeddings.space, marks, embeddings.texts)


@contextmanager
def open_gallery(url: str, reading: Reading) -> Iterator[GalleryStore]:
    """Open a gallery in use.

    Raises:
        InputError: If the options are for files.
    """
    from embcompat.stores import open_store

    _require_no_file_options(url, reading)
    with closing(open_store(url)) as store:
        yield store


def assumed_space(store: GalleryStore, space: SpaceVersion) -> SpaceVersion:
    """Return the space that an artifact reads; print that it is assumed if the store names none."""
    from embcompat.stores import gallery_space

    if gallery_space(store) is None:
        messages().print(f"{store.url} names no space: taken to be {space.id}, as the artifact says.", soft_wrap=True)
    return space


def _require_no_file_options(url: str, reading: Reading) -> None:
    """Refuse options of files where a store is read.

    Raises:
        InputError: If there is one.
    """
    options = {
        "--id-column": reading.id_column,
        "--vector-column": reading.vector_column,
        "--ids": reading.ids,
        "--delimiter": reading.delimiter,
    }
    if option := next((name for name, value in options.items() if value is not None), None):
        raise InputError(
            f"{option} is for files. The address of a store names its key and its column of vectors. Got {url}."
        )


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
