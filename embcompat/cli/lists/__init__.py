"""Commands that list the aligners and extractors to choose from."""

from embcompat.cli.lists.aligners import aligners
from embcompat.cli.lists.extractors import extractors

__all__ = ["aligners", "extractors"]
