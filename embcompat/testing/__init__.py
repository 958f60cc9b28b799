"""Checks that every aligner, extractor and store must pass, and pairs to try them on; for us and for third parties."""

from embcompat.testing.aligners import check_aligner
from embcompat.testing.pairs import MadePairs, make_pairs

__all__ = ["MadePairs", "check_aligner", "make_pairs"]
