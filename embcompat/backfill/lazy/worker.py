"""The thread that embeds and writes back for a lazy backfill: no item twice, nothing lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.embed import Embed, NativeRows, Vectors, isolate, native_vectors
from embcompat.backfill.lazy.counters import LazyCounters
from embcompat.errors import InputError, SpaceMismatchError, StoreError
from embcompat.stores.values import Job


@final
class BackfillWorker:
    """Embeds rows in one background thread and writes them back.

    Many threads may ask at once. A row that is being embedded is in flight: whoever asks for it again waits for the
    same future. It lands once its vector is in the store, or among those that wait for the store.

    Args:
        embed: Embeds items by id.
        store: Where native vectors are read and written.
        job: The conversion whose target side is served.
        batch_size: Items that are embedded together.
    """

    def __init__(self, embed: Embed, store: NativeRows, job: Job, *, batch_size: int) -> None:
        self._embed, self._store, self._job, self._batch_size = embed, store, job, batch_size
        self._lock, self._store_lock = threading.Lock(), threading.Lock()
        self._in_flight: dict[str, Future[NDArray[np.float32] | None]] = {}
        self._waiting: Vectors = {}
        self._refused: set[str] = set()
        self._counters = LazyCounters()
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lazy-backfill")

    @property
    def counters(self) -> LazyCounters:
        """What was done so far."""
        with self._lock:
            return replace(self._counters, rows_waiting=len(self._waiting))

    def count(self, *, last_error: str | None = None, **added: float) -> None:
        """Add to the counters."""
        with self._lock:
            now = {name: getattr(self._counters, name) + value for name, value in added.items()}
            self._counters = replace(self._counters, last_error=last_error or self._counters.last_error, **now)

    def read(self, ids: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Return native and converted vectors."""
        with self._store_lock:
            rows = self._store.read_target(self._job, ids)
        native: Vectors = {}
        converted: Vectors = {}
        for identifier, vector, is_native in zip(rows.ids, rows.vectors, rows.native.tolist(), strict=True):
            (native if is_native else converted)[identifier] = vector
        with self._lock:
            native |= {identifier: self._waiting[identifier] for identifier in ids if identifier in self._waiting}
        return native, converted

    def can_embed(self, identifier: str) -> bool:
        """Say whether the embedder has not left this item out before."""
        return identifier not in self._refused

    def embed(self, ids: Sequence[str], deadline: float | None) -> Vectors:
        """Have rows embedded and wait for them; return the vectors that came before the deadline (monotonic time).

        Raises:
            InputError: If the worker was closed.
            SpaceMismatchError: If the vectors are not in the target space.
        """
        if not ids:
            return {}
        mine: list[str] = []
        try:
            with self._lock:
                mine = [identifier for identifier in ids if identifier not in self._in_flight]
                self._in_flight |= {identifier: Future() for identifier in mine}
                futures = {identifier: self._in_flight[identifier] for identifier in ids}
            if mine:
                self._submit(self._work, mine, deadline)
        except BaseException as error:
            self._land(mine, error)
            raise
        found: Vectors = {}
        for identifier, future in futures.items():
            try:
                vector = future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                continue
            if vector is not None:
                found[identifier] = vector
        return found

    def flush(self) -> None:
        """Wait for what is being embedded, and write back what waits."""
        self._submit(self._write_back).result()

    def close(self) -> None:
        """Finish the batch that is being embedded, write back what waits, and end the thread."""
        self._closed = True
        self._thread.shutdown(wait=True)
        self._write_back()

    def _submit(self, work: Callable[..., None], *arguments: Any) -> Future[None]:
        if self._closed:
            raise InputError("this LazyBackfill was closed. Make another one to go on.")
        return self._thread.submit(work, *arguments)

    def _work(self, ids: Sequence[str], deadline: float | None) -> None:
        """Embed in the background; what is too late to begin is given up, so that no backlog grows."""
        left = list(ids)
        try:
            while left and not self._closed and (deadline is None or time.monotonic() < deadline):
                part, left = left[: self._batch_size], left[self._batch_size :]
                self._embed_batch(part)
        except BaseException as error:  # not a failure of the embedder: it belongs to those who wait
            self._land(ids, error)
            raise
        self._land(left)

    def _embed_batch(self, ids: Sequence[str]) -> None:
        vectors, _ = self.read(ids)  # another query may have had some embedded since this one looked
        wanted = [identifier for identifier in ids if identifier not in vectors]
        made: Vectors = {}
        try:
            if wanted:
                made = native_vectors(self._embed(wanted), self._job.target)
        except SpaceMismatchError:
            raise
        except Exception as error:
            self.count(embedder_failures=1, last_error=_reason(error))
        else:
            gone = set(wanted) - made.keys()
            with self._lock:
                self._refused |= gone
                self._waiting |= made
            self.count(rows_embedded=len(made), items_refused=len(gone))
        vectors |= made
        for identifier in ids:  # queries do not wait for the store
            future = self._in_flight.get(identifier)
            if future is not None and not future.done():
                future.set_result(vectors.get(identifier))
        self._write_back()
        self._land(ids)

    def _write_back(self) -> None:
        """Write what waits, the newest first: rows that the store refuses keep waiting and hold up no others."""
        with self._lock:
            waiting = dict(self._waiting)

        def attempt(ids: Sequence[str]) -> None:
            with self._store_lock:
                written = self._store.write_native(self._job, ids, np.stack([waiting[each] for each in ids]))
            with self._lock:
                for each in ids:
                    del self._waiting[each]
            self.count(rows_written=written)

        try:
            refused = list(isolate(list(reversed(waiting)), attempt).values())
        except StoreError as error:
            refused = [str(error)]
        if refused:
            self.count(write_failures=1, last_error=f"the store: {refused[-1]}")

    def _land(self, ids: Sequence[str], error: BaseException | None = None) -> None:
        """Take rows out of flight; whoever still waits for them gets no vector, or the error."""
        with self._lock:
            landed = [self._in_flight.pop(identifier) for identifier in ids if identifier in self._in_flight]
        for future in landed:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


def _reason(error: Exception) -> str:
    return f"the embedder: {str(error) or type(error).__name__}"
