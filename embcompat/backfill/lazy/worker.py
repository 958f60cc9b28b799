"""The thread that embeds and writes back for a lazy backfill: no item twice, nothing lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.embed import REFUSALS_IN_A_ROW, Embed, NativeRows, Vectors, native_vectors
from embcompat.backfill.lazy.counters import LazyCounters
from embcompat.backfill.lazy.reads import SharedReads, VectorsRead
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, SpaceMismatchError, StoreError
from embcompat.stores.refusals import isolate
from embcompat.stores.values import Job


@final
class BackfillWorker:
    """Embeds rows in one background thread and writes them back.

    Many threads may ask at once. A row that is being embedded is in flight, and another request for it waits for the
    same future. It lands once its vector is in the store, or waits to be written.

    Args:
        embed: Embeds items by id.
        store: Where native vectors are read and written.
        job: The conversion whose target side is served.
        batch_size: Items that are embedded together.
        spill: A file for vectors that the store still refuses at the end; vectors that it holds already wait to be
            written.

    Raises:
        SpaceMismatchError: If the file holds vectors of another space.
    """

    def __init__(
        self, embed: Embed, store: NativeRows, job: Job, *, batch_size: int, spill: Path | None = None
    ) -> None:
        self._embed, self._store, self._job, self._batch_size = embed, store, job, batch_size
        self._lock, self._store_lock = threading.Lock(), threading.Lock()
        self._reads = SharedReads(store, job, self._store_lock)
        self._in_flight: dict[str, Future[NDArray[np.float32] | None]] = {}
        self._spill = spill
        spilled = spill is not None and spill.exists()
        self._waiting: Vectors = native_vectors(Embeddings.load(spill), job.target) if spill and spilled else {}
        self._refused: set[str] = set()
        self._totals: dict[str, Any] = {}
        self._last_error: str | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lazy-backfill")

    @property
    def counters(self) -> LazyCounters:
        """What was done so far."""
        with self._lock:
            return LazyCounters(**self._totals, rows_waiting=len(self._waiting), last_error=self._last_error)

    def count(self, *, last_error: str | None = None, **added: float) -> None:
        """Add to the counters."""
        with self._lock:
            for name, value in added.items():
                self._totals[name] = self._totals.get(name, 0) + value
            self._last_error = last_error or self._last_error

    def read(self, ids: Sequence[str]) -> tuple[Vectors, Vectors] | None:
        """Return native and converted vectors; None where the store cannot be read, which is counted."""
        try:
            vectors = self._reads.read(ids)
        except Exception as error:  # whatever the store's driver raises: a query must not fail by it
            self.count(read_failures=1, last_error=f"the store: {_reason(error)}")
            return None
        return self.divide(ids, vectors)

    def divide(self, ids: Sequence[str], vectors: VectorsRead) -> tuple[Vectors, Vectors]:
        """Return native and converted vectors of what was read; those that wait to be written are native."""
        native: Vectors = {}
        converted: Vectors = {}
        for identifier in ids:
            if identifier in vectors:
                vector, is_native = vectors[identifier]
                (native if is_native else converted)[identifier] = vector
        with self._lock:
            if self._waiting:
                native |= {identifier: self._waiting[identifier] for identifier in ids if identifier in self._waiting}
        return native, converted

    def can_embed(self, identifier: str) -> bool:
        """Return whether the embedder has not left this item out before."""
        return identifier not in self._refused

    def embed(self, ids: Sequence[str], deadline: float | None) -> Vectors:
        """Have rows embedded and wait for them; return the vectors that came before the deadline (monotonic time).

        Raises:
            InputError: If the worker was closed.
            SpaceMismatchError: If the vectors are not in the target space.
        """
        if not ids:
            return {}
        claims: list[str] = []
        try:
            with self._lock:
                claims = [identifier for identifier in ids if identifier not in self._in_flight]
                self._in_flight |= {identifier: Future() for identifier in claims}
                futures = {identifier: self._in_flight[identifier] for identifier in ids}
            if claims:
                self._submit(self._work, claims, deadline)
        except BaseException as error:
            self._land(claims, error)
            raise
        vectors: Vectors = {}
        for identifier, future in futures.items():
            try:
                vector = future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                continue
            if vector is not None:
                vectors[identifier] = vector
        return vectors

    def flush(self) -> None:
        """Wait for what is being embedded, and write back what waits."""
        self._submit(self._write_back).result()

    def close(self) -> None:
        """Finish the batch that is being embedded, write back what waits, and end the thread.

        Raises:
            StoreError: If the store refuses vectors: they are in the spill file then, or still here without one.
        """
        self._closed = True
        self._thread.shutdown(wait=True)
        self._write_back()
        with self._lock:
            unwritten = dict(self._waiting)
        if not unwritten:
            if self._spill is not None:
                self._spill.unlink(missing_ok=True)
            return
        reason = f"the store refused {len(unwritten):,} vectors that were embedded: {self._last_error}."
        if self._spill is None:
            raise StoreError(f"{reason} They are still in memory: repair the store and call close() again.")
        Embeddings(np.stack(list(unwritten.values())), list(unwritten), self._job.target).save(self._spill)
        raise StoreError(f"{reason} They are in {self._spill}: pass spill= with this path again to write them.")

    def _submit(self, work: Callable[..., None], *arguments: Any) -> Future[None]:
        if self._closed:
            raise InputError("this LazyBackfill was closed. Create a new one to continue.")
        return self._thread.submit(work, *arguments)

    def _work(self, ids: Sequence[str], deadline: float | None) -> None:
        """Embed in the background; what is too late to begin is given up, so that no backlog grows."""
        remaining = list(ids)
        try:
            while remaining and not self._closed and (deadline is None or time.monotonic() < deadline):
                part, remaining = remaining[: self._batch_size], remaining[self._batch_size :]
                self._embed_batch(part)
        except BaseException as error:  # not a failure of the embedder: it belongs to those who wait
            self._land(ids, error)
            raise
        self._land(remaining)

    def _embed_batch(self, ids: Sequence[str]) -> None:
        reading = self.read(ids)  # another query may have had some embedded since this one looked
        if reading is None:  # what is native already must not be paid for twice
            self._land(ids)
            return
        vectors, _ = reading
        missing = [identifier for identifier in ids if identifier not in vectors]
        embedded: Vectors = {}
        try:
            if missing:
                embedded = native_vectors(self._embed(missing), self._job.target)
        except SpaceMismatchError:
            raise
        except Exception as error:
            self.count(embedder_failures=1, last_error=f"the embedder: {_reason(error)}")
        else:
            refused = set(missing) - embedded.keys()
            with self._lock:
                self._refused |= refused
                self._waiting |= embedded
            self.count(rows_embedded=len(embedded), items_refused=len(refused))
        vectors |= embedded
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
        newest = list(reversed(waiting))

        def attempt(rows: slice) -> None:
            ids = newest[rows]
            with self._store_lock:
                count = self._store.write_native(self._job, ids, np.stack([waiting[each] for each in ids]))
            with self._lock:
                for each in ids:
                    del self._waiting[each]
            self.count(rows_written=count)

        try:
            refusals = isolate(len(newest), attempt, limit=REFUSALS_IN_A_ROW, blame=Exception)
            reasons = list(refusals.values())
        except Exception as error:  # item after item is refused, or the driver fails in a way of its own
            reasons = [_reason(error)]
        if reasons:
            self.count(write_failures=1, last_error=f"the store: {reasons[-1]}")

    def _land(self, ids: Sequence[str], error: BaseException | None = None) -> None:
        """Take rows out of flight; whoever still waits for them gets no vector, or the error."""
        with self._lock:
            futures = [self._in_flight.pop(identifier) for identifier in ids if identifier in self._in_flight]
        for future in futures:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
