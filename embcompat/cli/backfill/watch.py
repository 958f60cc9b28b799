"""Measure a gallery repeatedly while it is being re-embedded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embcompat.backfill.embed import NativeRows
from embcompat.cli.console import messages
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Qrels, match_qrels
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.spaces import require_space
from embcompat.stores.values import Job

READ_ROWS = 4_096
"""Rows that are read from the store at a time [ours]."""

STEPS = 10
"""How often a run is measured, besides once before it [ours]."""


class Watch:
    """Keeps the target side of a gallery in memory, follows a run, and measures at each tenth of it.

    Args:
        store: Where the target side is read.
        job: The conversion.
        gallery_ids: Every item of the gallery.
        planned: The items to re-embed, in their order.
        queries: Queries in the target space.
        qrels: Their judgements.
        metric: The metric.

    Raises:
        SpaceMismatchError: If the queries are not in the target space.
        InputError: If no query can be judged.
    """

    def __init__(
        self,
        store: NativeRows,
        job: Job,
        gallery_ids: Sequence[str],
        planned: Sequence[str],
        *,
        queries: Embeddings,
        qrels: Qrels,
        metric: str,
    ) -> None:
        require_space(queries.space, job.target, what="The queries")
        self._store, self._job, self._planned, self.metric = store, job, planned, metric
        self._queries = queries.vectors
        self._vectors: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
        self._read(gallery_ids)
        ids = np.array([each for each in gallery_ids if each in self._vectors], dtype=object)
        self._ids = ids.tolist()
        self._relevance = match_qrels(qrels, queries.ids, ids, exclude_self=False)
        if not len(self._relevance):
            raise InputError("a query must have a relevant item in the converted gallery. Got none.")
        self._done = 0
        self.measured: list[dict[str, float]] = []
        self._measure()

    def advance(self, count: int) -> None:
        """Count planned items that are newly done."""
        start, self._done = self._done, self._done + count
        self._read(self._planned[start : self._done])
        total = len(self._planned)
        if start * STEPS // total != self._done * STEPS // total:
            self._measure()

    def _read(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), READ_ROWS):
            rows = self._store.read_target(self._job, ids[start : start + READ_ROWS])
            self._vectors |= dict(zip(rows.ids, rows.vectors, strict=True))

    def _measure(self) -> None:
        target = np.stack([self._vectors[each] for each in self._ids])
        term = ScoreTerm(self._queries, target, self._job.target.similarity)
        ranks = rank_relevant([term], self._relevance)[0]
        value = float(metric_per_query(self.metric, ranks, self._relevance).mean())
        self.measured.append({"done": self._done, "value": value})
        messages().print(f"{self._done:,} of {len(self._planned):,} items: {self.metric} {value:.3f}")
