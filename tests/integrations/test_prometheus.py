"""The counters of a real lazy backfill, read by the real client over HTTP and parsed as Prometheus does."""

from __future__ import annotations

import sys
import urllib.request
from dataclasses import fields

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from embcompat.backfill import LazyBackfill, look_up
from embcompat.backfill.lazy.counters import LazyCounters
from embcompat.errors import InputError, MissingExtraError
from embcompat.integrations.prometheus import LazyBackfillCollector
from embcompat.stores.values import Job, TargetRows
from embcompat.testing import make_pairs


class Memory:
    """Rows in memory, as a store keeps them."""

    def __init__(self, ids: list[str], vectors: np.ndarray) -> None:
        self.ids, self.vectors, self.native = ids, vectors.copy(), np.zeros(len(ids), dtype=bool)

    def read_target(self, job: Job, ids: list[str]) -> TargetRows:  # noqa: ARG002
        rows = [self.ids.index(each) for each in ids]
        return TargetRows(ids, self.vectors[rows], self.native[rows])

    def write_native(self, job: Job, ids: list[str], vectors: np.ndarray) -> int:  # noqa: ARG002
        rows = [self.ids.index(each) for each in ids]
        self.vectors[rows], self.native[rows] = vectors, True
        return len(rows)


@pytest.fixture
def lazy() -> LazyBackfill:
    target = make_pairs(30, source_dim=4, target_dim=4).pairs.target
    store = Memory(target.ids.tolist(), target.vectors)

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ target.vectors.T
        order = np.argsort(-scores, axis=1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), target.ids[order]

    with LazyBackfill(search, look_up(target), store, Job("0" * 64, target.space, target.space), depth=5) as backfill:
        backfill.search(target.vectors[:2], k=3)
        yield backfill


def read(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["gallery"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_what_the_counters_count(lazy: LazyBackfill) -> None:
    registry = CollectorRegistry()
    registry.register(LazyBackfillCollector({"docs": lazy}))
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
            values = read(answer.read().decode())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    lazy.flush()
    assert values[("embcompat_lazy_queries_total", "docs")] == 2
    assert values[("embcompat_lazy_candidates_total", "docs")] == 10
    assert values[("embcompat_lazy_rows_embedded_total", "docs")] == lazy.counters.rows_embedded > 0
    assert values[("embcompat_lazy_seconds_total", "docs")] == lazy.counters.seconds


def test_every_number_that_is_counted_is_shown(lazy: LazyBackfill) -> None:
    registry = CollectorRegistry()
    registry.register(LazyBackfillCollector({"a": lazy, 'b"\n': lazy}))
    values = read(generate_latest(registry).decode())
    numbers = {field.name for field in fields(LazyCounters)} - {"last_error"}
    assert {name.removeprefix("embcompat_lazy_").removesuffix("_total") for name, _ in values} == numbers
    assert {gallery for _, gallery in values} == {"a", 'b"\n'}


def test_the_counters_go_on_between_two_reads(lazy: LazyBackfill) -> None:
    registry = CollectorRegistry()
    registry.register(LazyBackfillCollector({"docs": lazy}))
    first = registry.get_sample_value("embcompat_lazy_queries_total", {"gallery": "docs"})
    lazy.search(np.eye(4, dtype=np.float32)[:1], k=1)
    assert registry.get_sample_value("embcompat_lazy_queries_total", {"gallery": "docs"}) == first + 1
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(LazyBackfillCollector({"docs": lazy}))


def test_nothing_to_collect_and_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="at least one LazyBackfill"):
        LazyBackfillCollector({})
    for name in ("embcompat.integrations.prometheus", "embcompat.integrations.prometheus.collector"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat\[prometheus\]'"):
        import embcompat.integrations.prometheus  # noqa: F401
