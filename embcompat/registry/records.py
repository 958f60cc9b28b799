"""The records of the registry, and their paths.

::

    registry.json                                        marks the place as a registry
    blobs/sha256/ab/<sha256>                             the files of artifacts, and references, under their own digest
    spaces/<name>/<version>.json                         a space
    aligners/<source>__to__<target>/<artifact id>.json   an artifact's manifest, byte for byte: the id is its digest
    events/00000001.json                                 promotions, retirements and references, numbered without a gap

Everything but a blob is written exactly once; a second write is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from embcompat.artifact import Manifest
from embcompat.errors import RegistryError
from embcompat.spaces import SpaceVersion

SCHEMA_VERSION: Final = 1
MARKER = "registry.json"
BLOBS, SPACES, ALIGNERS, EVENTS = "blobs", "spaces", "aligners", "events"

Action = Literal["promote", "retire", "reference"]

LABEL = r"^[a-z0-9][a-z0-9._-]*$"


class _Record(BaseModel):
    """JSON in canonical form (sorted keys, no spaces, one final newline) that holds the digest of its other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = SCHEMA_VERSION

    def to_bytes(self) -> bytes:
        """Return the canonical form."""
        fields = self.model_dump(mode="json")
        return _canonical({**fields, "sha256": digest_of(_canonical(fields))})

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Self:
        """Read the record back.

        Raises:
            RegistryError: If the bytes are not such a record of this schema version, or a byte changed.
        """
        try:
            fields = json.loads(data)
            version = fields.pop("schema_version", None)
            if version != SCHEMA_VERSION:
                raise RegistryError(
                    f"{where} has schema version {version!r}; this embcompat reads version {SCHEMA_VERSION}."
                )
            fields.pop("sha256", None)
            record = cls.model_validate(fields)
            whole = record.to_bytes() == data
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RegistryError(f"{where} is damaged: {str(error).splitlines()[0]}.") from error
        if not whole:
            raise RegistryError(f"{where} is damaged: its content does not match its own SHA-256.")
        return record


class Marker(_Record):
    """Marks a place as a registry."""

    kind: Literal["embcompat registry"] = "embcompat registry"


class SpaceRecord(_Record):
    """A registered space."""

    space: SpaceVersion


class Event(_Record):
    """A decision about a space or an aligner.

    Attributes:
        action: ``promote`` gives the subject a label, ``retire`` takes it out of use, ``reference`` gives a space the
            reference that the doctor compares vectors with.
        subject: Space as ``name@version``, or artifact id.
        label: The label of a promotion.
        blob: Digest of the reference.
        reason: The reason, in the words of the person who decided.
        at: The time of the decision.
    """

    action: Action
    subject: str
    label: str | None = Field(default=None, pattern=LABEL)
    blob: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    reason: str = ""
    at: AwareDatetime


@dataclass(frozen=True)
class AlignerEntry:
    """A published aligner.

    Attributes:
        id: Its artifact's id.
        manifest: Its artifact's manifest.
        retired: Whether it is out of use.
    """

    id: str
    manifest: Manifest
    retired: bool

    @property
    def source(self) -> SpaceVersion:
        """Space of the vectors that go in."""
        return self.manifest.source

    @property
    def target(self) -> SpaceVersion:
        """Space of the vectors that come out."""
        return self.manifest.target


@dataclass(frozen=True)
class Damage:
    """A problem in a registry.

    Attributes:
        path: The file.
        what: What is wrong with it.
    """

    path: str
    what: str


@dataclass(frozen=True)
class Garbage:
    """A blob that nothing refers to.

    Attributes:
        path: The file.
        size_bytes: Its size.
        modified: When it was written.
    """

    path: str
    size_bytes: int
    modified: datetime


def digest_of(data: bytes) -> str:
    """Return the SHA-256 as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def _canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def blob_path(digest: str) -> str:
    """Return where a blob lies.

    Example:
        >>> blob_path("ab" * 32)[:22]
        'blobs/sha256/ab/ababab'
    """
    return f"{BLOBS}/sha256/{digest[:2]}/{digest}"


def space_path(space: SpaceVersion) -> str:
    """Return where a space lies."""
    return f"{SPACES}/{space.name}/{space.version}.json"


def aligner_path(manifest: Manifest, artifact_id: str) -> str:
    """Return where the manifest of an aligner lies."""
    return f"{ALIGNERS}/{manifest.source.id}__to__{manifest.target.id}/{artifact_id}.json"


def event_path(number: int) -> str:
    """Return where an event lies.

    Example:
        >>> event_path(7)
        'events/00000007.json'
    """
    return f"{EVENTS}/{number:08d}.json"
