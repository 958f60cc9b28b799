"""From a gallery in use to a file of converted vectors: the store is only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from embcompat.artifact import Artifact
from embcompat.errors import InputError
from embcompat.files.objects import Location, location
from embcompat.migration.files.convert import ConversionReport, convert_file
from embcompat.progress import ProgressFactory
from embcompat.spaces import SpaceVersion
from embcompat.stores import GalleryStore, parse_store_url, sample_gallery


def convert_gallery(
    artifact_path: str | Path | Artifact,
    gallery: str | GalleryStore,
    target: str | Location,
    *,
    space: SpaceVersion | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    force: bool = False,
    texts: Mapping[str, str] | None = None,
    progress: ProgressFactory | None = None,
) -> ConversionReport:
    """Convert a gallery in use to a Parquet file; `run_migration` converts it in place.

    The file holds the ids, the converted vectors, and the texts and labels of the named columns; no other column. All
    vectors of the gallery are held in memory and written to a temporary file beside the target; for a target in an
    object store, to the temporary folder of this machine.

    Args:
        artifact_path: The artifact.
        gallery: Its address, or an open store.
        target: The ``.parquet`` file to write.
        space: The space of the gallery, if the store does not record it.
        text_column: Column of the texts, which a text-aware aligner reads.
        label_column: Column of the labels.
        batch_size: As in `convert_file`.
        threads: As in `convert_file`.
        overwrite: Whether to replace a target that exists.
        force: As in `convert_file`.
        texts: As in `convert_file`.
        progress: As in `convert_file`.

    Raises:
        InputError: If the target cannot be written, or the space is not known.
        SpaceMismatchError: If the gallery is not in the artifact's source space.
        MigrationError: If a check fails. The target is then not written.
    """
    target = location(target)
    if target.suffix.lower() != ".parquet":
        raise InputError(f"target must be a .parquet file when a store is converted. Got {target}.")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already. Choose another target, or pass overwrite (--overwrite).")
    beside = target.parent if isinstance(target, Path) else None
    if beside is not None and not beside.is_dir():
        raise InputError(f"the folder of {target} does not exist. Create it first.")
    with TemporaryDirectory(prefix=f".{target.name}.", dir=beside) as folder:
        copy = Path(folder) / "gallery.parquet"
        sample_gallery(gallery, text_column=text_column, label_column=label_column, space=space).save(copy)
        report = convert_file(
            artifact_path,
            copy,
            target,
            batch_size=batch_size,
            threads=threads,
            resume=False,
            overwrite=overwrite,
            force=force,
            texts=texts,
            progress=progress,
        )
    return replace(report, source=parse_store_url(gallery).public if isinstance(gallery, str) else gallery.url)
