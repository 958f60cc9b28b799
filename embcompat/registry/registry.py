"""The registry of spaces, of the aligners between them, and of what is in production."""

from __future__ import annotations

import re
from pathlib import Path
from typing import final

from embcompat.aligners import known_kinds
from embcompat.artifact import Artifact, parse_manifest, read_artifact
from embcompat.errors import ArtifactError, InputError, RegistryConflictError, RegistryError, UnknownNameError
from embcompat.registry import blobs, upkeep
from embcompat.registry.events import EventLog, Standing
from embcompat.registry.records import (
    ALIGNERS,
    LABEL,
    MARKER,
    SPACES,
    AlignerEntry,
    Damage,
    Event,
    Garbage,
    Marker,
    SpaceRecord,
    aligner_path,
    blob_path,
    digest_of,
    space_path,
)
from embcompat.registry.storage import Storage
from embcompat.spaces import SpaceVersion

_ID_PREFIX = re.compile(r"[0-9a-f]{6,64}")


@final
class Registry:
    """Spaces, aligners and promotions in a directory or an object store, for any number of writers at once.

    Nothing is changed in place: the first writer takes a name, and the last entry of a numbered log is current. There
    are no locks. Digests detect damage, not attackers: anyone with write access can write anything.

    Args:
        url: A directory, or a URL of an object store: ``file://``, ``memory://``, ``s3://``, ``gs://``, ``az://``.
            Credentials and endpoints come from the environment, as the store's own tools read them.
        create: Whether to make a registry there if there is none.

    Raises:
        InputError: If there is no registry at the place and ``create`` is not given.
        RegistryError: If the place cannot be read, or holds a registry of another schema version.

    Example:
        >>> registry = Registry("memory://", create=True)
        >>> registry.add_space(SpaceVersion(name="facenet", version="11", dim=128))
        >>> registry.promote("production", "facenet@11")
        'facenet@11'
        >>> registry.find_space("production").id
        'facenet@11'
    """

    def __init__(self, url: str | Path, *, create: bool = False) -> None:
        self._storage = Storage(url, create=create)
        self.url = self._storage.url
        self._spaces: dict[str, SpaceVersion] = {}
        self._manifests: dict[str, AlignerEntry] = {}
        self._log = EventLog(self._storage)
        if create:
            self._storage.create(MARKER, Marker().to_bytes())
            if self._storage.create(MARKER, Marker().to_bytes()):
                raise RegistryError(
                    f"{self.url} ignores conditional writes, so records could be overwritten. Use another store."
                )
        marker = self._storage.read(MARKER)
        if marker is None:
            raise InputError(f"there is no registry at {self.url}. Make one with: embcompat registry init {self.url}")
        Marker.from_bytes(marker, where=f"{MARKER} in {self.url}")

    def __repr__(self) -> str:
        return f"Registry({self.url!r})"

    def add_space(self, space: SpaceVersion, *, reference: bytes | None = None) -> None:
        """Register a space; registering it again changes nothing.

        Args:
            space: The space.
            reference: What the doctor recognizes the space by (`SpaceReference.to_bytes`); the last one counts.

        Raises:
            RegistryConflictError: If name and version are taken by a space that differs in any field, the
                fingerprint included; shows both values.
        """
        if not self._storage.create(space_path(space), SpaceRecord(space=space).to_bytes()):
            self._refuse_other(space)
        if reference is not None:
            self._log.append("reference", space.id, blob=blobs.put_blob(self._storage, reference))

    def publish(self, path: str | Path | Artifact) -> AlignerEntry:
        """Publish an artifact, and register its two spaces; publishing it again changes nothing.

        The blobs are written first, then the spaces, then the manifest. A reader that sees the manifest sees all of it,
        and an interrupted publication leaves only blobs, which `gc` removes.

        Args:
            path: The artifact directory.

        Raises:
            InputError: If there is no artifact at the path.
            ArtifactError: If it is damaged or refused.
            UnknownNameError: If its kind of aligner is not known here.
            RegistryConflictError: If the version of one of its spaces is taken by other content; shows the difference.
            RegistryError: If it was retired.
        """
        artifact = read_artifact(path.path if isinstance(path, Artifact) else path)
        if artifact.manifest.kind not in known_kinds():
            raise UnknownNameError("kind of aligner", artifact.manifest.kind, known_kinds())
        artifact.graph()
        self._refuse_other(artifact.source, artifact.target)
        if artifact.id in self._log.standing().retired:
            raise RegistryError(
                f"artifact {artifact.id[:12]} was retired, so it is not published again. Fit a new one."
            )
        files = {name: (artifact.path / name).read_bytes() for name in artifact.manifest.files}
        for name, data in files.items():
            if blobs.put_blob(self._storage, data) != artifact.manifest.files[name]:
                raise ArtifactError(f"{artifact.path / name} changed while it was published. Publish it again.")
        for space in (artifact.source, artifact.target):
            self.add_space(space)
        where, manifest = aligner_path(artifact.manifest, artifact.id), artifact.manifest.to_bytes()
        if not self._storage.create(where, manifest) and self._storage.read(where) != manifest:
            raise RegistryError(f"{where} in {self.url} is damaged.")
        for data in files.values():
            if self._storage.look(blob_path(digest_of(data))) is None:  # a garbage collection may have run in between
                blobs.put_blob(self._storage, data)
        return AlignerEntry(artifact.id, artifact.manifest, retired=False)

    def get(self, name: str, destination: str | Path | None = None) -> Artifact:
        """Fetch an artifact to this machine and verify it.

        Args:
            name: As in `find_aligner`.
            destination: The directory to make; an artifact of the same id that is there already is verified and
                kept. In the user's cache when None, where damaged copies are fetched again.

        Raises:
            UnknownNameError: If there is no such artifact.
            InputError: If something else is at the destination.
            RegistryError: If a blob is missing or damaged; names it.
        """
        entry = self.find_aligner(name)
        self._refuse_other(entry.source, entry.target)
        return blobs.fetch(self._storage, entry, None if destination is None else Path(destination))

    def list_spaces(self, *, retired: bool = False) -> tuple[SpaceVersion, ...]:
        """List the spaces by id; retired ones only on request."""
        hidden = frozenset[str]() if retired else self._log.standing().retired
        spaces = [self._space_at(entry.path) for entry in self._storage.list(SPACES)]
        return tuple(sorted((space for space in spaces if space.id not in hidden), key=lambda space: space.id))

    def list_aligners(self, *, retired: bool = False) -> tuple[AlignerEntry, ...]:
        """List the aligners by source, target and id; retired ones only on request."""
        retired_ids = self._log.standing().retired
        entries = [self._entry_at(stored.path, retired_ids) for stored in self._storage.list(ALIGNERS)]
        visible = [entry for entry in entries if retired or not entry.retired]
        return tuple(sorted(visible, key=lambda entry: (entry.source.id, entry.target.id, entry.id)))

    def events(self) -> tuple[Event, ...]:
        """Return every promotion, retirement and reference, oldest first."""
        return self._log.read()

    def standing(self) -> Standing:
        """Return the state after all events: labels, retired subjects, and events that came too late to count."""
        return self._log.standing()

    def find_space(self, name: str) -> SpaceVersion:
        """Find a space by ``name@version``, by a label, or by a label of an aligner that leads to it.

        Raises:
            UnknownNameError: If there is none; lists the known ones.
        """
        labels = self._log.standing().labels
        subject = labels.get(name, name)
        if "@" not in subject and name in labels:
            return self.find_aligner(subject).target
        known = {space.id: space for space in self.list_spaces(retired=True)}
        if subject not in known:
            raise UnknownNameError("space", name, [*known, *labels])
        return known[subject]

    def find_aligner(self, name: str) -> AlignerEntry:
        """Find an aligner by artifact id, by the first six or more digits of one, or by a label.

        Raises:
            UnknownNameError: If there is none; lists the known ones.
            InputError: If several ids begin with these digits.
        """
        labels = self._log.standing().labels
        subject = labels.get(name, name)
        entries = self.list_aligners(retired=True)
        matches = [entry for entry in entries if _ID_PREFIX.fullmatch(subject) and entry.id.startswith(subject)]
        if not matches:
            raise UnknownNameError("aligner", name, [entry.id[:12] for entry in entries] + list(labels))
        if len(matches) > 1:
            listed = ", ".join(entry.id[:16] for entry in matches)
            raise InputError(f"{name!r} must begin one artifact id. Got {len(matches)}: {listed}. Pass more digits.")
        return matches[0]

    def reference(self, space: SpaceVersion) -> bytes | None:
        """Return the last reference of a space, or None."""
        digest = self._log.reference(space.id)
        return None if digest is None else blobs.read_blob(self._storage, digest)

    def promote(self, label: str, name: str, *, reason: str = "") -> str:
        """Give a label to a space or an aligner, and return its id; a label has one holder at a time.

        Args:
            label: For instance ``production``.
            name: Space as ``name@version``, artifact id or the first digits of one, or another label.
            reason: Why, for the log.

        Raises:
            InputError: If the label is not a plain lower-case name.
            UnknownNameError: If there is no such space or aligner.
            RegistryError: If it was retired, even by another writer at the same moment.
        """
        if not re.fullmatch(LABEL, label) or _ID_PREFIX.fullmatch(label):
            raise InputError(f"a label must be a plain lower-case name such as production. Got {label!r}.")
        subject = self._subject(name)
        if subject in self._log.standing().retired:
            raise RegistryError(f"{subject} was retired, so it cannot be promoted to {label!r}.")
        self._log.append("promote", subject, label=label, reason=reason)
        return subject

    def retire(self, name: str, *, reason: str = "") -> str:
        """Retire a space or an aligner permanently, and return its id; it stays readable.

        No path uses a retired aligner. A path may begin in a retired space, because its vectors need a way out, but it
        may not end there or pass through.

        Raises:
            UnknownNameError: If there is no such space or aligner.
            RegistryError: If a label points to it, even one that another writer gave it at the same moment.
        """
        subject = self._subject(name)
        pointing = sorted(label for label, current in self._log.standing().labels.items() if current == subject)
        if pointing:
            raise RegistryError(f"{subject} cannot be retired: it is {', '.join(pointing)}. Promote another one first.")
        if subject not in self._log.standing().retired:
            self._log.append("retire", subject, reason=reason)
        return subject

    def verify(self) -> tuple[Damage, ...]:
        """Read everything and compare it with its digests and with each other.

        Returns the problems by file; an empty list if there are none.
        """
        return upkeep.verify(self._storage)

    def gc(self, *, dry_run: bool = True) -> tuple[Garbage, ...]:
        """Find blobs that nothing refers to and that are older than seven days; delete them unless ``dry_run``.

        Younger blobs may belong to a publication in progress.
        """
        return upkeep.collect_garbage(self._storage, dry_run=dry_run)

    def _subject(self, name: str) -> str:
        subject = self._log.standing().labels.get(name, name)
        return self.find_space(subject).id if "@" in subject else self.find_aligner(subject).id

    def _refuse_other(self, *spaces: SpaceVersion) -> None:
        for space in spaces:
            data = self._storage.read(space_path(space))
            if data is None:
                continue
            registered = SpaceRecord.from_bytes(data, where=f"{space_path(space)} in {self.url}").space
            if lines := registered.differences(space):
                raise RegistryConflictError(
                    f"space {space.id!r} is registered with other content; registered != yours: {'; '.join(lines)}. "
                    "If the model or how it is loaded changed, give it a new version."
                )

    def _space_at(self, path: str) -> SpaceVersion:
        if path not in self._spaces:
            space = SpaceRecord.from_bytes(self._storage.need(path), where=f"{path} in {self.url}").space
            if space_path(space) != path:
                raise RegistryError(f"{path} in {self.url} is damaged: it holds {space.id}.")
            self._spaces[path] = space
        return self._spaces[path]

    def _entry_at(self, path: str, retired: frozenset[str]) -> AlignerEntry:
        if path not in self._manifests:
            data = self._storage.need(path)
            identifier = digest_of(data)
            manifest = parse_manifest(data, where=f"{path} in {self.url}")
            if aligner_path(manifest, identifier) != path:
                raise RegistryError(f"{path} in {self.url} is damaged: its SHA-256 is {identifier[:12]}….")
            self._manifests[path] = AlignerEntry(identifier, manifest, retired=False)
        entry = self._manifests[path]
        return AlignerEntry(entry.id, entry.manifest, retired=entry.id in retired)
