"""Where galleries of vectors live: one protocol over vector stores and files."""

from embcompat.stores.base import Coverage, GalleryStore, Job, Pairs, Rows, State, TargetRows
from embcompat.stores.digests import vector_digests
from embcompat.stores.url import StoreUrl, open_store, parse_store_url

__all__ = [
    "Coverage",
    "GalleryStore",
    "Job",
    "Pairs",
    "Rows",
    "State",
    "StoreUrl",
    "TargetRows",
    "open_store",
    "parse_store_url",
    "vector_digests",
]
