"""Which space a vector lives in."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from embcompat.errors import InputError, SpaceMismatchError
from embcompat.similarities import Similarity as Similarity

_NAME = r"^[a-z0-9][a-z0-9._-]*$"
_VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"

CANARY = "canary"
"""Key of a fingerprint that holds vectors of a few fixed texts: all that is known of a model in a service."""

CANARY_TOLERANCE = 0.1
"""Largest ‖difference‖ / ‖expected‖ of a fixed text's vectors under one model [ours].

Services jitter by 1e-4 to 1e-2; another precision of the weights is 0.1 away, another model 1 and more.
"""


class SpaceVersion(BaseModel):
    """One version of one embedding space: everything that decides whether two vectors may be compared.

    Two vectors are comparable when their spaces are equal, the fingerprint included. A model that is loaded with
    another prompt, pooling or truncation writes vectors of the same dimension that mean something else; the
    fingerprint is where that shows. What a fingerprint holds under ``canary``, the vectors of fixed texts, is compared
    with a tolerance (`CANARY_TOLERANCE`), everything else exactly.

    Attributes:
        name: Lower-case name of the model family, for instance ``facenet``.
        version: Version of the model, for instance ``46.4``.
        dim: Length of its vectors.
        similarity: The score that ranks its vectors; larger is closer (Euclidean scores are −distance).
        normalized: Whether every vector has unit Euclidean norm.
        modality: What was embedded, for instance ``text`` or ``face``.
        fingerprint: Whatever changes vectors silently: weights digest or revision, pooling, prompt, preprocessing,
            truncation. Empty when nothing is known.

    Example:
        >>> space = SpaceVersion(name="facenet", version="11", dim=128, similarity="euclidean")
        >>> space.id
        'facenet@11'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME, max_length=100)
    version: str = Field(pattern=_VERSION, max_length=100)
    dim: int = Field(gt=0, strict=True)
    similarity: Similarity = "cosine"
    normalized: bool = Field(default=False, strict=True)
    modality: str = Field(default="unknown", pattern=_NAME, max_length=50)
    fingerprint: dict[str, JsonValue] = Field(default_factory=dict)

    def __init__(
        self, name: str | None = None, version: str | None = None, dim: int | None = None, **fields: Any
    ) -> None:
        stated = {"name": name, "version": version, "dim": dim}
        super().__init__(**{key: value for key, value in stated.items() if value is not None}, **fields)

    @property
    def id(self) -> str:
        """The short name ``name@version``."""
        return f"{self.name}@{self.version}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpaceVersion) and (self is other or not self.differences(other))

    def __hash__(self) -> int:
        return hash((self.name, self.version, self.dim))

    def differences(self, other: SpaceVersion) -> list[str]:
        """List the fields in which two spaces differ, each as ``field: mine != theirs``."""
        fields, other_fields = self.model_dump(), other.model_dump()
        prints = fields.pop("fingerprint"), other_fields.pop("fingerprint")
        lines = [
            f"{key}: {fields[key]!r} != {other_fields[key]!r}" for key in fields if fields[key] != other_fields[key]
        ]
        for key in sorted(prints[0].keys() | prints[1].keys()):
            left, right = prints[0].get(key), prints[1].get(key)
            if key == CANARY and left is not None and right is not None:
                if (drift := canary_drift(left, right)) > CANARY_TOLERANCE:
                    lines.append(f"fingerprint.canary: vectors of fixed texts differ by {drift:.0%} of their length")
            elif left != right:
                lines.append(f"fingerprint.{key}: {left!r} != {right!r}")
        return lines

    def to_json(self) -> str:
        """Return the space as compact JSON with sorted keys."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "the space") -> SpaceVersion:
        """Read a space from JSON.

        Args:
            text: What `to_json` returned.
            where: What to call it in the error, for instance a file name.

        Raises:
            InputError: If the text is not the JSON of a space.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "JSON"
            raise InputError(f"{where} is not a space version. {field}: {first['msg']}.") from error


def canary_drift(actual: Any, expected: Any) -> float:
    """Return the largest ‖difference‖ / ‖expected‖ of two canaries' vectors; infinity where they have not one shape.

    Example:
        >>> canary_drift([[0.6, 0.8], [1.0, 0.0]], [[0.6, 0.8], [0.0, 1.0]])
        1.4142135623730951
    """
    try:
        return max(math.dist(*rows) / math.hypot(*rows[1]) for rows in zip(actual, expected, strict=True))
    except (TypeError, ValueError, ZeroDivisionError):
        return math.inf


def parse_space_id(text: str) -> tuple[str, str]:
    """Split ``name@version`` into its two parts.

    Raises:
        InputError: If the text has another form.

    Example:
        >>> parse_space_id("facenet@46.4")
        ('facenet', '46.4')
    """
    name, at, version = text.partition("@")
    if not (at and name and version):
        raise InputError(f"a space has the form name@version, for instance facenet@11. Got {text!r}.")
    return name, version


def require_space(actual: SpaceVersion, expected: SpaceVersion, *, what: str) -> None:
    """Refuse vectors of another space.

    Args:
        actual: The space that the vectors are in.
        expected: The space that they must be in.
        what: What the vectors are, as the start of a sentence ("The gallery").

    Raises:
        SpaceMismatchError: If the spaces differ in any field, the fingerprint included; shows both values.
    """
    lines = actual.differences(expected)
    if not lines:
        return
    if actual.id == expected.id:
        hint = "Same name and version, so the model was loaded differently: embed again with the expected settings, "
        hint += "or publish it as a new version."
    else:
        hint = f"Convert the vectors with an aligner from {actual.id} to {expected.id}, or pass the right file."
    raise SpaceMismatchError(
        f"{what} must be in space {expected.id!r}. Got {actual.id!r}; actual != expected: {'; '.join(lines)}. {hint}"
    )
