"""What a lazy backfill counts, as families of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, final

from embcompat.backfill import LazyBackfill
from embcompat.errors import InputError, MissingExtraError

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtraError(
        "prometheus-client", "embcompat[prometheus]", "embcompat.integrations.prometheus"
    ) from error

_COUNTERS: Final = {
    "queries": "Queries served.",
    "seconds": "Seconds in which queries were served, added up.",
    "candidates": "Rows that queries brought up.",
    "hits": "Candidates that were native already.",
    "degraded": "Candidates that were ranked by their converted vector.",
    "rows_embedded": "Rows that the new model embedded.",
    "rows_written": "Rows that were written back as native.",
    "items_refused": "Items that the embedder left out.",
    "embedder_failures": "Batches for which the embedder raised an error.",
    "write_failures": "Times that the store refused rows.",
    "read_failures": "Times that the store could not be read.",
}
_WAITING: Final = "rows_waiting"


@final
class LazyBackfillCollector(Collector):
    """Shows what `LazyBackfill.counters` count, as ``embcompat_lazy_…``, each time that Prometheus reads them.

    Register it once: ``prometheus_client.REGISTRY.register(LazyBackfillCollector({"docs": lazy}))``.

    Args:
        backfills: The backfills by the name of their gallery, which is the label ``gallery``.

    Raises:
        InputError: If there are none.
    """

    def __init__(self, backfills: Mapping[str, LazyBackfill]) -> None:
        if not backfills:
            raise InputError("backfills must hold at least one LazyBackfill, by the name of its gallery. Got none.")
        self._backfills = dict(backfills)

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each counter."""
        counters = {gallery: backfill.counters for gallery, backfill in self._backfills.items()}
        for name, what in _COUNTERS.items():
            total = CounterMetricFamily(f"embcompat_lazy_{name}", what, labels=["gallery"])
            for gallery, counted in counters.items():
                total.add_metric([gallery], getattr(counted, name))
            yield total
        waiting = GaugeMetricFamily(
            f"embcompat_lazy_{_WAITING}", "Embedded rows that still have to be written.", labels=["gallery"]
        )
        for gallery, counted in counters.items():
            waiting.add_metric([gallery], counted.rows_waiting)
        yield waiting

    def describe(self) -> Iterator[Metric]:
        """Yield what `collect` yields: the names are fixed."""
        yield from self.collect()
