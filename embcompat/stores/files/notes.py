"""A record of the files of a gallery: which of them is in which space."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from embcompat.files.reading.opening import file_identity
from embcompat.files.writing.atomic import atomic_path
from embcompat.spaces import SpaceVersion
from embcompat.stores.values import Job


@dataclass(frozen=True)
class KnownFile:
    """A file that a migration wrote.

    Attributes:
        space: The space of its vectors.
        artifact: The artifact that made them.
    """

    space: SpaceVersion
    artifact: str


@final
class FileNotes:
    """Notes beside a file, in ``.NAME.embcompat.json``; files are told apart by size, time of change and end.

    Args:
        path: The file.

    Attributes:
        path: Where the notes are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.embcompat.json")

    def known(self, path: Path) -> KnownFile | None:
        """Return what is known of a file."""
        entry = self._load()["files"].get(identity_key(path))
        if entry is None:
            return None
        return KnownFile(SpaceVersion.from_json(entry["space"], where=str(self.path)), entry["artifact"])

    def add(self, job: Job, path: Path, *, stamp: str | None = None) -> None:
        """Note that a job wrote a file, and what from."""
        notes = self._load()
        notes["files"][identity_key(path)] = {"space": job.target.to_json(), "artifact": job.artifact_id}
        if stamp is not None:
            notes["built"][job.suffix] = stamp
        self._save(notes)

    def is_built(self, job: Job, path: Path, stamp: str) -> bool:
        """Return whether a job wrote the file that is there, and from the same."""
        notes = self._load()
        return path.exists() and identity_key(path) in notes["files"] and notes["built"].get(job.suffix) == stamp

    def forget(self, job: Job) -> None:
        """Forget everything that a job wrote."""
        notes = self._load()
        notes["files"] = {key: file for key, file in notes["files"].items() if file["artifact"] != job.artifact_id}
        notes["built"].pop(job.suffix, None)
        if any(notes.values()):
            self._save(notes)
        else:
            self.path.unlink(missing_ok=True)

    def _load(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"files": {}, "built": {}}
        return {**empty, **json.loads(self.path.read_text())} if self.path.exists() else empty

    def _save(self, notes: dict[str, Any]) -> None:
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(notes, indent=1, sort_keys=True))


def identity_key(path: Path) -> str:
    """Return what tells a file from every other one of its name."""
    identity = file_identity(path)
    return f"{identity['bytes']}-{identity['mtime_ns']}-{str(identity['tail_sha256'])[:16]}"
