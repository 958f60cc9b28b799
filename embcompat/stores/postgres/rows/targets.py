"""Reading target vectors again and again, as a lazy backfill does for every query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import psycopg

from embcompat.stores.keys import KeyCodec
from embcompat.stores.postgres.catalog.tables import VectorTable
from embcompat.stores.postgres.rows.reader import read_side
from embcompat.stores.postgres.session import Session
from embcompat.stores.values import Job, TargetRows


@final
class TargetReader:
    """Reads target vectors with one statement, as long as it finds all rows that are asked for.

    Where the target vectors are takes ten statements to find out. It is remembered: a statement that reads the place
    where they were before a cutover or a rollback fails, or finds fewer rows, because it reads only rows that are
    recorded as of the new space. Then the place is found out anew.

    Args:
        codec: Writes keys as ids and reads them back.
        find: Finds out where the target vectors of a job are; the table is None where nothing is made.
    """

    def __init__(self, codec: KeyCodec, find: Callable[[Job], tuple[Session, VectorTable | None]]) -> None:
        self._codec, self._find = codec, find
        self._place: tuple[Session, VectorTable] | None = None

    def read(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the target side of the given rows, where it says that it is of the new space."""
        if ids and self._place is not None and self._place[0].job == job:
            try:
                rows = self._read(*self._place, ids)
            except psycopg.ProgrammingError:  # no such table, column or type of vectors any more
                rows = None
            if rows is not None and len(rows.ids) == len(set(ids)):
                return rows
        session, side = self._find(job)
        self._place = None if side is None else (session, side)
        if side is None or not ids:
            return TargetRows([], np.empty((0, job.target.dim), np.float32), np.empty(0, bool))
        return self._read(session, side, ids)

    def _read(self, session: Session, side: VectorTable, ids: Sequence[str]) -> TargetRows:
        keys, vectors, native = read_side(session, side, self._codec.columns(ids))
        return TargetRows(self._codec.ids(keys), vectors, native)
