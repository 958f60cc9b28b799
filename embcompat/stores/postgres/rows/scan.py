"""Where a scan finds its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, LiteralString

from psycopg import sql

_NOTHING: Final[LiteralString] = "0::bigint"


@dataclass(frozen=True)
class Scan:
    """Rows of the source side ``s`` to be read.

    Attributes:
        pieces: FROM and WHERE of each piece.
        recorded: Digest of the source row that the target row was made from.
        change: Number of the last change that the log shows.
    """

    pieces: Iterable[sql.Composed]
    recorded: sql.Composable = field(default_factory=lambda: sql.SQL(_NOTHING))
    change: sql.Composable = field(default_factory=lambda: sql.SQL(_NOTHING))
