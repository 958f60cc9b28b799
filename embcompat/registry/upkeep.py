"""Maintenance of a registry: verification, and garbage collection of unreferenced blobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import final

from embcompat.artifact import Manifest, parse_manifest
from embcompat.errors import EmbcompatError
from embcompat.registry.records import (
    ALIGNERS,
    BLOBS,
    EVENTS,
    MARKER,
    SPACES,
    Damage,
    Event,
    Garbage,
    Marker,
    SpaceRecord,
    aligner_path,
    blob_path,
    digest_of,
    event_path,
    space_path,
)
from embcompat.registry.storage import Storage
from embcompat.spaces import SpaceVersion

GARBAGE_AGE = timedelta(days=7)
"""Unreferenced blobs are collected when they are older than this: a publication takes minutes, not days [ours]."""


def verify(storage: Storage) -> tuple[Damage, ...]:
    """Check every file of a registry; see `Registry.verify`.

    References are read before the blobs are listed, so that publications in progress are not reported as damage.
    """
    check = _Check(storage)
    check.marker()
    check.events()
    check.aligners()
    check.spaces()
    check.blobs()
    check.compare()
    return tuple(sorted(check.damages, key=lambda damage: damage.path))


def collect_garbage(storage: Storage, *, dry_run: bool) -> tuple[Garbage, ...]:
    """Find, and delete unless ``dry_run``, old blobs that nothing refers to; see `Registry.gc`.

    Raises:
        RegistryError: If a record that might refer to blobs cannot be read; then nothing is deleted.
    """
    limit = datetime.now(UTC) - GARBAGE_AGE
    old = [entry for entry in storage.list(BLOBS) if entry.modified < limit]
    used = set(_referenced(storage))
    garbage = [entry for entry in old if entry.path not in used]
    if not dry_run:
        for entry in garbage:
            now = storage.look(entry.path)
            if now is not None and now.modified < limit:  # a publication may have renewed it in between
                storage.delete(entry.path)
    return tuple(Garbage(entry.path, entry.size_bytes, entry.modified) for entry in garbage)


def _referenced(storage: Storage) -> Iterator[str]:
    for entry in storage.list(ALIGNERS):
        manifest = parse_manifest(storage.need(entry.path), where=entry.path)
        yield from map(blob_path, manifest.files.values())
    for entry in storage.list(EVENTS):
        event = Event.from_bytes(storage.need(entry.path), where=entry.path)
        if event.blob is not None:
            yield blob_path(event.blob)


@final
class _Check:
    """One verification: the problems so far, the objects that exist, and the references to them."""

    def __init__(self, storage: Storage) -> None:
        self.damages: list[Damage] = []
        self._storage = storage
        self._spaces: dict[str, SpaceVersion] = {}
        self._manifests: dict[str, Manifest] = {}
        self._subjects: list[tuple[str, str]] = []
        self._blob_users: dict[str, str] = {}
        self._present_blobs: set[str] = set()

    def marker(self) -> None:
        try:
            Marker.from_bytes(self._storage.need(MARKER), where=MARKER)
        except EmbcompatError as error:
            self._report(MARKER, str(error))

    def events(self) -> None:
        for number, entry in enumerate(self._storage.list(EVENTS), start=1):
            if entry.path != event_path(number):
                self._report(event_path(number), "missing, and later events are there")
                return
            try:
                event = Event.from_bytes(self._storage.need(entry.path), where=entry.path)
            except EmbcompatError as error:
                self._report(entry.path, str(error))
                continue
            self._subjects.append((entry.path, event.subject))
            if event.blob is not None:
                self._blob_users.setdefault(blob_path(event.blob), entry.path)

    def aligners(self) -> None:
        for entry in self._storage.list(ALIGNERS):
            try:
                data = self._storage.need(entry.path)
                manifest = parse_manifest(data, where=entry.path)
            except EmbcompatError as error:
                self._report(entry.path, str(error))
                continue
            identifier = digest_of(data)
            if aligner_path(manifest, identifier) != entry.path:
                self._report(entry.path, f"it holds artifact {identifier[:12]}…, not the one it is named after")
                continue
            self._manifests[entry.path] = manifest
            for digest in manifest.files.values():
                self._blob_users.setdefault(blob_path(digest), entry.path)

    def spaces(self) -> None:
        for entry in self._storage.list(SPACES):
            try:
                space = SpaceRecord.from_bytes(self._storage.need(entry.path), where=entry.path).space
            except EmbcompatError as error:
                self._report(entry.path, str(error))
                continue
            if space_path(space) != entry.path:
                self._report(entry.path, f"it holds {space.id}, which belongs into {space_path(space)}")
            self._spaces[space.id] = space

    def blobs(self) -> None:
        for entry in self._storage.list(BLOBS):
            self._present_blobs.add(entry.path)
            digest = entry.path.rpartition("/")[2]
            data = self._storage.read(entry.path)
            if data is not None and (blob_path(digest) != entry.path or digest_of(data) != digest):
                self._report(entry.path, "damaged: its SHA-256 is not its name")

    def compare(self) -> None:
        """Compare the references with the objects that exist."""
        for path, manifest in self._manifests.items():
            for space in (manifest.source, manifest.target):
                registered = self._spaces.get(space.id)
                if registered is None:
                    self._report(path, f"its space {space.id} is not registered")
                elif lines := registered.differences(space):
                    self._report(path, f"its space {space.id} is registered with other content: {'; '.join(lines)}")
        known = self._spaces.keys() | {path.rpartition("/")[2].removesuffix(".json") for path in self._manifests}
        for path, subject in self._subjects:
            if subject not in known:
                self._report(path, f"it names {subject}, which is not registered")
        for path in sorted(self._blob_users.keys() - self._present_blobs):
            self._report(path, f"missing; {self._blob_users[path]} needs it")

    def _report(self, path: str, what: str) -> None:
        self.damages.append(Damage(path, what))
