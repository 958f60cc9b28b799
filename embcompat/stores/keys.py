"""Native keys as strings and back, without loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final
from uuid import UUID

from embcompat.errors import StoreError

KeyKind = Literal["int", "str", "uuid"]

_READERS: Final[dict[KeyKind, Any]] = {"int": int, "str": str, "uuid": UUID}
_JSON: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


@final
@dataclass(frozen=True)
class KeyCodec:
    """Writes keys as ids and reads them back.

    A key of one column is written plainly, one of several as a JSON array.

    Attributes:
        kinds: Kind of each key column.

    Example:
        >>> codec = KeyCodec(("str", "int"))
        >>> codec.ids([["a", "b"], [7, 8]])
        ['["a",7]', '["b",8]']
        >>> codec.columns(['["a",7]', '["b",8]'])
        [['a', 'b'], [7, 8]]
    """

    kinds: tuple[KeyKind, ...]

    def ids(self, columns: Sequence[Sequence[Any]]) -> list[str]:
        """Return the ids of keys that are given as one sequence of values for each key column."""
        if self.kinds == ("str",):
            return list(columns[0])
        if len(self.kinds) == 1:
            return list(map(str, columns[0]))
        plain = [
            values if kind == "int" else map(str, values) for kind, values in zip(self.kinds, columns, strict=True)
        ]
        return [_JSON.encode(key) for key in zip(*plain, strict=True)]

    def columns(self, ids: Sequence[str]) -> list[list[Any]]:
        """Return the keys of ids, as one list of values for each key column.

        Raises:
            StoreError: If an id is not of this form.
        """
        try:
            if len(self.kinds) == 1:
                return [list(map(_READERS[self.kinds[0]], ids))]
            keys = [json.loads(text) for text in ids]
            if any(len(key) != len(self.kinds) for key in keys):
                raise ValueError("another number of columns")
            parts = zip(*keys, strict=True) if keys else [()] * len(self.kinds)
            return [list(map(_READERS[kind], values)) for kind, values in zip(self.kinds, parts, strict=True)]
        except (ValueError, TypeError) as error:
            examples = ", ".join(map(repr, ids[:3]))
            raise StoreError(f"{examples} … are not ids of keys of kind ({', '.join(self.kinds)}): {error}") from error
