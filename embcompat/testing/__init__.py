"""Checks that every aligner, extractor and store must pass, and pairs to try them on; for us and for third parties."""

from embcompat.testing.aligners import check_aligner
from embcompat.testing.extractors import check_extractor
from embcompat.testing.pairs import MadePairs, make_pairs
from embcompat.testing.stores.check import StoreHarness, check_store

__all__ = ["MadePairs", "StoreHarness", "check_aligner", "check_extractor", "check_store", "make_pairs"]
