"""Blobs in the registry, and verified artifacts that this machine assembles from them."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from embcompat.artifact import MANIFEST, Artifact, read_artifact
from embcompat.errors import ArtifactError, InputError, RegistryError
from embcompat.registry.records import AlignerEntry, blob_path, digest_of
from embcompat.registry.storage import Storage

_RENEWAL_AGE = timedelta(days=1)


def cache_folder() -> Path:
    """Return the folder of fetched artifacts; each has a directory that is named by its id.

    It is ``embcompat/artifacts`` under ``$XDG_CACHE_HOME``, or under ``~/.cache`` when that is not set.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embcompat" / "artifacts"


def put_blob(storage: Storage, data: bytes) -> str:
    """Write a blob and return its digest. A blob that exists is repaired if needed, and its time is renewed.

    A publication renews its blobs, so that garbage collection cannot delete them before the manifest is written.
    """
    digest = digest_of(data)
    path = blob_path(digest)
    if not storage.create(path, data):
        stored = storage.look(path)
        aging = stored is None or datetime.now(UTC) - stored.modified > _RENEWAL_AGE
        if aging or storage.read(path) != data:
            storage.overwrite(path, data)
    return digest


def read_blob(storage: Storage, digest: str) -> bytes:
    """Read a blob and verify it.

    Raises:
        RegistryError: If it is missing or damaged; names it.
    """
    path = blob_path(digest)
    data = storage.need(path)
    if (actual := digest_of(data)) != digest:
        raise RegistryError(f"{path} in {storage.url} is damaged: its SHA-256 is {actual[:12]}….")
    return data


def fetch(storage: Storage, entry: AlignerEntry, destination: Path | None) -> Artifact:
    """Make the directory of an artifact; it appears only when it is complete and verified.

    Raises:
        InputError: If something else is at the destination.
        ArtifactError: If a damaged copy of the artifact is at the destination.
        RegistryError: If a blob is missing or damaged.
    """
    path = cache_folder() / entry.id if destination is None else destination
    if path.exists():
        try:
            return _expect(path, entry)
        except ArtifactError:
            if destination is not None:
                raise
            shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        for name, digest in entry.manifest.files.items():
            (temporary / name).write_bytes(read_blob(storage, digest))
        (temporary / MANIFEST).write_bytes(entry.manifest.to_bytes())
        read_artifact(temporary).graph()
        temporary.chmod(0o755)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise  # otherwise another process was faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _expect(path, entry)


def _expect(path: Path, entry: AlignerEntry) -> Artifact:
    artifact = read_artifact(path)
    if artifact.id != entry.id:
        raise InputError(f"{path} holds artifact {artifact.id[:12]}, not {entry.id[:12]}. Choose another destination.")
    return artifact
