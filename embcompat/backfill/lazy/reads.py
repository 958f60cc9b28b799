"""One read of the store for all queries that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import final

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.embed import NativeRows
from embcompat.stores.values import Job, TargetRows

VectorsRead = dict[str, tuple[NDArray[np.float32], bool]]
"""Vector (dim,) by id, and whether the new model itself made it."""


def vectors_by_id(rows: TargetRows) -> VectorsRead:
    """Return the vectors of rows by id."""
    return dict(zip(rows.ids, zip(rows.vectors, rows.native.tolist(), strict=True), strict=True))


@final
class SharedReads:
    """Reads target vectors for many threads.

    A store is used by one thread at a time. Threads that ask while it is busy are served together by the next read,
    so that each pays for a part of a statement.

    Args:
        store: Where target vectors are read.
        job: The conversion whose target side is served.
        store_lock: Is locked while the store is used.
    """

    def __init__(self, store: NativeRows, job: Job, store_lock: threading.Lock) -> None:
        self._store, self._job, self._store_lock = store, job, store_lock
        self._lock = threading.Lock()
        self._next: _Read | None = None

    def read(self, ids: Sequence[str]) -> VectorsRead:
        """Return the vectors of at least the given rows, as they are when the call began or later."""
        requested, fresh = dict.fromkeys(ids), _Read()
        try:
            with self._lock:
                shared = self._next = self._next or fresh
                shared.ids |= requested
            if shared is fresh:
                self._read_for_all(fresh)
        except Exception:
            if len(fresh.ids) == len(requested):  # a second try would be the same
                raise
        finally:  # wherever this was interrupted, nobody waits for a read that does not come
            self._begin(fresh)
            if not fresh.vectors.done():
                fresh.vectors.set_result(None)
        vectors = shared.vectors.result()
        if vectors is None:  # the ids of another query may be to blame
            with self._store_lock:
                vectors = self._read(ids)
        return vectors

    def _read_for_all(self, shared: _Read) -> None:
        """Read what was asked for until the store is free."""
        with self._store_lock:
            self._begin(shared)
            shared.vectors.set_result(self._read(list(shared.ids)))

    def _begin(self, shared: _Read) -> None:
        """Let no more ids join a read."""
        with self._lock:
            if self._next is shared:
                self._next = None

    def _read(self, ids: Sequence[str]) -> VectorsRead:
        return vectors_by_id(self._store.read_target(self._job, ids))


@final
class _Read:
    """A read that is to come: the ids to read, in order, and the vectors; None where it failed."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.vectors: Future[VectorsRead | None] = Future()
