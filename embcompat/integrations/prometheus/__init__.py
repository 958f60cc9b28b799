"""Counters of lazy backfills for Prometheus. Needs prometheus-client (``embcompat[prometheus]``)."""

from embcompat.integrations.prometheus.collector import LazyBackfillCollector

__all__ = ["LazyBackfillCollector"]
