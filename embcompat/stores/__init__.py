"""Where galleries of vectors live: one abstract class over vector stores and files."""

from embcompat.stores.base import GalleryStore
from embcompat.stores.digests import row_digests, vector_digests
from embcompat.stores.engine import StoreEngine
from embcompat.stores.growth import IndexEstimate
from embcompat.stores.sampling import SampledRows, gallery_space, sample_gallery, sample_rows
from embcompat.stores.url import StoreUrl, open_store, parse_store_url
from embcompat.stores.values import (
    Coverage,
    Finish,
    Job,
    LockWait,
    Obstacle,
    Pairs,
    Phase,
    Rows,
    State,
    TargetRows,
    no_target_side,
)

__all__ = [
    "Coverage",
    "Finish",
    "GalleryStore",
    "IndexEstimate",
    "Job",
    "LockWait",
    "Obstacle",
    "Pairs",
    "Phase",
    "Rows",
    "SampledRows",
    "State",
    "StoreEngine",
    "StoreUrl",
    "TargetRows",
    "gallery_space",
    "no_target_side",
    "open_store",
    "parse_store_url",
    "row_digests",
    "sample_gallery",
    "sample_rows",
    "vector_digests",
]
