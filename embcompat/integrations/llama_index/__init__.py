"""LlamaIndex indexes during a model change: fused, mixed and lazy serving over any two of them.

Each is a LlamaIndex ``BaseRetriever``, so query engines, chat engines and whatever takes a retriever go on unchanged.
(A LlamaIndex vector store is asked with a vector, and two models make two: only a retriever has the text.) Each of the
two indexes embeds the query with its own model. Needs llama-index-core (``embcompat[llama-index]``).
"""

from embcompat.integrations.llama_index.retrievers import FusedRetriever, LazyRetriever, MixedRetriever, Side

__all__ = ["FusedRetriever", "LazyRetriever", "MixedRetriever", "Side"]
