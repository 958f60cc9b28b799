"""Lazy backfill: embed an item when a query retrieves it, and keep the vector.

Source: ours; `embcompat.backfill.lazy.replay` measures what it is worth.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import weigh_queries
from embcompat.backfill.embed import Embed, NativeRows, Vectors
from embcompat.backfill.lazy.counters import LazyCounters
from embcompat.backfill.lazy.reads import vectors_by_id
from embcompat.backfill.lazy.worker import BackfillWorker
from embcompat.errors import InputError
from embcompat.evaluation.similarity import row_scores
from embcompat.stores.values import Job, TargetRows

DEFAULT_DEPTH = 50
"""Number of candidates of a query [ours]."""

DEFAULT_BATCH_SIZE = 64
"""Items that are embedded together [ours]."""

FirstSearch = Callable[..., tuple[NDArray[Any], NDArray[Any]] | tuple[NDArray[Any], NDArray[Any], TargetRows]]
"""Takes queries and k; returns scores and ids (q, k) and, if it brings them along, the candidates' target rows."""


@final
class LazyBackfill:
    """Search a converted gallery that re-embeds itself where people look.

    A first search finds the candidates. Those that are not native yet are embedded with the new model, all of a call
    together; then the candidates are ranked by native scores alone, and the new vectors are written back. A candidate
    that got no native vector is ranked by its converted one, calibrated as in `embcompat.serving.MixedGallery`.

    Any number of threads may search, if ``search`` allows it. One background thread embeds and writes, so ``embed``
    is never called twice at a time, no item is embedded twice, and what is embedded too late for its query serves the
    next one. A failing embedder or store never fails a query: it is counted, with the reason, in `counters`; where the
    store cannot be read, a query is answered by the first search alone. Close it, or use it in a ``with`` block, to
    write the last rows back.

    Args:
        search: Finds the candidates: takes the queries and a number k, and returns scores and ids (q, k), the best
            first. `FusedSearch.search` finds the most; a search of the target side needs only the new model. The ids
            are the store's, as strings. It may return, as a third value, the candidates' `TargetRows`, if it brings
            their vectors along: then they are not read again. For LanceDB, `embcompat.stores.lancedb.target_rows`
            makes them.
        embed: Embeds items by id: `embed_items`, or any function like it.
        store: A `GalleryStore`, or anything with its ``read_target`` and ``write_native``.
        job: The conversion whose target side is served.
        depth: Candidates of a query.
        batch_size: Items that are embedded together.
        seconds_per_query: After this time a query stops waiting for the embedder; a call with q queries has q times as
            much. It waits for all when None.
        rows_per_query: Most rows that are embedded for a query, its best candidates first; all when None.
        scale: Factor for scores against converted vectors; `calibrate_scores` finds it.
        offset: What is added to them.
        spill: A file (.parquet) for vectors that the store still refuses at the end, so that no vector that was paid
            for is lost. If it exists, its vectors are used and written with the next ones; it is removed once all are
            written.
        query_weights: ``read_artifact(…).query_weights()`` of an artifact that `embcompat unweight` wrote (target_dim,
            target_dim): weighs each new query before candidates are found and ranked, so ``search`` must not weigh it
            again. None for plain queries.

    Raises:
        InputError: If a number is out of range, or the weights are not of the target's dimension.
        SpaceMismatchError: If the spill file holds vectors of another space.
    """

    def __init__(
        self,
        search: FirstSearch,
        embed: Embed,
        store: NativeRows,
        job: Job,
        *,
        depth: int = DEFAULT_DEPTH,
        batch_size: int = DEFAULT_BATCH_SIZE,
        seconds_per_query: float | None = None,
        rows_per_query: int | None = None,
        scale: float = 1.0,
        offset: float = 0.0,
        spill: str | Path | None = None,
        query_weights: NDArray[np.float32] | None = None,
    ) -> None:
        for name, value in (("depth", depth), ("batch_size", batch_size), ("scale", scale)):
            if not value > 0:
                raise InputError(f"{name} must be positive. Got {value}.")
        for name, budget in (("seconds_per_query", seconds_per_query), ("rows_per_query", rows_per_query)):
            if budget is not None and not budget >= 0:
                raise InputError(f"{name} must be 0 or more, or None. Got {budget}.")
        dims = job.target.dim, job.target.dim
        if query_weights is not None and np.shape(query_weights) != dims:
            raise InputError(f"query_weights must have shape {dims}. Got {np.shape(query_weights)}.")
        self._first, self._weights = search, query_weights
        self._similarity, self._dim = job.target.similarity, job.target.dim
        self._depth, self._batch_size, self._seconds, self._rows = depth, batch_size, seconds_per_query, rows_per_query
        self._scale, self._offset = scale, offset
        self._worker = BackfillWorker(
            embed, store, job, batch_size=batch_size, spill=None if spill is None else Path(spill)
        )

    @property
    def counters(self) -> LazyCounters:
        """What was done so far."""
        return self._worker.counters

    def __repr__(self) -> str:
        return f"LazyBackfill(depth={self._depth}, rows_embedded={self.counters.rows_embedded})"

    def search(
        self, new_queries: NDArray[np.float32], old_queries: NDArray[np.float32] | None = None, *, k: int = 10
    ) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return scores and ids (q, k), the best first.

        Args:
            new_queries: Array (q, target_dim).
            old_queries: Array (q, source_dim), where the first search is a fused one.
            k: How many rows to return, at most ``depth``.

        Raises:
            InputError: If k is out of range, this was closed, or the search brings no target vectors along as it says.
            SpaceMismatchError: If ``embed`` returns vectors of another space than the target's.
        """
        if not 1 <= k <= self._depth:
            raise InputError(f"k must lie between 1 and the depth, {self._depth}. Got {k}.")
        start = time.monotonic()
        if self._weights is not None:
            new_queries = weigh_queries(new_queries, self._weights)
        queries = (new_queries,) if old_queries is None else (new_queries, old_queries)
        first_scores, first_ids, *rows = self._first(*queries, self._depth)
        candidates = [row.tolist() for row in np.asarray(first_ids)]
        every = [identifier for row in candidates for identifier in row]
        distinct = list(dict.fromkeys(every))
        if rows and np.shape(rows[0].vectors) != (len(rows[0].ids), self._dim):
            expected, actual = (len(rows[0].ids), self._dim), np.shape(rows[0].vectors)
            raise InputError(f"search must bring one target vector for each id along, {expected}. Got {actual}.")
        reading = self._worker.divide(distinct, vectors_by_id(*rows)) if rows else self._worker.read(distinct)
        if reading is None:
            self._count(candidates, degraded=len(every), start=start)
            return np.asarray(first_scores, dtype=np.float64)[:, :k], np.asarray(first_ids, dtype=object)[:, :k]
        native, converted = reading
        hits = sum(map(native.__contains__, every))
        deadline = None if self._seconds is None else start + self._seconds * len(candidates)
        native |= self._worker.embed(self._affordable(candidates, native), deadline)
        ranked = [self._rank(query, row, native, converted) for query, row in zip(new_queries, candidates, strict=True)]
        degraded = len(every) - sum(map(native.__contains__, every))
        self._count(candidates, hits=hits, degraded=degraded, start=start)
        return _cut(ranked, k)

    def warm_up(
        self,
        access_log: Iterable[str],
        *,
        rows: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Embed items before a query finds them, the most frequent ones in the log first.

        Args:
            access_log: Ids that were opened or found lately, once for each time.
            rows: Most rows to embed; all when None.
            progress: Called with the number of ids newly done.

        Returns:
            Rows embedded.
        """
        start = self.counters.rows_embedded
        remaining = [identifier for identifier, _ in Counter(access_log).most_common()]
        embedded = 0
        while remaining and (rows is None or embedded < rows):
            part, remaining = remaining[: self._batch_size], remaining[self._batch_size :]
            reading = self._worker.read(part)
            if reading is not None:
                missing = [each for each in part if each not in reading[0] and self._worker.can_embed(each)]
                self._worker.embed(missing if rows is None else missing[: rows - embedded], None)
            embedded = self.counters.rows_embedded - start
            if progress is not None:
                progress(len(part))
        return embedded

    def flush(self) -> int:
        """Wait for what is being embedded, and write back what waits; return how many rows still wait."""
        self._worker.flush()
        return self.counters.rows_waiting

    def close(self) -> None:
        """Finish the batch that is being embedded, write back what waits, and end the background thread.

        Raises:
            StoreError: If the store refuses vectors to the end. They are in the spill file then; without one they stay
                in memory, and another call of this tries again.
        """
        self._worker.close()

    def _count(self, candidates: Sequence[Sequence[str]], *, degraded: int, start: float, hits: int = 0) -> None:
        self._worker.count(
            queries=len(candidates),
            candidates=sum(map(len, candidates)),
            hits=hits,
            degraded=degraded,
            seconds=time.monotonic() - start,
        )

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close this."""
        self.close()

    def _affordable(self, candidates: Sequence[Sequence[str]], native: Vectors) -> list[str]:
        """Return the ids to embed, within each query's budget of rows."""
        affordable: dict[str, None] = {}
        for row in candidates:
            missing = [each for each in row if each not in native and self._worker.can_embed(each)]
            affordable |= dict.fromkeys(missing[: self._rows])
        return list(affordable)

    def _rank(
        self, query: NDArray[np.float32], ids: Sequence[str], native: Vectors, converted: Vectors
    ) -> tuple[NDArray[np.float64], list[str]]:
        """Sort a query's candidates; those without any vector come last, with score −inf."""
        scores = np.full(len(ids), -np.inf)
        for vectors, scale, offset in ((converted, self._scale, self._offset), (native, 1.0, 0.0)):
            rows = [row for row, identifier in enumerate(ids) if identifier in vectors]
            if rows:
                stacked = np.concatenate([vectors[ids[row]] for row in rows]).reshape(len(rows), -1)
                repeated = np.broadcast_to(query, stacked.shape)
                scores[rows] = scale * row_scores(repeated, stacked, self._similarity).astype(np.float64) + offset
        order = np.argsort(-scores, kind="stable").tolist()
        return scores[order], [ids[row] for row in order]


def _cut(ranked: Sequence[tuple[NDArray[np.float64], list[str]]], k: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Put rankings into arrays, all cut to k (or the fewest that any query has)."""
    width = min([k, *(len(ids) for _, ids in ranked)])
    scores, ids = np.empty((len(ranked), width)), np.empty((len(ranked), width), dtype=object)
    for row, (sorted_scores, names) in enumerate(ranked):
        scores[row], ids[row] = sorted_scores[:width], names[:width]
    return scores, ids
