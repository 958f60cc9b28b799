"""Where a scan finds its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql


@dataclass(frozen=True)
class Scan:
    """Rows of the source side ``s`` to be read.

    Attributes:
        pieces: FROM and WHERE of each piece.
        recorded: Digest of the source row that the target row was made from; None where there is no target row.
        change: Number of the last change that the log shows; None where none is looked up.
    """

    pieces: Iterable[sql.Composed]
    recorded: sql.Composable | None = None
    change: sql.Composable | None = None
