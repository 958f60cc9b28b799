"""Embedding models in a service, for embcompat. The client is imported when an extractor is made."""

from embcompat_api.extractor import OpenAIExtractor

__all__ = ["OpenAIExtractor"]
