"""Models behind one small protocol, found by name among the installed plug-ins."""

from embcompat.extractors.base import (
    Estimate,
    EstimatingExtractor,
    Extractor,
    check_batch_size,
    extraction_notes,
    extraction_remarks,
)
from embcompat.extractors.canary import CANARY_TEXTS, read_canary
from embcompat.extractors.discovery import ENTRY_POINT_GROUP, ExtractorInfo, list_extractors, load_extractor
from embcompat.extractors.extraction import SkippedItem, extract_embeddings
from embcompat.extractors.texts import Prompt, Side, check_texts, choose_prompt, length_notes, usable_texts

__all__ = [
    "CANARY_TEXTS",
    "ENTRY_POINT_GROUP",
    "Estimate",
    "EstimatingExtractor",
    "Extractor",
    "ExtractorInfo",
    "Prompt",
    "Side",
    "SkippedItem",
    "check_batch_size",
    "check_texts",
    "choose_prompt",
    "extract_embeddings",
    "extraction_notes",
    "extraction_remarks",
    "length_notes",
    "list_extractors",
    "load_extractor",
    "read_canary",
    "usable_texts",
]
