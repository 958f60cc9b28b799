"""LanceDB tables as galleries."""

from embcompat.stores.lancedb.hits import target_rows

__all__ = ["target_rows"]
