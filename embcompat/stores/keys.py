"""Native keys as strings and back, without loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final
from uuid import UUID

from embcompat.errors import StoreError

KeyKind = Literal["int", "str", "uuid"]

_READERS: Final[dict[KeyKind, Any]] = {"int": int, "str": str, "uuid": lambda text: UUID(str(text))}


@final
@dataclass(frozen=True)
class KeyCodec:
    """Writes keys as ids and reads them back.

    A key of one column is written plainly, one of several as a JSON array.

    Attributes:
        kinds: Kind of each key column.

    Example:
        >>> codec = KeyCodec(("str", "int"))
        >>> codec.encode(("a", 7))
        '["a",7]'
        >>> codec.decode('["a",7]')
        ('a', 7)
    """

    kinds: tuple[KeyKind, ...]

    def encode(self, key: Sequence[Any]) -> str:
        """Return the id of a key: one value for each column."""
        if len(self.kinds) == 1:
            return str(key[0])
        values = [value if kind == "int" else str(value) for kind, value in zip(self.kinds, key, strict=True)]
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False)

    def decode(self, text: str) -> tuple[Any, ...]:
        """Return the key of an id.

        Raises:
            StoreError: If the id is not of this form.
        """
        try:
            parts = [text] if len(self.kinds) == 1 else json.loads(text)
            return tuple(_READERS[kind](part) for kind, part in zip(self.kinds, parts, strict=True))
        except (ValueError, TypeError) as error:
            raise StoreError(f"{text!r} is not the id of a key of kind ({', '.join(self.kinds)}).") from error
