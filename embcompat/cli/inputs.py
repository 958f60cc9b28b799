"""Read the embeddings that a command was given: Parquet names its space, ``.npy`` needs it said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embcompat.errors import InputError
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.embeddings import Embeddings
    from embcompat.spaces import SpaceVersion


def load_embeddings(path: Path, *, space: str | None = None, similarity: Similarity = "cosine") -> Embeddings:
    """Load embeddings from Parquet, or from ``.npy`` with the space given as ``name@version``.

    A ``.npy`` file has row numbers for ids, and its space is called normalized when every row has unit norm.

    Raises:
        InputError: If a ``.npy`` file comes without a space, or a Parquet file names another than the one given.
        FileFormatError: If the file does not hold embeddings.
    """
    from embcompat.embeddings import Embeddings

    if path.suffix != ".npy":
        found = Embeddings.load(path)
        if space is not None and found.space.id != space:
            raise InputError(f"{path} must be in space {space!r}. It says {found.space.id!r}.")
        return found
    return Embeddings.from_npy(path, space=npy_space(path, space=space, similarity=similarity))


def load_sides(
    old: Path, new: Path, *, old_space: str | None, new_space: str | None, similarity: Similarity
) -> tuple[Embeddings, Embeddings]:
    """Load the same gallery, or the same queries, under both models; see `load_embeddings`."""
    return (
        load_embeddings(old, space=old_space, similarity=similarity),
        load_embeddings(new, space=new_space, similarity=similarity),
    )


def load_queries(
    old: Path | None, new: Path | None, *, old_space: str | None, new_space: str | None, similarity: Similarity
) -> tuple[Embeddings, Embeddings] | None:
    """Load the queries under both models, if there are any.

    Raises:
        InputError: If only one side is given.
    """
    if (old is None) != (new is None):
        raise InputError("--old-queries and --new-queries must be given together: the same queries, both models.")
    if old is None or new is None:
        return None
    return load_sides(old, new, old_space=old_space, new_space=new_space, similarity=similarity)


def npy_space(path: Path, *, space: str | None, similarity: Similarity) -> SpaceVersion:
    """Make the space of a ``.npy`` file from ``name@version`` and the file's own dimension and norms.

    Raises:
        InputError: If there is no space, or the file does not hold rows of numbers.
    """
    import numpy as np

    from embcompat.embeddings import UNIT_NORM_TOLERANCE
    from embcompat.files.npy import read_npy
    from embcompat.spaces import SpaceVersion, parse_space_id

    if space is None:
        raise InputError(
            f"{path} is a .npy file, which does not say its space. "
            "Pass --old-space or --new-space name@version (and --similarity)."
        )
    name, version = parse_space_id(space)
    array = read_npy(path)
    if array.ndim != 2:
        raise InputError(f"{path} must hold an array of shape (n, dim). Got shape {array.shape}.")
    norms = (np.linalg.norm(array[start : start + 65_536], axis=1) for start in range(0, len(array), 65_536))
    normalized = all(bool((np.abs(block - 1) <= UNIT_NORM_TOLERANCE).all()) for block in norms)
    return SpaceVersion(
        name=name, version=version, dim=array.shape[1], similarity=similarity, normalized=normalized and len(array) > 0
    )
