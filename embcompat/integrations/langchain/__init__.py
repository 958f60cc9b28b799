"""LangChain vector stores during a model change: fused, mixed and lazy serving over any two of them.

Each is a LangChain ``VectorStore``, so ``as_retriever()`` and whatever takes a store goes on unchanged. Each of its two
stores embeds the query with its own model. Needs langchain-core (``embcompat[langchain]``).
"""

from embcompat.integrations.langchain.stores import FusedVectorStore, LazyVectorStore, MixedVectorStore, Side

__all__ = ["FusedVectorStore", "LazyVectorStore", "MixedVectorStore", "Side"]
