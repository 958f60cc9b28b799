"""Models behind one small protocol, found by name among the installed plug-ins."""

from embcompat.extractors.base import Extractor
from embcompat.extractors.discovery import ENTRY_POINT_GROUP, ExtractorInfo, list_extractors, load_extractor
from embcompat.extractors.extraction import SkippedItem, extract_embeddings

__all__ = [
    "ENTRY_POINT_GROUP",
    "Extractor",
    "ExtractorInfo",
    "SkippedItem",
    "extract_embeddings",
    "list_extractors",
    "load_extractor",
]
